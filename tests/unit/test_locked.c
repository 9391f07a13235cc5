/* SPDX-License-Identifier: MIT */
/* Over a file system that nobody has mounted: files are looked up and forgotten as the kernel would. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control.h"
#include "file.h"
#include "fs.h"
#include "inode.h"
#include "locked.h"
#include "mapping/guard.h"
#include "mapping/lock.h"
#include "unit.h"
#include "util.h"

#define FILES 3

static char program[] = "memmapfs-fuse";
static char backing[] = "/tmp/memmapfs-locked.XXXXXX";
static struct fs *fs;
static struct inode *inodes[FILES];

static const char *name_of(int number)
{
	static char name[16];

	snprintf(name, sizeof(name), "file%d", number);
	return name;
}

static void set_up(void)
{
	char *words[] = {program, backing, backing}, *error = NULL;
	struct options options;
	struct found found;
	bool mountpoint_bad;
	int directory;

	strcpy(backing + strlen(backing) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(backing));
	directory = open(backing, O_PATH | O_CLOEXEC);
	fs = calloc(1, sizeof(*fs));
	ck_assert_int_eq(guard_init(), 0);
	ck_assert_int_eq(options_parse(3, words, &options, &error), 0);
	ck_assert_int_eq(fs_open(fs, &options, NULL, &error, &mountpoint_bad), 0);
	for (int i = 0; i < FILES; i++) {
		int fd = openat(directory, name_of(i), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

		ck_assert_int_eq(ftruncate(fd, (off_t)page_size()), 0);
		close(fd);
		ck_assert_int_eq(inode_lookup(fs, fs->root, name_of(i), &found), 0);
		inodes[i] = found.inode;
	}
	close(directory);
}

static void remove_file(int number)
{
	CLEANUP(free_pointer) char *path = NULL;

	ck_assert_int_gt(asprintf(&path, "%s/%s", backing, name_of(number)), 0);
	unlink(path);
}

static void tear_down(void)
{
	for (int i = 0; i < FILES; i++)
		remove_file(i);
	rmdir(backing);
	fs_close(fs);
	free(fs);
}

/* As by the attribute or memmapfsctl; the answer goes where failures are told. */
static int run(int number, const char *command, const char *value)
{
	struct control_caller caller = {.may_read = true};
	CLEANUP(free_pointer) char *reply = NULL;
	int result = control_run(fs, inodes[number], command, value, &caller, &reply);

	if (result < 0)
		ck_assert_ptr_nonnull(reply);
	return result;
}

static size_t held(void)
{
	return atomic_load(&fs->locked.count);
}

static uint64_t locked_bytes(void)
{
	return (uint64_t)atomic_load(&fs->windows.locked);
}

static void forget(int number)
{
	inode_forget(fs, inodes[number]->nodeid, 1);
}

/* What the kernel has forgotten is found again by its name, as the same inode with the same locks. */
START_TEST(a_locked_file_stays_though_the_kernel_forgets_it)
{
	uint64_t nodeid = inodes[0]->nodeid;
	struct found found;

	ck_assert_int_eq(run(0, "lock", "now"), 0);
	ck_assert_uint_eq(held(), 1);
	forget(0);
	ck_assert_ptr_eq(inode_find(fs, nodeid), inodes[0]);
	ck_assert_uint_eq(locked_bytes(), page_size());
	ck_assert(!inode_is_looked_up(fs, inodes[0]));
	ck_assert_int_eq(inode_lookup(fs, fs->root, name_of(0), &found), 0);
	ck_assert_ptr_eq(found.inode, inodes[0]);
	/* Unlocked, it goes with the next forgetting. */
	ck_assert_int_eq(run(0, "unlock", "now"), 0);
	ck_assert_uint_eq(held(), 0);
	forget(0);
	ck_assert_ptr_null(inode_find(fs, nodeid));
	ck_assert_uint_eq(locked_bytes(), 0);
}
END_TEST

