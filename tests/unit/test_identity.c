/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "identity.h"
#include "unit.h"
#include "util.h"

/* Two directories that usually lie on file systems of different kinds; what they cannot do is skipped. */
static const char *const places[] = {"/var/tmp", "/dev/shm"};
static char directory[64];
static int directory_fd = -1;

static void leave(void)
{
	if (directory_fd < 0)
		return;
	unlinkat(directory_fd, "file", 0);
	unlinkat(directory_fd, "other", 0);
	unlinkat(directory_fd, "link", 0);
	rmdir(directory);
	close_fd(&directory_fd);
}

static bool enter(const char *place)
{
	leave();
	snprintf(directory, sizeof(directory), "%s/identity-XXXXXX", place);
	if (mkdtemp(directory) == NULL) {
		printf("skipped: no directory can be made in %s\n", place);
		return false;
	}
	directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(directory_fd, 0);
	return true;
}

static void make(const char *name)
{
	int fd = openat(directory_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, name, strlen(name)), (int)strlen(name));
	close(fd);
}

/* The handle of a name in the directory, or NULL where the file system has none. */
static struct identity_handle *handle_of(const char *name)
{
	struct identity_handle *handle = NULL;
	int result = identity_handle_new(directory_fd, name, 5, &handle);

	if (result == -EOPNOTSUPP) {
		printf("skipped: no file handles in %s\n", directory);
		return NULL;
	}
	ck_assert_int_eq(result, 0);
	ck_assert_ptr_nonnull(handle);
	return handle;
}

static bool same_bytes(const struct identity_handle *a, const struct identity_handle *b)
{
	return a->type == b->type && a->bytes == b->bytes && memcmp(a->data, b->data, a->bytes) == 0;
}

static bool is_file(int fd, const char *name)
{
	char text[16] = "";

	return pread(fd, text, sizeof(text) - 1, 0) >= 0 && strcmp(text, name) == 0;
}

/* Which object it is, and what statx(2) said of it, survive the change of struct. */
START_TEST(key_and_stat_say_what_statx_said)
{
	struct statx stx;
	struct stat expected, found;
	struct identity_key key;

	ck_assert(enter(places[0]));
	make("file");
	ck_assert_int_eq(statx(directory_fd, "file", 0, STATX_BASIC_STATS | STATX_BTIME, &stx), 0);
	ck_assert_int_eq(fstatat(directory_fd, "file", &expected, 0), 0);
	key = identity_of_statx(&stx);
	ck_assert_uint_eq(key.dev, expected.st_dev);
	ck_assert_uint_eq(key.ino, expected.st_ino);
	memset(&found, 0xff, sizeof(found));
	identity_stat(&stx, &found);
	ck_assert_uint_eq(found.st_dev, expected.st_dev);
	ck_assert_uint_eq(found.st_ino, expected.st_ino);
	ck_assert_uint_eq(found.st_mode, expected.st_mode);
	ck_assert_uint_eq(found.st_nlink, expected.st_nlink);
	ck_assert_uint_eq(found.st_uid, expected.st_uid);
	ck_assert_uint_eq(found.st_gid, expected.st_gid);
	ck_assert_uint_eq(found.st_rdev, expected.st_rdev);
	ck_assert_int_eq(found.st_size, expected.st_size);
	ck_assert_int_eq(found.st_blksize, expected.st_blksize);
	ck_assert_int_eq(found.st_blocks, expected.st_blocks);
	ck_assert_int_eq(memcmp(&found.st_atim, &expected.st_atim, sizeof(found.st_atim)), 0);
	ck_assert_int_eq(memcmp(&found.st_mtim, &expected.st_mtim, sizeof(found.st_mtim)), 0);
	ck_assert_int_eq(memcmp(&found.st_ctim, &expected.st_ctim, sizeof(found.st_ctim)), 0);
}
END_TEST

/* The birth time counts in nanoseconds where there is one, and is 0 where there is none. */
START_TEST(the_birth_time_is_part_of_the_key_where_it_is_known)
{
	struct statx stx = {.stx_mask = STATX_BASIC_STATS | STATX_BTIME, .stx_ino = 7};

	stx.stx_btime.tv_sec = 1700000000;
	stx.stx_btime.tv_nsec = 123456789;
	stx.stx_dev_major = 0xabc;
	stx.stx_dev_minor = 0x12345;
	ck_assert_int_eq(identity_of_statx(&stx).birth_ns, INT64_C(1700000000123456789));
	ck_assert_uint_eq(identity_of_statx(&stx).dev, makedev(0xabc, 0x12345));
	stx.stx_mask = STATX_BASIC_STATS;
	ck_assert_int_eq(identity_of_statx(&stx).birth_ns, 0);
}
END_TEST

