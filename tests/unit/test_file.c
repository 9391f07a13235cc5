/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "fs.h"
#include "handle.h"
#include "inode.h"
#include "mapping/sync.h"
#include "unit.h"
#include "util.h"

#define SECOND INT64_C(1000000000)

/* As much of a file system as a file needs: its windows and its descriptors. */
static struct fs *fs;
static struct inode *inode;
static struct file *file;
static struct stat looked; /* of file_change_begin() */
static int backing = -1;
static time_t clock_s = 1000000;
static const struct extent nothing;

static bool keeps_nothing(const void *object, enum fd_kind kind)
{
	(void)object;
	(void)kind;
	return false;
}

static void set_up(void)
{
	fs = calloc(1, sizeof(*fs));
	inode = calloc(1, sizeof(*inode));
	ck_assert_int_eq(window_cache_init(&fs->windows, page_size(), 0), 0);
	ck_assert_int_eq(fd_cache_init(&fs->fds, 16, 1024, keeps_nothing), 0);
	ck_assert_ptr_null(file_peek(inode));
	ck_assert_int_eq(file_get(fs, inode, &file), 0);
	backing = memfd_create("file", MFD_CLOEXEC);
	ck_assert_int_ge(backing, 0);
}

static void tear_down(void)
{
	file_free(fs, file);
	for (int kind = 0; kind < FD_KINDS; kind++)
		fd_slot_close(&fs->fds, &inode->slots[kind]);
	fd_cache_fini(&fs->fds);
	ck_assert_uint_eq(fs->windows.count, 0);
	window_cache_fini(&fs->windows);
	free(inode);
	free(fs);
	close_fd(&backing);
}

/* Somebody changes the file: the size, and an mtime that is long past and never the same twice. */
static void change(void)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = ++clock_s}};

	ck_assert_int_eq(pwrite(backing, "x", 1, (off_t)clock_s), 1);
	ck_assert_int_eq(futimens(backing, times), 0);
}

/* The same, but of attributes only: the change time moves and nothing else. */
static void change_attributes(void)
{
	struct stat before, after;

	ck_assert_int_eq(fstat(backing, &before), 0);
	do {
		ck_assert_int_eq(fchmod(backing, before.st_mode ^ S_IXUSR), 0);
		ck_assert_int_eq(fstat(backing, &after), 0);
	} while (memcmp(&before.st_ctim, &after.st_ctim, sizeof(before.st_ctim)) == 0);
}

/* Opens judge as threads of their own, so that none is taken for another's second try, which follows. */
static enum cache_verdict judge(bool writes)
{
	static pid_t caller = 1000;
	enum cache_verdict verdict = file_cache_judge(file, backing, writes, ++caller);

	if (verdict == VERDICT_TELL)
		ck_assert_int_ne(file_cache_judge(file, backing, writes, caller), VERDICT_TELL);
	return verdict;
}

static bool valid(void)
{
	return judge(false) == VERDICT_KEEP;
}

/* Time passes until a foreign change is forgotten. */
static void pass(int64_t duration)
{
	if (file->foreign_ns != 0)
		file->foreign_ns -= duration;
}

static struct handle opened(int flags)
{
	struct handle handle = {.flags = flags, .fd = -1};

	file_open(file, &handle);
	return handle;
}

/* ---- the file of an inode ---------------------------------------------------------------------- */

/* All opens of an inode share one file. */
START_TEST(an_inode_has_one_file)
{
	struct file *again = NULL;

	ck_assert_int_eq(file_get(fs, inode, &again), 0);
	ck_assert_ptr_eq(again, file);
	ck_assert_ptr_eq(file_peek(inode), file);
	file_free(fs, NULL);
}
END_TEST

/* What is dirty of a file that goes is no longer counted: nobody can sync it any more. */
START_TEST(dirty_bytes_go_with_their_file)
{
	int64_t growth;

	ck_assert_int_eq(mapping_mark_dirty(&file->mapping, 10, 100, &growth), 0);
	atomic_store(&fs->dirty_bytes, growth + 1);
	file_free(fs, file);
	ck_assert_int_eq(atomic_load(&fs->dirty_bytes), 1);
	atomic_store(&inode->file, NULL);
	ck_assert_int_eq(file_get(fs, inode, &file), 0);
}
END_TEST

