/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "mapping/errnos.h"
#include "unit.h"
#include "util.h"

#define THREADS 8

static const enum mapping_call calls[] = {CALL_MMAP, CALL_MSYNC, CALL_MADVISE, CALL_MLOCK};

static void expect_row(enum mapping_call call, int number, const char *name, enum mapping_action action)
{
	const struct mapping_errno *row = mapping_errno_find(call, number);

	ck_assert_ptr_nonnull(row);
	ck_assert_int_eq(row->call, call);
	ck_assert_int_eq(row->number, number);
	ck_assert_str_eq(row->name, name);
	ck_assert_msg(row->action == action, "%s of call %d does %d", name, call, row->action);
}

/* No errno of a manual is missing, and what is found is the row of that very call. */
START_TEST(every_errno_of_the_manuals_has_its_row)
{
	expect_row(CALL_MMAP, EACCES, "EACCES", ACTION_FALL_BACK);
	expect_row(CALL_MMAP, EAGAIN, "EAGAIN", ACTION_FALL_BACK);
	expect_row(CALL_MMAP, EBADF, "EBADF", ACTION_FALL_BACK);
	expect_row(CALL_MMAP, EEXIST, "EEXIST", ACTION_FALL_BACK);
	expect_row(CALL_MMAP, EINVAL, "EINVAL", ACTION_FALL_BACK);
	expect_row(CALL_MMAP, ENFILE, "ENFILE", ACTION_EVICT);
	expect_row(CALL_MMAP, ENODEV, "ENODEV", ACTION_FALL_BACK);
	expect_row(CALL_MMAP, ENOMEM, "ENOMEM", ACTION_EVICT);
	expect_row(CALL_MMAP, EOVERFLOW, "EOVERFLOW", ACTION_FALL_BACK);
	expect_row(CALL_MMAP, EPERM, "EPERM", ACTION_FALL_BACK);
	expect_row(CALL_MMAP, ETXTBSY, "ETXTBSY", ACTION_FALL_BACK);
	expect_row(CALL_MSYNC, EBUSY, "EBUSY", ACTION_REPORT);
	expect_row(CALL_MSYNC, EINVAL, "EINVAL", ACTION_REPORT);
	expect_row(CALL_MSYNC, EIO, "EIO", ACTION_REPORT);
	expect_row(CALL_MSYNC, ENOMEM, "ENOMEM", ACTION_REPORT);
	expect_row(CALL_MSYNC, ENOSPC, "ENOSPC", ACTION_REPORT);
	expect_row(CALL_MSYNC, EDQUOT, "EDQUOT", ACTION_REPORT);
	expect_row(CALL_MADVISE, EACCES, "EACCES", ACTION_REPORT);
	expect_row(CALL_MADVISE, EAGAIN, "EAGAIN", ACTION_REPORT);
	expect_row(CALL_MADVISE, EBADF, "EBADF", ACTION_REPORT);
	expect_row(CALL_MADVISE, EBUSY, "EBUSY", ACTION_REPORT);
	expect_row(CALL_MADVISE, EFAULT, "EFAULT", ACTION_REPORT);
	expect_row(CALL_MADVISE, EINVAL, "EINVAL", ACTION_REPORT);
	expect_row(CALL_MADVISE, EIO, "EIO", ACTION_REPORT);
	expect_row(CALL_MADVISE, ENOMEM, "ENOMEM", ACTION_REPORT);
	expect_row(CALL_MADVISE, EPERM, "EPERM", ACTION_REPORT);
	expect_row(CALL_MADVISE, EHWPOISON, "EHWPOISON", ACTION_REPORT);
	expect_row(CALL_MLOCK, EAGAIN, "EAGAIN", ACTION_REPORT);
	expect_row(CALL_MLOCK, EINVAL, "EINVAL", ACTION_REPORT);
	expect_row(CALL_MLOCK, ENOMEM, "ENOMEM", ACTION_REPORT);
	expect_row(CALL_MLOCK, EPERM, "EPERM", ACTION_REPORT);
}
END_TEST