/* By name, by descriptor and through a hard link it is one handle, and another file has another. */
START_TEST(a_handle_is_the_object_s_whatever_it_is_called)
{
	for (size_t i = 0; i < ARRAY_LENGTH(places); i++) {
		if (!enter(places[i]))
			continue;
		make("file");
		make("other");
		ck_assert_int_eq(linkat(directory_fd, "file", directory_fd, "link", 0), 0);
		struct identity_handle *by_name = handle_of("file"), *by_link, *by_fd = NULL, *other;
		int fd = openat(directory_fd, "file", O_PATH | O_CLOEXEC);

		if (by_name != NULL) {
			by_link = handle_of("link");
			other = handle_of("other");
			ck_assert_int_eq(identity_handle_new(fd, "", 5, &by_fd), 0);
			ck_assert_int_eq(by_name->mount, 5);
			ck_assert(same_bytes(by_name, by_link));
			ck_assert(same_bytes(by_name, by_fd));
			ck_assert(!same_bytes(by_name, other));
			free(by_link);
			free(by_fd);
			free(other);
		}
		free(by_name);
		close(fd);
	}
}
END_TEST

/* A handle opens its object under another name and in its own mode; the descriptor is not inherited. */
START_TEST(a_handle_opens_its_object)
{
	for (size_t i = 0; i < ARRAY_LENGTH(places); i++) {
		if (!enter(places[i]))
			continue;
		make("file");
		struct identity_handle *handle = handle_of("file");

		if (handle == NULL)
			continue;
		ck_assert_int_eq(renameat(directory_fd, "file", directory_fd, "other"), 0);
		int fd = identity_handle_open(directory_fd, handle, O_RDWR);

		if (fd == -EPERM) {
			printf("skipped: opening handles is not permitted (CAP_DAC_READ_SEARCH)\n");
		} else {
			ck_assert_int_ge(fd, 0);
			ck_assert(is_file(fd, "file"));
			ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
			ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
			close(fd);
		}
		free(handle);
	}
}
END_TEST

/* A removed object is gone, also when a new one has taken its number. */
START_TEST(the_handle_of_a_removed_object_is_stale)
{
	for (size_t i = 0; i < ARRAY_LENGTH(places); i++) {
		if (!enter(places[i]))
			continue;
		make("file");
		struct identity_handle *handle = handle_of("file");

		if (handle == NULL)
			continue;
		ck_assert_int_eq(unlinkat(directory_fd, "file", 0), 0);
		make("other");
		int fd = identity_handle_open(directory_fd, handle, O_RDONLY);

		if (fd == -EPERM)
			printf("skipped: opening handles is not permitted (CAP_DAC_READ_SEARCH)\n");
		else
			ck_assert_int_eq(fd, -ESTALE);
		free(handle);
	}
}
END_TEST

/* Failures name the system call's reason and leave ret_handle alone. */
START_TEST(without_an_object_there_is_no_handle)
{
	struct identity_handle *untouched = (void *)&directory;

	ck_assert(enter(places[0]));
	ck_assert_int_eq(identity_handle_new(directory_fd, "missing", 0, &untouched), -ENOENT);
	ck_assert_int_eq(identity_handle_new(-1, "", 0, &untouched), -EBADF);
	ck_assert_ptr_eq(untouched, (void *)&directory);
}
END_TEST