/* Openers and writers are counted by what the handle may do. */
START_TEST(opens_and_closes_are_counted)
{
	struct handle reader = opened(O_RDONLY), writer = opened(O_WRONLY | O_APPEND), both = opened(O_RDWR);

	ck_assert_uint_eq(atomic_load(&file->openers), 3);
	ck_assert_uint_eq(atomic_load(&file->writers), 2);
	file_close(fs, inode, file, &writer);
	file_close(fs, inode, file, &reader);
	ck_assert_uint_eq(atomic_load(&file->openers), 1);
	ck_assert_uint_eq(atomic_load(&file->writers), 1);
	file_close(fs, inode, file, &both);
	ck_assert_uint_eq(atomic_load(&file->openers), 0);
	ck_assert_uint_eq(atomic_load(&file->writers), 0);
}
END_TEST

static void map_and_keep_for_writing(void)
{
	struct window_source source = {.fd = backing, .writable = true, .size = 2 * page_size()};
	struct fd_use use = FD_USE_NONE;
	struct window_pin pin = {0};

	ck_assert_int_eq(ftruncate(backing, (off_t)(2 * page_size())), 0);
	ck_assert_int_eq(mapping_pin(&file->mapping, &source, 0, 1, &pin), 0);
	window_unpin(&pin);
	source.writable = false;
	ck_assert_int_eq(mapping_pin(&file->mapping, &source, page_size(), 1, &pin), 0);
	window_unpin(&pin);
	fd_slot_fill(&fs->fds, &inode->slots[FD_WRITE], inode, FD_WRITE, dup(backing), &use);
	fd_use_end(&use);
	fd_slot_fill(&fs->fds, &inode->slots[FD_READ], inode, FD_READ, dup(backing), &use);
	fd_use_end(&use);
}

static void expect_writing(bool there)
{
	ck_assert_uint_eq(fs->windows.count, there ? 2 : 1);
	ck_assert_int_eq(atomic_load(&inode->slots[FD_WRITE].state) != 0, there);
	ck_assert_uint_ne(atomic_load(&inode->slots[FD_READ].state), 0);
}

/* The last writer takes along what would keep the file from being executed, and that only. */
START_TEST(with_the_last_writer_goes_what_could_write)
{
	struct handle reader = opened(O_RDONLY), one = opened(O_RDWR), two = opened(O_WRONLY);

	map_and_keep_for_writing();
	file_close(fs, inode, file, &one);
	expect_writing(true);
	file_close(fs, inode, file, &two);
	expect_writing(false);
	file_close(fs, inode, file, &reader);
	expect_writing(false);
}
END_TEST

/* An operation without an opener cleans up after itself, but not under those who write. */
START_TEST(writing_is_dropped_if_nobody_writes)
{
	struct handle writer = opened(O_RDWR);

	map_and_keep_for_writing();
	file_drop_writing(fs, inode, file);
	expect_writing(true);
	file_close(fs, inode, file, &writer);
	map_and_keep_for_writing();
	file_drop_writing(fs, inode, file);
	expect_writing(false);
}
END_TEST

/* ---- the kernel's cache ------------------------------------------------------------------------ */

/* Of a file never looked at nobody knows what the kernel's cache holds. */
START_TEST(the_first_open_drops_the_cache)
{
	change();
	ck_assert(!valid());
}
END_TEST

/* A file nobody touched keeps its cached pages. */
START_TEST(an_unchanged_file_keeps_its_cache)
{
	change();
	valid();
	ck_assert(valid());
	ck_assert(valid());
}
END_TEST

/* A change by others drops the cache, and for a while every open does. */
START_TEST(a_change_by_others_drops_the_cache)
{
	change();
	valid();
	change();
	ck_assert(!valid());
	ck_assert(!valid());
	pass(3 * SECOND);
	ck_assert(valid());
}
END_TEST