/* An errno that no manual names still gets an answer, and one of its own call. */
START_TEST(an_unnamed_errno_gets_the_call_s_last_row)
{
	for (size_t i = 0; i < ARRAY_LENGTH(calls); i++) {
		const struct mapping_errno *row = mapping_errno_find(calls[i], EXDEV);

		ck_assert_ptr_nonnull(row);
		ck_assert_int_eq(row->call, calls[i]);
		ck_assert_int_eq(row->number, 0);
		ck_assert_str_eq(row->name, "unknown");
		ck_assert_ptr_eq(row, mapping_errno_find(calls[i], 4095));
	}
}
END_TEST

/* A row that stands behind its call's catch-all, or twice, would never be found. */
START_TEST(every_row_can_be_found)
{
	const struct mapping_errno *row;
	unsigned count = 0;

	for (; (row = mapping_errno_row(count)) != NULL; count++)
		ck_assert_msg(mapping_errno_find(row->call, row->number) == row, "row %u", count);
	ck_assert_uint_gt(count, ARRAY_LENGTH(calls));
	ck_assert_ptr_null(mapping_errno_row(count + 1));
	ck_assert_ptr_null(mapping_errno_row(UINT32_MAX));
}
END_TEST

/* Names are what errno(3) calls them, and messages read on behind a colon. */
START_TEST(names_are_true_and_messages_are_clauses)
{
	const struct mapping_errno *row;

	for (unsigned i = 0; (row = mapping_errno_row(i)) != NULL; i++) {
		if (row->number != 0)
			ck_assert_str_eq(row->name, strerrorname_np(row->number));
		ck_assert_uint_gt(strlen(row->message), 0);
		ck_assert_msg(row->message[strlen(row->message) - 1] != '.', "%s", row->message);
	}
}
END_TEST

/* The user is told of each row once; rows and files are told apart. */
START_TEST(a_row_is_said_once_for_each_who_says_it)
{
	struct mapping_said said = {0}, other = {0};
	const struct mapping_errno *row;

	for (unsigned i = 0; (row = mapping_errno_row(i)) != NULL; i++)
		ck_assert_msg(mapping_errno_first(&said, row), "row %u was not said before", i);
	for (unsigned i = 0; (row = mapping_errno_row(i)) != NULL; i++)
		ck_assert_msg(!mapping_errno_first(&said, row), "row %u was said before", i);
	ck_assert(mapping_errno_first(&other, mapping_errno_row(0)));
}
END_TEST

static struct mapping_said shared_said;
static _Atomic unsigned firsts;
static pthread_barrier_t barrier;

static void *say_all(void *unused)
{
	const struct mapping_errno *row;

	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; (row = mapping_errno_row(i)) != NULL; i++) {
		if (mapping_errno_first(&shared_said, row))
			atomic_fetch_add(&firsts, 1);
	}
	return unused;
}

/* Of threads that meet the same errno at the same time one speaks. */
START_TEST(of_racing_threads_exactly_one_is_first)
{
	pthread_t threads[THREADS];
	unsigned rows = 0;

	while (mapping_errno_row(rows) != NULL)
		rows++;
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (int round = 0; round < 100; round++) {
		atomic_store(&shared_said.rows, 0);
		atomic_store(&firsts, 0);
		for (int i = 0; i < THREADS; i++)
			ck_assert_int_eq(pthread_create(&threads[i], NULL, say_all, NULL), 0);
		for (int i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
		ck_assert_uint_eq(atomic_load(&firsts), rows);
	}
	pthread_barrier_destroy(&barrier);
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_test(tests, every_errno_of_the_manuals_has_its_row);
	tcase_add_test(tests, an_unnamed_errno_gets_the_call_s_last_row);
	tcase_add_test(tests, every_row_can_be_found);
	tcase_add_test(tests, names_are_true_and_messages_are_clauses);
	tcase_add_test(tests, a_row_is_said_once_for_each_who_says_it);
	tcase_add_test(tests, of_racing_threads_exactly_one_is_first);
}
