/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mapping/sync.h"
#include "unit.h"

#define WINDOW_PAGES 4
#define FILE_PAGES 16
#define CALLS_MAX 64
#define THREADS 4

static struct window_cache cache;
static struct mapping mapping;
static int file = -1;
static uint64_t page;

/* What msync(2) was asked for, and the call that fails, counted from 0. */
static struct {
	const unsigned char *bytes;
	size_t length;
} calls[CALLS_MAX];
static int call_count, failing_call, failing_errno;

/* Stands before libc's, so that a disk that errs need not be had. */
int msync(void *bytes, size_t length, int flags)
{
	int call = call_count++;

	ck_assert_int_lt(call, CALLS_MAX);
	ck_assert_int_eq(flags, MS_SYNC);
	calls[call].bytes = bytes;
	calls[call].length = length;
	if (call == failing_call) {
		errno = failing_errno;
		return -1;
	}
	return (int)syscall(SYS_msync, bytes, length, flags);
}

static void set_up(void)
{
	page = page_size();
	ck_assert_int_eq(window_cache_init(&cache, WINDOW_PAGES * page, 0), 0);
	ck_assert_int_eq(mapping_init(&mapping, &cache), 0);
	file = memfd_create("sync", MFD_CLOEXEC);
	ck_assert_int_ge(file, 0);
	ck_assert_int_eq(ftruncate(file, (off_t)(FILE_PAGES * page)), 0);
	call_count = 0;
	failing_call = -1;
}

static void tear_down(void)
{
	mapping_fini(&mapping);
	ck_assert_uint_eq(cache.count, 0);
	window_cache_fini(&cache);
	close_fd(&file);
}

static int64_t mark(uint64_t offset, uint64_t length)
{
	int64_t growth = 4711;

	ck_assert_int_eq(mapping_mark_dirty(&mapping, offset, length, &growth), 0);
	return growth;
}

static struct window_source source(void)
{
	return (struct window_source){.fd = file, .writable = true, .size = FILE_PAGES * page};
}

static int sync_range(struct window_source from, uint64_t start, uint64_t end, uint64_t *ret_lost)
{
	struct extent extent = {start, end};

	return mapping_msync(&mapping, &from, &extent, ret_lost);
}

/* Where in the file the bytes of a call lie: the tests ask for the same windows again. */
static uint64_t offset_of_call(int call)
{
	for (uint64_t at = 0; at < FILE_PAGES; at++) {
		struct window_pin pin = {0};
		struct window_source from = source();
		bool here;

		ck_assert_int_eq(mapping_pin(&mapping, &from, at * page, 1, &pin), 0);
		here = pin.bytes == calls[call].bytes;
		window_unpin(&pin);
		if (here)
			return at * page;
	}
	return UINT64_MAX;
}

static void expect_call(int call, uint64_t offset, size_t length)
{
	ck_assert_int_lt(call, call_count);
	ck_assert_uint_eq(offset_of_call(call), offset);
	ck_assert_uint_eq(calls[call].length, length);
}

/* A mapping nobody wrote to has nothing to sync. */
START_TEST(nothing_is_dirty_at_first)
{
	struct dirty_set set = {.count = 7};

	ck_assert_uint_eq(mapping_dirty_bytes(&mapping), 0);
	mapping_take_dirty(&mapping, &set);
	ck_assert_uint_eq(set.count, 0);
}
END_TEST

/* The growths add up to what is dirty: whoever sums them over all files needs to ask none. */
START_TEST(marking_tells_by_how_much_the_dirty_bytes_grew)
{
	ck_assert_int_eq(mark(0, 100), 100);
	ck_assert_int_eq(mark(50, 100), 50);
	ck_assert_int_eq(mark(0, 150), 0);
	ck_assert_int_eq(mark(1000, 10), 10);
	ck_assert_int_eq(mark(5, 0), 0);
	ck_assert_uint_eq(mapping_dirty_bytes(&mapping), 160);
}
END_TEST

