/* SPDX-License-Identifier: MIT */
#include <time.h>

#include "settled.h"
#include "unit.h"

static struct stat look_of(off_t size, long seconds_ago, long nanoseconds)
{
	struct stat info = {.st_size = size};

	clock_gettime(CLOCK_REALTIME, &info.st_ctim);
	info.st_ctim.tv_sec -= seconds_ago;
	info.st_ctim.tv_nsec = nanoseconds;
	return info;
}

/* A change that comes within the same time stamp would pass unnoticed. */
START_TEST(a_look_just_after_a_change_does_not_count)
{
	struct settled settled = {0};
	struct settled_look look;
	struct stat fresh = look_of(10, 0, 0), future = look_of(10, -100, 0);

	ck_assert(!settled_last(&settled, &look));
	settled_note(&settled, &fresh);
	settled_note(&settled, &future);
	ck_assert(!settled_last(&settled, &look));
}
END_TEST

START_TEST(a_file_with_the_same_size_and_ctime_has_not_changed)
{
	struct settled settled = {0};
	struct settled_look look;
	struct stat then = look_of(10, 60, 5), now = then;

	settled_note(&settled, &then);
	ck_assert(settled_last(&settled, &look));
	ck_assert_uint_eq(look.size, 10);
	ck_assert(settled_since(&look, &now));
	now.st_size = 11;
	ck_assert(!settled_since(&look, &now));
	now = then;
	now.st_ctim.tv_nsec++;
	ck_assert(!settled_since(&look, &now));
	/* Access and modification times may be set to anything. */
	now = then;
	now.st_mtim.tv_sec++;
	ck_assert(settled_since(&look, &now));
}
END_TEST

/* What does not count leaves what counted: it never passes for the file's present state. */
START_TEST(a_later_look_replaces_an_earlier_one_if_it_counts)
{
	struct settled settled = {0};
	struct settled_look look;
	struct stat first = look_of(10, 60, 5), second = look_of(20, 50, 5), fresh = look_of(30, 0, 5);

	settled_note(&settled, &first);
	settled_note(&settled, &second);
	settled_note(&settled, &fresh);
	ck_assert(settled_last(&settled, &look));
	ck_assert(settled_since(&look, &second));
	ck_assert(!settled_since(&look, &first));
	ck_assert(!settled_since(&look, &fresh));
	settled_drop(&settled);
	ck_assert(!settled_last(&settled, &look));
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_test(tests, a_look_just_after_a_change_does_not_count);
	tcase_add_test(tests, a_file_with_the_same_size_and_ctime_has_not_changed);
	tcase_add_test(tests, a_later_look_replaces_an_earlier_one_if_it_counts);
}
