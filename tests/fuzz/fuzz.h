/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_FUZZ_H
#define MEMMAPFS_FUZZ_H

/* What each fuzz_*.c offers: to libFuzzer where clang builds it, else to main.c, which makes inputs itself. */

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
