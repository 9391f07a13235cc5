/* SPDX-License-Identifier: MIT */
/* When the blocks held back for root are near: the C library's fstatfs() is replaced by what each test says. */
#include <errno.h>
#include <stdlib.h>
#include <sys/statfs.h>

#include "reserve.h"
#include "unit.h"

#define MIB (UINT64_C(1) << 20)

static struct reserve reserve;
static struct statfs answer;
static int asked, failure;

int fstatfs(int fd, struct statfs *ret_info)
{
	(void)fd;
	asked++;
	*ret_info = answer;
	errno = failure;
	return failure == 0 ? 0 : -1;
}

/* So much is free, and so much of that for everybody. */
static void holds(uint64_t free_mib, uint64_t for_all_mib)
{
	answer = (struct statfs){.f_bsize = 4096, .f_bfree = free_mib * 256, .f_bavail = for_all_mib * 256};
}

static void setup(void)
{
	reserve = (struct reserve){0};
	asked = failure = 0;
}

START_TEST(far_from_the_reserve_nothing_is_asked_twice)
{
	holds(100000, 90000);
	ck_assert(!reserve_near(&reserve, 3, 4096));
	/* A second may have passed in between, twice at most. */
	for (int i = 0; i < 1000; i++)
		ck_assert(!reserve_near(&reserve, 3, 4096));
	ck_assert_int_ge(asked, 1);
	ck_assert_int_le(asked, 3);
}
END_TEST

START_TEST(what_was_written_meanwhile_counts)
{
	holds(100000, 90000);
	ck_assert(!reserve_near(&reserve, 3, 4096));
	holds(1000, 10);
	for (int i = 0; i < 63; i++)
		reserve_near(&reserve, 3, MIB);
	ck_assert(reserve_near(&reserve, 3, 2 * MIB));
}
END_TEST

START_TEST(one_large_request_is_asked_for)
{
	holds(10000, 1000);
	ck_assert(!reserve_near(&reserve, 3, 4096));
	ck_assert(reserve_near(&reserve, 3, 900 * MIB));
	ck_assert(reserve_near(&reserve, 3, UINT64_MAX));
}
END_TEST

START_TEST(near_it_every_write_asks)
{
	holds(1000, 255);
	for (int i = 1; i <= 10; i++) {
		ck_assert(reserve_near(&reserve, 3, 1));
		ck_assert_int_eq(asked, i);
	}
	holds(10000, 9000);
	ck_assert(!reserve_near(&reserve, 3, 1));
}
END_TEST

START_TEST(without_a_reserve_it_is_never_near)
{
	holds(10, 10);
	ck_assert(!reserve_near(&reserve, 3, 1));
	ck_assert(!reserve_near(&reserve, 3, UINT64_MAX));
}
END_TEST

START_TEST(a_file_system_that_cannot_say_has_none)
{
	holds(10, 0);
	failure = EIO;
	ck_assert(!reserve_near(&reserve, 3, 1));
	failure = 0;
	ck_assert(reserve_near(&reserve, 3, UINT64_MAX));
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, setup, NULL);
	tcase_add_test(tests, far_from_the_reserve_nothing_is_asked_twice);
	tcase_add_test(tests, what_was_written_meanwhile_counts);
	tcase_add_test(tests, one_large_request_is_asked_for);
	tcase_add_test(tests, near_it_every_write_asks);
	tcase_add_test(tests, without_a_reserve_it_is_never_near);
	tcase_add_test(tests, a_file_system_that_cannot_say_has_none);
}