/* Same size, other mtime: changed. Same mtime, other size: changed. */
START_TEST(size_and_mtime_each_tell_of_a_change)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 77, .tv_nsec = 1}};

	change();
	valid();
	ck_assert_int_eq(futimens(backing, times), 0);
	ck_assert_int_eq(judge(false), VERDICT_TELL);
	pass(3 * SECOND);
	ck_assert(valid());
	ck_assert_int_eq(ftruncate(backing, 5), 0);
	ck_assert_int_eq(futimens(backing, times), 0);
	ck_assert_int_eq(judge(false), VERDICT_TELL);
}
END_TEST

/* Time stamps of any year: nanoseconds since 1970 in 64 bits end in 2262, and files' dates do not. */
START_TEST(a_date_beyond_nanoseconds_tells_of_a_change)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = INT64_C(13000000000), .tv_nsec = 1}};

	change();
	valid();
	ck_assert_int_eq(futimens(backing, times), 0);
	ck_assert_int_eq(judge(false), VERDICT_TELL);
	pass(3 * SECOND);
	ck_assert(valid());
	times[1].tv_nsec = 2;
	ck_assert_int_eq(futimens(backing, times), 0);
	ck_assert_int_eq(judge(false), VERDICT_TELL);
}
END_TEST

/* A time stamp of just now may stand for a later change as well. */
START_TEST(a_file_changed_just_now_is_not_trusted)
{
	struct timespec now[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}};

	ck_assert_int_eq(futimens(backing, now), 0);
	valid();
	ck_assert(!valid());
}
END_TEST

/* The change time alone drops the cache where nobody writes: the mtime can be set back. */
START_TEST(a_change_of_attributes_drops_the_cache_of_a_file_at_rest)
{
	change();
	valid();
	ck_assert(valid());
	change_attributes();
	ck_assert(!valid());
	ck_assert(valid());
}
END_TEST

/* Where others write through the mount a doubtful sign is not heeded; one's own handle is no other. */
START_TEST(doubtful_signs_are_not_heeded_while_others_write)
{
	struct handle one = opened(O_RDWR);

	change();
	valid();
	change_attributes();
	ck_assert(judge(true) != VERDICT_KEEP);
	struct handle two = opened(O_RDWR);

	change_attributes();
	ck_assert(judge(true) == VERDICT_KEEP);
	change_attributes();
	ck_assert(judge(false) == VERDICT_KEEP);
	change();
	ck_assert(judge(true) != VERDICT_KEEP);
	file_close(fs, inode, file, &one);
	file_close(fs, inode, file, &two);
}
END_TEST

/* What the mount writes is in the kernel's cache already. */
START_TEST(the_mount_s_own_change_keeps_the_cache)
{
	change();
	valid();
	file_change_begin(file, backing, &looked);
	change();
	file_change_end(file, backing);
	ck_assert(valid());
}
END_TEST

/* An open in the middle of a change of the mount's own sees a difference that is not a foreign one. */
START_TEST(an_open_during_the_mount_s_own_change_keeps_the_cache)
{
	change();
	valid();
	file_change_begin(file, backing, &looked);
	change();
	ck_assert(valid());
	file_change_begin(file, backing, &looked);
	change();
	file_change_end(file, backing);
	change();
	ck_assert(valid());
	file_change_end(file, backing);
	ck_assert(valid());
}
END_TEST

/* What others did before the mount's own change is noticed when that begins, not covered by it. */
START_TEST(a_foreign_change_before_the_mount_s_own_is_noticed)
{
	change();
	valid();
	change();
	file_change_begin(file, backing, &looked);
	change();
	file_change_end(file, backing);
	ck_assert(!valid());
	pass(3 * SECOND);
	ck_assert(valid());
}
END_TEST

/* However long it takes until the next open: nobody has dropped what the kernel cached before the change. */
START_TEST(a_foreign_change_before_the_mount_s_own_waits_for_an_open)
{
	change();
	valid();
	change();
	file_change_begin(file, backing, &looked);
	change();
	file_change_end(file, backing);
	pass(3 * SECOND);
	ck_assert(!valid());
}
END_TEST

/* Without a descriptor nothing is looked at: the change shows at the next open. */
START_TEST(a_change_without_a_descriptor_shows_at_the_next_open)
{
	change();
	valid();
	file_change_begin(file, -1, &looked);
	change();
	file_change_end(file, -1);
	ck_assert_uint_eq(file->changes, 0);
	ck_assert(!valid());
}
END_TEST