/* Where extents have to be merged the growth counts the gap that became dirty with them. */
START_TEST(the_growth_counts_the_gaps_that_are_closed)
{
	int64_t sum = 0;

	for (uint64_t i = 0; i < 10 * DIRTY_EXTENTS; i++) {
		sum += mark(i * 1000 + i * i, 10);
		ck_assert_int_eq(sum, (int64_t)mapping_dirty_bytes(&mapping));
	}
}
END_TEST

/* Nothing is nothing, and no memory is spent on it. */
START_TEST(marking_no_bytes_marks_nothing)
{
	ck_assert_int_eq(mark(0, 0), 0);
	ck_assert_ptr_null(mapping.dirty);
	ck_assert_uint_eq(mapping_dirty_bytes(&mapping), 0);
}
END_TEST

/* What is taken is clean; what is written afterwards is dirty for the next round. */
START_TEST(taking_leaves_the_mapping_clean)
{
	struct dirty_set set;

	mark(100, 50);
	mark(300, 50);
	mapping_take_dirty(&mapping, &set);
	ck_assert_uint_eq(set.count, 2);
	ck_assert_uint_eq(set.extents[0].start, 100);
	ck_assert_uint_eq(set.extents[0].end, 150);
	ck_assert_uint_eq(set.extents[1].start, 300);
	ck_assert_uint_eq(set.extents[1].end, 350);
	ck_assert_uint_eq(mapping_dirty_bytes(&mapping), 0);
	ck_assert_int_eq(mark(120, 10), 10);
	mapping_take_dirty(&mapping, &set);
	ck_assert_uint_eq(set.count, 1);
	ck_assert_uint_eq(set.extents[0].start, 120);
}
END_TEST

/* A mapping may end dirty; whether that is right is not its business, but it leaks nothing. */
START_TEST(a_dirty_mapping_can_be_finished)
{
	mark(0, 1);
}
END_TEST

/* Every window that the extent touches is synced, each from its first dirty page to its last dirty byte. */
START_TEST(an_extent_is_synced_window_by_window)
{
	uint64_t lost = 4711;

	ck_assert_int_eq(sync_range(source(), page + 5, 9 * page + 1, &lost), 0);
	ck_assert_int_eq(call_count, 3);
	expect_call(0, page, 3 * page);
	expect_call(1, 4 * page, 4 * page);
	expect_call(2, 8 * page, page + 1);
	ck_assert_uint_eq(lost, 4711);
}
END_TEST

/* What was cut off the file is not there to be synced. */
START_TEST(bytes_past_the_end_are_not_synced)
{
	struct window_source cut = source();
	uint64_t lost = 4711;

	cut.size = 2 * page + 1;
	ck_assert_int_eq(ftruncate(file, (off_t)cut.size), 0);
	ck_assert_int_eq(sync_range(cut, page, FILE_PAGES * page, &lost), 0);
	ck_assert_int_eq(call_count, 1);
	ck_assert_uint_eq(calls[0].length, page + 1);
	ck_assert_int_eq(sync_range(cut, 3 * page, FILE_PAGES * page, &lost), 0);
	ck_assert_int_eq(call_count, 1);
	ck_assert_uint_eq(lost, 4711);
}
END_TEST

/* The disk's errno is handed on, with the first byte that may not have reached it. */
START_TEST(a_failed_msync_names_the_first_byte_lost)
{
	static const int errors[] = {EIO, ENOSPC, EDQUOT, EBUSY, EINVAL, ENOMEM};

	for (size_t i = 0; i < ARRAY_LENGTH(errors); i++) {
		uint64_t lost = 4711;

		call_count = 0;
		failing_call = 1;
		failing_errno = errors[i];
		ck_assert_int_eq(sync_range(source(), 0, FILE_PAGES * page, &lost), -errors[i]);
		ck_assert_uint_eq(lost, WINDOW_PAGES * page);
		ck_assert_int_eq(call_count, 2);
		call_count = failing_call = 0;
		ck_assert_int_eq(sync_range(source(), page, FILE_PAGES * page, &lost), -errors[i]);
		ck_assert_uint_eq(lost, page);
	}
	mapping_drop(&mapping, false);
	ck_assert_uint_eq(cache.count, 0); /* no pin was left behind */
}
END_TEST