/* Of a file that was never locked, nothing is held. */
START_TEST(an_unlocked_file_goes)
{
	uint64_t nodeid = inodes[1]->nodeid;

	ck_assert_int_eq(run(1, "unlock", "now"), 0);
	ck_assert_int_eq(run(1, "preload", "now"), 0);
	ck_assert_uint_eq(held(), 0);
	forget(1);
	ck_assert_ptr_null(inode_find(fs, nodeid));
}
END_TEST

/* However often it is locked, one reference is held; the last range that is unlocked gives it back. */
START_TEST(ranges_share_one_reference)
{
	char range[32];

	ck_assert_int_eq(run(0, "lock", "now:0:1"), 0);
	ck_assert_int_eq(run(0, "lock", "now"), 0);
	ck_assert_uint_eq(held(), 1);
	ck_assert_uint_eq(atomic_load(&inodes[0]->refs), 1);
	snprintf(range, sizeof(range), "now:0:%zu", page_size());
	ck_assert_int_eq(run(0, "lock", range), 0);
	ck_assert_int_eq(run(0, "evict", "now"), 0);
	ck_assert_uint_eq(held(), 0);
	ck_assert_uint_eq(atomic_load(&inodes[0]->refs), 0);
}
END_TEST

/* One more than may be is refused by name, locks nothing, and finds room again. */
START_TEST(there_may_be_so_many_and_no_more)
{
	ck_assert_uint_gt(fs->locked.max, 7);
	fs->locked.max = 2;
	ck_assert_int_eq(run(0, "lock", "now"), 0);
	ck_assert_int_eq(run(1, "lock", "now"), 0);
	ck_assert_int_eq(run(2, "lock", "now"), -ENOLCK);
	ck_assert_uint_eq(locked_bytes(), 2 * page_size());
	ck_assert_int_eq(run(1, "lock", "now:0:1"), 0);
	ck_assert_int_eq(run(0, "unlock", "now"), 0);
	ck_assert_int_eq(run(2, "lock", "now"), 0);
	ck_assert_uint_eq(held(), 2);
}
END_TEST

/* A lock that is refused holds nothing. */
START_TEST(a_refused_lock_holds_nothing)
{
	ck_assert_int_eq(run(0, "lock", "now:1G:1G"), -EINVAL);
	ck_assert_int_eq(run(0, "lock", "later"), -EINVAL);
	ck_assert_uint_eq(held(), 0);
}
END_TEST

/* A file without a name stays for who has it open, and no longer. */
START_TEST(locks_go_with_the_last_name_and_the_last_opener)
{
	struct handle handle = {.flags = O_RDONLY};
	uint64_t nodeids[2] = {inodes[0]->nodeid, inodes[1]->nodeid};
	struct file *file;

	for (int i = 0; i < FILES; i++)
		ck_assert_int_eq(run(i, "lock", "now"), 0);
	ck_assert_int_eq(file_get(fs, inodes[0], &file), 0);
	file_open(file, &handle);
	remove_file(0);
	locked_look(fs);
	ck_assert_uint_eq(held(), 3);
	file_close(fs, inodes[0], file, &handle);
	locked_look(fs);
	ck_assert_uint_eq(held(), 2);
	forget(0);
	ck_assert_ptr_null(inode_find(fs, nodeids[0]));
	/* The kernel forgets it first, and somebody removes it in BACKING. */
	forget(1);
	locked_look(fs);
	ck_assert_uint_eq(held(), 2);
	remove_file(1);
	locked_look(fs);
	ck_assert_uint_eq(held(), 1);
	ck_assert_ptr_null(inode_find(fs, nodeids[1]));
	/* Or somebody removes it, and the kernel forgets it. */
	remove_file(2);
	forget(2);
	ck_assert_uint_eq(held(), 0);
	ck_assert_uint_eq(locked_bytes(), 0);
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, a_locked_file_stays_though_the_kernel_forgets_it);
	tcase_add_test(tests, an_unlocked_file_goes);
	tcase_add_test(tests, ranges_share_one_reference);
	tcase_add_test(tests, there_may_be_so_many_and_no_more);
	tcase_add_test(tests, a_refused_lock_holds_nothing);
	tcase_add_test(tests, locks_go_with_the_last_name_and_the_last_opener);
}