/* A pipe has no handle: the file system behind it says so. */
START_TEST(a_file_system_without_handles_is_eopnotsupp)
{
	struct identity_handle *untouched = NULL;
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(identity_handle_new(ends[0], "", 0, &untouched), -EOPNOTSUPP);
	ck_assert_ptr_null(untouched);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

/* Id and any handle of the file system make the handle again: that is how NFS clients' handles survive. */
START_TEST(an_id_and_a_sibling_s_handle_make_the_handle_again)
{
	for (size_t i = 0; i < ARRAY_LENGTH(places); i++) {
		if (!enter(places[i]))
			continue;
		make("file");
		make("other");
		struct identity_handle *handle = handle_of("file"), *made = NULL;

		if (handle == NULL)
			continue;
		struct identity_handle *like = handle_of("other");
		uint64_t id = identity_pack(handle);

		if (id == 0) {
			printf("skipped: handles of %s make no id\n", directory);
		} else {
			ck_assert_uint_ne(id, identity_pack(like));
			ck_assert_int_eq(identity_unpack(id, like, &made), 0);
			ck_assert(same_bytes(made, handle));
			ck_assert_int_eq(made->mount, like->mount);
			ck_assert_uint_eq(identity_pack(made), id);
		}
		free(made);
		free(like);
		free(handle);
	}
}
END_TEST

static struct identity_handle *made_up(int type, unsigned bytes)
{
	struct identity_handle *handle = malloc(sizeof(*handle) + bytes);

	handle->mount = 3;
	handle->type = type;
	handle->bytes = bytes;
	for (unsigned i = 0; i < bytes; i++)
		handle->data[i] = (unsigned char)(i + 1);
	return handle;
}

static void put_word(struct identity_handle *handle, unsigned word, uint32_t value)
{
	memcpy(handle->data + 4 * word, &value, sizeof(value));
}

/* Each known layout, without its file system: where the number and the generation stand. */
START_TEST(every_known_layout_packs_number_and_generation)
{
	static const struct {
		int type;
		unsigned bytes, ino_word, generation_word;
		int high_word;
	} layouts[] = {
		{0x01, 8, 0, 1, -1}, /* ext4 */
		{0x81, 12, 0, 2, 1}, /* xfs */
		{0x01, 12, 1, 0, 2}, /* tmpfs */
		{0x4d, 20, 0, 4, 1}, /* btrfs */
	};

	for (size_t i = 0; i < ARRAY_LENGTH(layouts); i++) {
		struct identity_handle *handle = made_up(layouts[i].type, layouts[i].bytes), *made = NULL;
		struct identity_handle *like = made_up(layouts[i].type, layouts[i].bytes);

		if (layouts[i].high_word >= 0)
			put_word(handle, (unsigned)layouts[i].high_word, 0);
		put_word(handle, layouts[i].ino_word, 0x11223344);
		put_word(handle, layouts[i].generation_word, 0x55667788);
		ck_assert_uint_eq(identity_pack(handle), UINT64_C(0x5566778811223344));
		ck_assert_int_eq(identity_unpack(UINT64_C(0x5566778811223344), like, &made), 0);
		ck_assert(same_bytes(made, handle));
		if (layouts[i].high_word >= 0) {
			put_word(handle, (unsigned)layouts[i].high_word, 1);
			ck_assert_uint_eq(identity_pack(handle), 0); /* the number needs more than 32 bits */
		}
		free(handle);
		free(like);
		free(made);
	}
}
END_TEST

/* Of handles nobody knows the inside of no id is made, and none from an id. */
START_TEST(an_unknown_layout_has_no_id)
{
	static const struct {
		int type;
		unsigned bytes;
	} unknown[] = {{0x02, 8}, {0x01, 16}, {0x81, 24}, {0xf8, 12}, {0x4e, 20}};

	for (size_t i = 0; i < ARRAY_LENGTH(unknown); i++) {
		struct identity_handle *handle = made_up(unknown[i].type, unknown[i].bytes);
		struct identity_handle *untouched = NULL;

		ck_assert_uint_eq(identity_pack(handle), 0);
		ck_assert_int_eq(identity_unpack(1, handle, &untouched), -EOPNOTSUPP);
		ck_assert_ptr_null(untouched);
		free(handle);
	}
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, NULL, leave);
	tcase_add_test(tests, key_and_stat_say_what_statx_said);
	tcase_add_test(tests, the_birth_time_is_part_of_the_key_where_it_is_known);
	tcase_add_test(tests, a_handle_is_the_object_s_whatever_it_is_called);
	tcase_add_test(tests, a_handle_opens_its_object);
	tcase_add_test(tests, the_handle_of_a_removed_object_is_stale);
	tcase_add_test(tests, without_an_object_there_is_no_handle);
	tcase_add_test(tests, a_file_system_without_handles_is_eopnotsupp);
	tcase_add_test(tests, an_id_and_a_sibling_s_handle_make_the_handle_again);
	tcase_add_test(tests, every_known_layout_packs_number_and_generation);
	tcase_add_test(tests, an_unknown_layout_has_no_id);
}