/* Where no window can be had nothing was synced: the caller is told so and not that bytes were lost. */
START_TEST(without_a_window_the_errno_of_mmap_is_returned)
{
	struct window_source bad = source();
	uint64_t lost = 4711;
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	bad.fd = ends[0];
	ck_assert_int_eq(sync_range(bad, 0, page, &lost), -ENODEV);
	bad.fd = -1;
	ck_assert_int_eq(sync_range(bad, 0, page, &lost), -EBADF);
	cache.max_windows = 0;
	ck_assert_int_eq(sync_range(source(), 0, page, &lost), -ENOMEM);
	ck_assert_uint_eq(lost, 4711);
	ck_assert_int_eq(call_count, 0);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

/* The kernel ignores msync(2) of a window of a read-only descriptor: one that exists is not used. */
START_TEST(a_read_only_window_is_not_synced_through)
{
	struct window_source reading = source();
	struct window_pin pin = {0};
	uint64_t lost;

	reading.writable = false;
	ck_assert_int_eq(mapping_pin(&mapping, &reading, 0, 1, &pin), 0);
	ck_assert_int_eq(sync_range(source(), 0, page, &lost), 0);
	ck_assert_int_eq(call_count, 1);
	ck_assert_ptr_ne(calls[0].bytes, pin.bytes);
	window_unpin(&pin);
}
END_TEST

/* What is stored through a window is in the file, synced or not. */
START_TEST(stored_bytes_are_in_the_file)
{
	struct window_source storing = source();
	struct window_pin pin = {0};
	uint64_t lost;
	char byte = 0;

	storing.store = true;
	ck_assert_int_eq(mapping_pin(&mapping, &storing, 5 * page, 1, &pin), 0);
	*pin.bytes = 's';
	window_unpin(&pin);
	ck_assert_int_eq(sync_range(source(), 5 * page, 5 * page + 1, &lost), 0);
	ck_assert_int_eq(pread(file, &byte, 1, (off_t)(5 * page)), 1);
	ck_assert_int_eq(byte, 's');
}
END_TEST

static _Atomic int64_t marked;

static void *mark_own_bytes(void *number)
{
	for (uint64_t i = 0; i < 2000; i++) {
		int64_t growth;

		if (mapping_mark_dirty(&mapping, *(uint64_t *)number * 1000000 + i * 10, 10, &growth) == 0)
			atomic_fetch_add(&marked, growth);
	}
	return NULL;
}

/* Taken while others mark: every byte is in exactly one of the sets, and the sums agree. */
START_TEST(marks_of_threads_are_neither_lost_nor_taken_twice)
{
	uint64_t numbers[THREADS], taken = 0;
	pthread_t threads[THREADS];
	struct dirty_set set;

	for (uint64_t i = 0; i < THREADS; i++) {
		numbers[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, mark_own_bytes, &numbers[i]), 0);
	}
	for (int i = 0; i < 1000; i++) {
		mapping_take_dirty(&mapping, &set);
		taken += dirty_bytes(&set);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	mapping_take_dirty(&mapping, &set);
	taken += dirty_bytes(&set);
	ck_assert_uint_eq(taken, THREADS * 2000 * 10);
	ck_assert_int_eq(atomic_load(&marked), (int64_t)taken);
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, nothing_is_dirty_at_first);
	tcase_add_test(tests, marking_tells_by_how_much_the_dirty_bytes_grew);
	tcase_add_test(tests, the_growth_counts_the_gaps_that_are_closed);
	tcase_add_test(tests, marking_no_bytes_marks_nothing);
	tcase_add_test(tests, taking_leaves_the_mapping_clean);
	tcase_add_test(tests, a_dirty_mapping_can_be_finished);
	tcase_add_test(tests, an_extent_is_synced_window_by_window);
	tcase_add_test(tests, bytes_past_the_end_are_not_synced);
	tcase_add_test(tests, a_failed_msync_names_the_first_byte_lost);
	tcase_add_test(tests, without_a_window_the_errno_of_mmap_is_returned);
	tcase_add_test(tests, a_read_only_window_is_not_synced_through);
	tcase_add_test(tests, stored_bytes_are_in_the_file);
	tcase_add_test(tests, marks_of_threads_are_neither_lost_nor_taken_twice);
}
