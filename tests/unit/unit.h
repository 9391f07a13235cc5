/* SPDX-License-Identifier: MIT */
/* What every unit test is made of: main() is in unit.c, the tests are the module's. */
#ifndef MEMMAPFS_UNIT_H
#define MEMMAPFS_UNIT_H

#include <check.h>

/* Its own memory, and what it does without any, are the sanitizer's. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SANITIZED
#endif
#endif

/**
 * add_tests() - every test program has its own: name its fixture and its tests
 * @tests: to add them to; belongs to the caller
 */
void add_tests(TCase *tests);

#endif
