/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "profile.h"
#include "unit.h"
#include "util.h"

static char directory[] = "/tmp/test_profile.XXXXXX";
static char file[64];

static void set_up(void)
{
	strcpy(directory + strlen(directory) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(file, sizeof(file), "%s/profile", directory);
}

static void tear_down(void)
{
	remove(file);
	rmdir(directory);
}

static int read_text(const char *text, char **ret_error)
{
	FILE *stream = fopen(file, "w");
	json_t *profile = NULL;
	int result;

	fputs(text, stream);
	fclose(stream);
	result = profile_read(file, &profile, ret_error);
	if (result == 0)
		json_decref(profile);
	return result;
}

/* Any name a file can have survives. */
START_TEST(what_is_written_is_read_again)
{
	static const char *const names[] = {"plain", "a/b c\n\"d\"", "\xff\xfe/bytes"};
	struct stat info = {.st_mode = S_IFREG, .st_size = 8192, .st_mtim = {1, 5}};
	json_t *profile = profile_new();
	char *error;

	for (size_t i = 0; i < ARRAY_LENGTH(names); i++)
		ck_assert_int_eq(profile_add(profile, names[i], &info, json_pack("[[ii]]", 4096, 4096)), 0);
	ck_assert_int_eq(profile_write(profile, file), 0);
	json_decref(profile);
	ck_assert_int_eq(profile_read(file, &profile, &error), 0);
	ck_assert_uint_eq(profile_bytes(profile), 3 * 4096);
	for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
		const json_t *entry = json_array_get(json_object_get(profile, "files"), i);
		CLEANUP(free_pointer) char *path = profile_path(entry);

		ck_assert_str_eq(path, names[i]);
		ck_assert(profile_is_current(entry, &info));
	}
	json_decref(profile);
}
END_TEST

/* Size, time or kind. */
START_TEST(a_file_that_changed_is_not_the_one_that_was_noted)
{
	struct stat info = {.st_mode = S_IFREG, .st_size = 8192, .st_mtim = {1, 5}}, other = info;
	json_t *profile = profile_new();
	const json_t *entry;

	profile_add(profile, "a", &info, json_pack("[[ii]]", 0, 4096));
	entry = json_array_get(json_object_get(profile, "files"), 0);
	other.st_size++;
	ck_assert(!profile_is_current(entry, &other));
	other = info;
	other.st_mtim.tv_nsec++;
	ck_assert(!profile_is_current(entry, &other));
	other = info;
	other.st_mode = S_IFLNK;
	ck_assert(!profile_is_current(entry, &other));
	json_decref(profile);
}
END_TEST

/* A profile may come from anywhere. */
START_TEST(what_is_no_profile_is_refused_with_a_reason)
{
#define ENTRY(path, ranges)                                                                                  \
	"{\"memmapfs_profile\":1,\"files\":[{" path ",\"size\":8192,\"mtime_ns\":1,\"ranges\":" ranges "}]}"
	static const char *const wrong[] = {
		"",
		"{",
		"[]",
		"{}",
		"{\"memmapfs_profile\":2,\"files\":[]}",
		"{\"memmapfs_profile\":1,\"files\":{}}",
		ENTRY("\"path\":\"/etc/passwd\"", "[]"),
		ENTRY("\"path\":\"../x\"", "[]"),
		ENTRY("\"path\":\"a/..\"", "[]"),
		ENTRY("\"path\":\"\"", "[]"),
		ENTRY("\"path_hex\":\"2e2e\"", "[]"),
		ENTRY("\"path_hex\":\"6\"", "[]"),
		ENTRY("\"path_hex\":\"6z\"", "[]"),
		ENTRY("\"path_hex\":\"6100\"", "[]"),
		ENTRY("\"path\":\"a\"", "{}"),
		ENTRY("\"path\":\"a\"", "[[0]]"),
		ENTRY("\"path\":\"a\"", "[[0,0]]"),
		ENTRY("\"path\":\"a\"", "[[-1,5]]"),
		ENTRY("\"path\":\"a\"", "[[8192,1]]"),
		ENTRY("\"path\":\"a\"", "[[4096,4096],[0,4096]]"),
		ENTRY("\"path\":\"a\"", "[[1,9223372036854775807]]"),
		ENTRY("\"path\":\"a\"", "[[\"0\",1]]"),
	};
	static const char right[] = ENTRY("\"path\":\"a/..b\"", "[[0,4096],[4096,4096]]");
	CLEANUP(free_pointer) char *none = NULL;

	for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
		CLEANUP(free_pointer) char *error = NULL;

		ck_assert_msg(read_text(wrong[i], &error) == -EINVAL, "%s", wrong[i]);
		ck_assert_ptr_nonnull(error);
	}
	ck_assert_int_eq(read_text(right, &none), 0);
	remove(file);
	json_t *profile;
	ck_assert_int_eq(profile_read(file, &profile, &none), -ENOENT);
}
END_TEST

/* A failure leaves the old profile and nothing beside it. */
START_TEST(writing_replaces_the_file_or_leaves_it)
{
	json_t *profile = profile_new();

	ck_assert_int_eq(profile_write(profile, "/nonexistent/profile"), -ENOENT);
	ck_assert_int_eq(profile_write(profile, file), 0);
	ck_assert_int_eq(profile_write(profile, file), 0);
	json_decref(profile);
	ck_assert_int_eq(remove(file), 0);
	ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

/* No link leads out of the tree. */
START_TEST(only_what_lies_below_the_tree_is_opened)
{
	CLEANUP(close_fd) int root = open(directory, O_RDONLY | O_DIRECTORY);
	CLEANUP(close_fd) int fd = -1;

	ck_assert_int_eq(symlinkat("/etc", root, "out"), 0);
	ck_assert_int_lt(profile_open(root, "out/passwd"), 0);
	ck_assert_int_lt(profile_open(root, "../test"), 0);
	ck_assert_int_lt(profile_open(root, "/etc/passwd"), 0);
	ck_assert_int_eq(unlinkat(root, "out", 0), 0);
	close(openat(root, "profile", O_CREAT | O_WRONLY, 0600));
	fd = profile_open(root, "profile");
	ck_assert_int_ge(fd, 0);
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, what_is_written_is_read_again);
	tcase_add_test(tests, a_file_that_changed_is_not_the_one_that_was_noted);
	tcase_add_test(tests, what_is_no_profile_is_refused_with_a_reason);
	tcase_add_test(tests, writing_replaces_the_file_or_leaves_it);
	tcase_add_test(tests, only_what_lies_below_the_tree_is_opened);
}