/* A file that cannot be looked at is not vouched for. */
START_TEST(a_file_that_cannot_be_looked_at_drops_the_cache)
{
	change();
	valid();
	ck_assert_int_eq(file_cache_judge(file, -1, false, 7), VERDICT_DROP);
	ck_assert(valid());
}
END_TEST

/* Whoever opens a changed file is told, comes back and is let in; others need not be told from then on. */
START_TEST(a_caller_is_told_once_of_a_change)
{
	change();
	ck_assert_int_eq(file_cache_judge(file, backing, false, 7), VERDICT_DROP);
	ck_assert_int_eq(file_cache_judge(file, backing, false, 7), VERDICT_KEEP);
	change();
	ck_assert_int_eq(file_cache_judge(file, backing, false, 7), VERDICT_TELL);
	ck_assert_int_eq(file_cache_judge(file, backing, false, 7), VERDICT_DROP);
	change();
	ck_assert_int_eq(file_cache_judge(file, backing, false, 7), VERDICT_TELL);
	ck_assert_int_eq(file_cache_judge(file, backing, false, 7), VERDICT_DROP);
	ck_assert_int_eq(file_cache_judge(file, backing, false, 8), VERDICT_DROP);
}
END_TEST

/* Until one that was told comes back, with attributes, the kernel may not know the file's size. */
START_TEST(callers_that_come_meanwhile_are_told_as_well)
{
	change();
	valid();
	change();
	ck_assert_int_eq(file_cache_judge(file, backing, false, 7), VERDICT_TELL);
	ck_assert_int_eq(file_cache_judge(file, backing, false, 8), VERDICT_TELL);
	ck_assert_int_eq(file_cache_judge(file, backing, false, 8), VERDICT_DROP);
	ck_assert_int_eq(file_cache_judge(file, backing, false, 9), VERDICT_DROP);
	ck_assert_int_eq(file_cache_judge(file, backing, false, 7), VERDICT_DROP);
}
END_TEST

/* A change that comes between a caller's two tries is told to the next. */
START_TEST(a_change_between_the_tries_is_told_to_the_next)
{
	change();
	valid();
	change();
	ck_assert_int_eq(file_cache_judge(file, backing, false, 7), VERDICT_TELL);
	change();
	ck_assert_int_eq(file_cache_judge(file, backing, false, 7), VERDICT_DROP);
	ck_assert_int_eq(file_cache_judge(file, backing, false, 8), VERDICT_TELL);
}
END_TEST

/* A file that changes all the time does not keep a caller coming back for ever. */
START_TEST(a_caller_that_comes_back_is_let_in_after_another_change)
{
	change();
	ck_assert_int_eq(file_cache_judge(file, backing, false, 7), VERDICT_DROP);
	change();
	ck_assert_int_eq(file_cache_judge(file, backing, false, 7), VERDICT_TELL);
	change();
	ck_assert_int_eq(file_cache_judge(file, backing, false, 7), VERDICT_DROP);
}
END_TEST

/* More callers than the file remembers: told twice, a caller would get the error for good. */
START_TEST(no_caller_is_told_that_is_not_remembered)
{
	change();
	valid();
	change();
	for (pid_t caller = 1; caller <= 3 * FILE_TOLD; caller++)
		ck_assert_int_eq(file_cache_judge(file, backing, false, caller),
				 caller <= FILE_TOLD ? VERDICT_TELL : VERDICT_DROP);
	for (pid_t caller = 1; caller <= FILE_TOLD; caller++)
		ck_assert_int_eq(file_cache_judge(file, backing, false, caller), VERDICT_DROP);
	/* Callers that were ended in between make room after a while. */
	change();
	for (pid_t caller = 1; caller <= FILE_TOLD; caller++)
		ck_assert_int_eq(file_cache_judge(file, backing, false, caller), VERDICT_TELL);
	for (int i = 0; i < FILE_TOLD; i++)
		file->told[i].ms -= 20000;
	ck_assert_int_eq(file_cache_judge(file, backing, false, 100), VERDICT_TELL);
}
END_TEST

