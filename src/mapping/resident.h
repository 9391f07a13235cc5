/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_MAPPING_RESIDENT_H
#define MEMMAPFS_MAPPING_RESIDENT_H

/* What of a file is in the page cache, whoever put it there; mapping_resident() tells it of the windows only. */

#include <stdint.h>

/**
 * resident_bytes() - bytes of [@offset, @offset + @length) that are in memory, rounded to pages
 * @fd: open for reading; borrowed
 *
 * Of files that the daemon neither owns nor may write the kernel calls everything resident.
 *
 * Return: 0 or -errno of mmap(2) or mincore(2).
 */
int resident_bytes(int fd, uint64_t offset, uint64_t length, uint64_t *ret_resident);

/** resident_drop() - have the kernel drop clean pages that nobody maps or locks, those at the edges too */
void resident_drop(int fd, uint64_t offset, uint64_t length);

#endif
