/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "ctl/mounts.h"
#include "unit.h"

static struct mount *mounts;
static size_t count;

static int read_text(const char *text)
{
	char path[] = "/tmp/test_ctl_mounts.XXXXXX";
	int fd = mkstemp(path), result;
	FILE *stream = fdopen(fd, "w");

	fputs(text, stream);
	fclose(stream);
	result = mounts_read(path, &mounts, &count);
	remove(path);
	return result;
}

/* Ours among others', with and without optional fields. */
START_TEST(mounts_are_found_by_their_type)
{
	ck_assert_int_eq(
		read_text("20 1 8:1 / / rw,noatime shared:1 - ext4 /dev/sda1 rw\n"
			  "30 20 0:40 / /mnt/a rw,nosuid shared:7 master:2 - fuse.memmapfs-fuse /srv/a "
			  "rw,user_id=0,group_id=0\n"
			  "31 20 0:41 / /mnt/b ro - fuse.memmapfs-fuse /srv/b rw,user_id=1000,group_id=5\n"
			  "32 20 0:42 / /mnt/c rw - fuse.other /srv/c rw,user_id=0\n"),
		0);
	ck_assert_uint_eq(count, 2);
	ck_assert_str_eq(mounts[0].point, "/mnt/a");
	ck_assert_str_eq(mounts[0].backing, "/srv/a");
	ck_assert(!mounts[0].read_only);
	ck_assert_uint_eq(mounts[0].user, 0);
	ck_assert_str_eq(mounts[1].point, "/mnt/b");
	ck_assert(mounts[1].read_only);
	ck_assert_uint_eq(mounts[1].user, 1000);
	mounts_free(mounts, count);
}
END_TEST

/* The kernel's escapes, and what only looks like one. */
START_TEST(escaped_names_are_read)
{
	ck_assert_int_eq(read_text("30 20 0:40 / /mnt/a\\040b\\011c\\012d\\134e rw - fuse.memmapfs-fuse "
				   "/srv/\\999\\04 rw,user_id=0\n"),
			 0);
	ck_assert_uint_eq(count, 1);
	ck_assert_str_eq(mounts[0].point, "/mnt/a b\tc\nd\\e");
	ck_assert_str_eq(mounts[0].backing, "/srv/\\999\\04");
	mounts_free(mounts, count);
}
END_TEST

/* Nothing of a line that breaks off is believed. */
START_TEST(broken_lines_are_passed_over)
{
	ck_assert_int_eq(read_text("\n30\n30 20 0:40 / /mnt/a rw\n30 20 0:40 / /mnt/a rw - \n"
				   "30 20 0:40 / /mnt/a rw - fuse.memmapfs-fuse\n"),
			 0);
	ck_assert_uint_eq(count, 0);
	mounts_free(mounts, count);
}
END_TEST

/* The table cannot be read. */
START_TEST(a_missing_table_is_an_error)
{
	ck_assert_int_eq(mounts_read("/nonexistent/mountinfo", &mounts, &count), -ENOENT);
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_test(tests, mounts_are_found_by_their_type);
	tcase_add_test(tests, escaped_names_are_read);
	tcase_add_test(tests, broken_lines_are_passed_over);
	tcase_add_test(tests, a_missing_table_is_an_error);
}
