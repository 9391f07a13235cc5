/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "mapping/extents.h"
#include "unit.h"
#include "util.h"

#define BYTES 64

static struct extent_list list;

static void set_up(void)
{
	memset(&list, 0, sizeof(list));
}

static void tear_down(void)
{
	extents_fini(&list);
	ck_assert_uint_eq(list.count, 0);
	ck_assert_ptr_null(list.extents);
}

static void expect(size_t at, uint64_t start, uint64_t end)
{
	ck_assert_uint_lt(at, list.count);
	ck_assert_uint_eq(list.extents[at].start, start);
	ck_assert_uint_eq(list.extents[at].end, end);
}

/* What lies apart stays apart, whatever order it comes in. */
START_TEST(separate_ranges_stay_separate_and_ascend)
{
	ck_assert_int_eq(extents_add(&list, 20, 30), 0);
	ck_assert_int_eq(extents_add(&list, 0, 10), 0);
	ck_assert_int_eq(extents_add(&list, 40, 50), 0);
	ck_assert_uint_eq(list.count, 3);
	expect(0, 0, 10);
	expect(1, 20, 30);
	expect(2, 40, 50);
}
END_TEST

/* A range that touches or covers others becomes one with them. */
START_TEST(ranges_that_touch_are_joined)
{
	extents_add(&list, 0, 10);
	extents_add(&list, 20, 30);
	extents_add(&list, 40, 50);
	extents_add(&list, 10, 20);
	ck_assert_uint_eq(list.count, 2);
	expect(0, 0, 30);
	extents_add(&list, 5, 60);
	ck_assert_uint_eq(list.count, 1);
	expect(0, 0, 60);
}
END_TEST

/* A hole in the middle leaves two ends; nothing is removed beside it. */
START_TEST(removing_divides_and_cuts)
{
	extents_add(&list, 0, 100);
	ck_assert_int_eq(extents_remove(&list, 40, 60), 0);
	expect(0, 0, 40);
	expect(1, 60, 100);
	extents_remove(&list, 30, 70);
	expect(0, 0, 30);
	expect(1, 70, 100);
	extents_remove(&list, 100, 200);
	extents_remove(&list, 30, 70);
	ck_assert_uint_eq(list.count, 2);
	extents_remove(&list, 0, UINT64_MAX);
	ck_assert_uint_eq(list.count, 0);
}
END_TEST

/* The walk cuts what it finds to the range that was asked about. */
START_TEST(the_next_extent_is_cut_to_the_range)
{
	struct extent extent = {1, 2};

	ck_assert(!extents_next(&list, 0, UINT64_MAX, &extent));
	extents_add(&list, 10, 20);
	extents_add(&list, 30, UINT64_MAX);
	ck_assert(!extents_next(&list, 0, 10, &extent));
	ck_assert(!extents_next(&list, 20, 30, &extent));
	ck_assert(!extents_next(&list, 40, 40, &extent));
	ck_assert_uint_eq(extent.start, 1);
	ck_assert(extents_next(&list, 15, 35, &extent));
	ck_assert(extent.start == 15 && extent.end == 20);
	ck_assert(extents_next(&list, 20, 35, &extent));
	ck_assert(extent.start == 30 && extent.end == 35);
}
END_TEST

/* Against an array of booleans, a few thousand random steps. */
START_TEST(random_steps_agree_with_a_plain_array)
{
	bool model[BYTES] = {false};

	srandom(1);
	for (int step = 0; step < 20000; step++) {
		uint64_t start = (uint64_t)random() % BYTES,
			 end = start + (uint64_t)random() % (BYTES - start + 1);
		bool add = random() % 2;

		ck_assert_int_eq(add ? extents_add(&list, start, end) : extents_remove(&list, start, end), 0);
		for (uint64_t byte = start; byte < end; byte++)
			model[byte] = add;
		for (size_t i = 0; i < list.count; i++) {
			ck_assert_uint_lt(list.extents[i].start, list.extents[i].end);
			ck_assert(i == 0 || list.extents[i - 1].end < list.extents[i].start);
		}
		for (uint64_t byte = 0; byte < BYTES; byte++) {
			struct extent extent;

			ck_assert_int_eq(extents_next(&list, byte, byte + 1, &extent), model[byte]);
		}
	}
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, separate_ranges_stay_separate_and_ascend);
	tcase_add_test(tests, ranges_that_touch_are_joined);
	tcase_add_test(tests, removing_divides_and_cuts);
	tcase_add_test(tests, the_next_extent_is_cut_to_the_range);
	tcase_add_test(tests, random_steps_agree_with_a_plain_array);
}