/* A sign that somebody else saw counts like a change seen here. */
START_TEST(a_foreign_change_noted_elsewhere_drops_the_cache)
{
	change();
	valid();
	ck_assert(valid());
	file_note_foreign(file);
	ck_assert_int_eq(judge(false), VERDICT_DROP);
	pass(3 * SECOND);
	ck_assert(valid());
}
END_TEST

/* A difference is acted on when it is found the second time; then it is dealt with. */
START_TEST(a_recheck_acts_on_the_second_look)
{
	change();
	ck_assert(!file_recheck(file, backing)); /* never opened: nothing to compare with */
	valid();
	ck_assert(!file_recheck(file, backing));
	change();
	ck_assert(!file_recheck(file, backing));
	ck_assert(file_recheck(file, backing));
	ck_assert(!file_recheck(file, backing));
	ck_assert(!file_recheck(file, backing));
	ck_assert(!valid()); /* a foreign change it was, and opens know */
}
END_TEST

/* An open between the two looks has dealt with the change. */
START_TEST(an_open_between_two_rechecks_settles_the_change)
{
	change();
	valid();
	change();
	ck_assert(!file_recheck(file, backing));
	ck_assert(!valid());
	ck_assert(!file_recheck(file, backing));
	change();
	ck_assert(!file_recheck(file, backing));
	ck_assert(file_recheck(file, backing));
}
END_TEST

/* Rechecks stay out of the mount's own changes and of files that cannot be looked at. */
START_TEST(a_recheck_during_the_mount_s_own_change_says_nothing)
{
	change();
	valid();
	file_change_begin(file, backing, &looked);
	change();
	ck_assert(!file_recheck(file, backing));
	ck_assert(!file_recheck(file, backing));
	file_change_end(file, backing);
	ck_assert(!file_recheck(file, backing));
	ck_assert(!file_recheck(file, backing));
	change();
	ck_assert(!file_recheck(file, -1));
	ck_assert(!file_recheck(file, -1));
}
END_TEST

/* ---- errors of background syncs ---------------------------------------------------------------- */

/* Where nothing failed there is nothing to report. */
START_TEST(without_a_failure_every_check_is_clean)
{
	struct handle one = opened(O_RDWR);

	ck_assert_int_eq(file_error_check(file, &one, false), 0);
	ck_assert_int_eq(file_error_check(file, &one, true), 0);
}
END_TEST

/* Every handle open at the failure hears of it, each by itself. */
START_TEST(each_handle_open_at_the_failure_hears_of_it)
{
	struct handle one = opened(O_RDWR), two = opened(O_RDONLY);

	file_error_record(file, EIO, &nothing);
	ck_assert_int_eq(file_error_check(file, &one, true), -EIO);
	ck_assert_int_eq(file_error_check(file, &one, true), 0);
	ck_assert_int_eq(file_error_check(file, &two, true), -EIO);
	ck_assert_int_eq(file_error_check(file, &two, true), 0);
}
END_TEST

/* A close may be a child's or a dup's: it reports and eats nothing. */
START_TEST(reporting_does_not_consume)
{
	struct handle one = opened(O_RDWR);

	file_error_record(file, ENOSPC, &nothing);
	ck_assert_int_eq(file_error_check(file, &one, false), -ENOSPC);
	ck_assert_int_eq(file_error_check(file, &one, false), -ENOSPC);
	ck_assert_int_eq(file_error_check(file, &one, true), -ENOSPC);
	ck_assert_int_eq(file_error_check(file, &one, false), 0);
}
END_TEST

/* The first handle opened after a failure that nobody heard of hears of it. */
START_TEST(a_failure_unheard_waits_for_the_next_handle)
{
	struct handle one, two;

	file_error_record(file, EIO, &nothing);
	one = opened(O_RDWR);
	two = opened(O_RDWR);
	ck_assert_int_eq(file_error_check(file, &one, true), -EIO);
	ck_assert_int_eq(file_error_check(file, &two, true), -EIO);
	ck_assert_int_eq(file_error_check(file, &one, true), 0);
}
END_TEST

/* Once somebody has consumed it, the failure is no business of later handles. */
START_TEST(a_consumed_failure_does_not_concern_later_handles)
{
	struct handle one = opened(O_RDWR), late;

	file_error_record(file, EIO, &nothing);
	ck_assert_int_eq(file_error_check(file, &one, true), -EIO);
	late = opened(O_RDWR);
	ck_assert_int_eq(file_error_check(file, &late, false), 0);
	ck_assert_int_eq(file_error_check(file, &late, true), 0);
}
END_TEST

