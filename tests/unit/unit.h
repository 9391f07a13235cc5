/* SPDX-License-Identifier: MIT */
/* What every unit test is made of: main() is in unit.c, the tests are the module's. */
#ifndef MEMMAPFS_UNIT_H
#define MEMMAPFS_UNIT_H

#include <check.h>

/**
 * add_tests() - every test program has its own: name its fixture and its tests
 * @tests: to add them to; belongs to the caller
 */
void add_tests(TCase *tests);

#endif
