/* SPDX-License-Identifier: MIT */

#include "marks.h"
#include "unit.h"

#define MANY 5000

static int calls;

static void count_call(void *context)
{
	ck_assert_ptr_eq(context, &calls);
	calls++;
}

/* Through all sizes of the table, up and down. */
START_TEST(marks_are_found_by_hash_until_they_are_removed)
{
	static struct mark *added[MANY];
	struct marks marks = {0};
	uint64_t nodeid;

	ck_assert_int_eq(marks_init(&marks), 0);
	for (uint64_t i = 0; i < MANY; i++)
		ck_assert_ptr_nonnull(added[i] = marks_add(&marks, i << 20, i + 100));
	ck_assert_uint_eq(marks_count(&marks), MANY);
	for (uint64_t i = 0; i < MANY; i++) {
		ck_assert_uint_eq(marks_find(&marks, i << 20, &nodeid, 1), 1);
		ck_assert_uint_eq(nodeid, i + 100);
	}
	ck_assert_uint_eq(marks_find(&marks, 1, &nodeid, 1), 0);
	for (uint64_t i = 0; i < MANY - 10; i++)
		marks_remove(&marks, added[i], NULL, NULL);
	ck_assert_uint_eq(marks_find(&marks, 0, &nodeid, 1), 0);
	ck_assert_uint_eq(marks_find(&marks, (uint64_t)(MANY - 1) << 20, &nodeid, 1), 1);
	ck_assert_uint_eq(marks_count(&marks), 10);
	marks_fini(&marks);
	marks_fini(&marks);
}
END_TEST

START_TEST(the_last_mark_of_a_hash_is_told_from_others)
{
	struct marks marks = {0};
	struct mark *first, *second;
	uint64_t nodeids[3];

	ck_assert_int_eq(marks_init(&marks), 0);
	first = marks_add(&marks, 7, 1);
	second = marks_add(&marks, 7, 2);
	ck_assert_ptr_nonnull(first);
	ck_assert_ptr_nonnull(second);
	ck_assert_uint_eq(marks_find(&marks, 7, nodeids, 3), 2);
	ck_assert_uint_eq(nodeids[0] + nodeids[1], 3);
	ck_assert_uint_eq(marks_find(&marks, 7, nodeids, 1), 1);
	calls = 0;
	marks_remove(&marks, first, count_call, &calls);
	ck_assert_int_eq(calls, 0);
	ck_assert_uint_eq(marks_find(&marks, 7, nodeids, 3), 1);
	ck_assert_uint_eq(nodeids[0], 2);
	marks_remove(&marks, second, count_call, &calls);
	ck_assert_int_eq(calls, 1);
	marks_fini(&marks);
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_test(tests, marks_are_found_by_hash_until_they_are_removed);
	tcase_add_test(tests, the_last_mark_of_a_hash_is_told_from_others);
}