/* A second failure is news to those who had consumed the first, with its own errno. */
START_TEST(a_new_failure_is_news_to_everybody)
{
	struct handle one = opened(O_RDWR), two = opened(O_RDWR);

	file_error_record(file, EIO, &nothing);
	ck_assert_int_eq(file_error_check(file, &one, true), -EIO);
	file_error_record(file, EDQUOT, &nothing);
	ck_assert_int_eq(file_error_check(file, &one, true), -EDQUOT);
	ck_assert_int_eq(file_error_check(file, &two, true), -EDQUOT);
	ck_assert_int_eq(file_error_check(file, &two, true), 0);
	ck_assert_int_eq(file_error_check(file, &one, true), 0);
}
END_TEST

/* A failure outlives everybody who had the file open and did not ask. */
START_TEST(a_failure_outlives_handles_that_did_not_ask)
{
	struct handle one = opened(O_RDWR), late;

	file_error_record(file, EIO, &nothing);
	file_close(fs, inode, file, &one);
	late = opened(O_RDONLY);
	ck_assert_int_eq(file_error_check(file, &late, true), -EIO);
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, an_inode_has_one_file);
	tcase_add_test(tests, dirty_bytes_go_with_their_file);
	tcase_add_test(tests, opens_and_closes_are_counted);
	tcase_add_test(tests, with_the_last_writer_goes_what_could_write);
	tcase_add_test(tests, writing_is_dropped_if_nobody_writes);
	tcase_add_test(tests, the_first_open_drops_the_cache);
	tcase_add_test(tests, an_unchanged_file_keeps_its_cache);
	tcase_add_test(tests, a_change_by_others_drops_the_cache);
	tcase_add_test(tests, size_and_mtime_each_tell_of_a_change);
	tcase_add_test(tests, a_date_beyond_nanoseconds_tells_of_a_change);
	tcase_add_test(tests, a_file_changed_just_now_is_not_trusted);
	tcase_add_test(tests, a_change_of_attributes_drops_the_cache_of_a_file_at_rest);
	tcase_add_test(tests, doubtful_signs_are_not_heeded_while_others_write);
	tcase_add_test(tests, the_mount_s_own_change_keeps_the_cache);
	tcase_add_test(tests, an_open_during_the_mount_s_own_change_keeps_the_cache);
	tcase_add_test(tests, a_foreign_change_before_the_mount_s_own_is_noticed);
	tcase_add_test(tests, a_foreign_change_before_the_mount_s_own_waits_for_an_open);
	tcase_add_test(tests, a_change_without_a_descriptor_shows_at_the_next_open);
	tcase_add_test(tests, a_file_that_cannot_be_looked_at_drops_the_cache);
	tcase_add_test(tests, a_caller_is_told_once_of_a_change);
	tcase_add_test(tests, a_caller_that_comes_back_is_let_in_after_another_change);
	tcase_add_test(tests, callers_that_come_meanwhile_are_told_as_well);
	tcase_add_test(tests, a_change_between_the_tries_is_told_to_the_next);
	tcase_add_test(tests, no_caller_is_told_that_is_not_remembered);
	tcase_add_test(tests, a_foreign_change_noted_elsewhere_drops_the_cache);
	tcase_add_test(tests, a_recheck_acts_on_the_second_look);
	tcase_add_test(tests, an_open_between_two_rechecks_settles_the_change);
	tcase_add_test(tests, a_recheck_during_the_mount_s_own_change_says_nothing);
	tcase_add_test(tests, without_a_failure_every_check_is_clean);
	tcase_add_test(tests, each_handle_open_at_the_failure_hears_of_it);
	tcase_add_test(tests, reporting_does_not_consume);
	tcase_add_test(tests, a_failure_unheard_waits_for_the_next_handle);
	tcase_add_test(tests, a_consumed_failure_does_not_concern_later_handles);
	tcase_add_test(tests, a_new_failure_is_news_to_everybody);
	tcase_add_test(tests, a_failure_outlives_handles_that_did_not_ask);
}
