/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "mapping/cache.h"
#include "mapping/paging.h"
#include "unit.h"

#define THREADS 4
#define WHOLE UINT64_MAX
#define MEBIBYTE (UINT64_C(1) << 20)
#define TEBIBYTE (UINT64_C(1) << 40)

/* One cache, one file and its mapping; most tests need no more. */
static struct window_cache cache;
static struct mapping mapping;
static int file = -1;
static uint64_t page;

static void resize(uint64_t size)
{
	ck_assert_int_eq(ftruncate(file, (off_t)size), 0);
}

static void set_up(void)
{
	page = page_size();
}

static void begin(uint64_t window_size, uint64_t max_mapped, uint64_t file_size)
{
	ck_assert_int_eq(window_cache_init(&cache, window_size, max_mapped), 0);
	ck_assert_int_eq(mapping_init(&mapping, &cache), 0);
	file = memfd_create("cache", MFD_CLOEXEC);
	ck_assert_int_ge(file, 0);
	resize(file_size);
}

static void expect_empty(void)
{
	ck_assert_uint_eq(cache.count, 0);
	ck_assert_uint_eq(cache.mapped, 0);
	ck_assert_int_eq(atomic_load(&cache.inside), 0);
}

/* Every test ends so: nothing is left mapped, and no counter believes it is. */
static void end(void)
{
	mapping_fini(&mapping);
	expect_empty();
	window_cache_fini(&cache);
	close_fd(&file);
}

static struct window_source reader(uint64_t size)
{
	return (struct window_source){.fd = file, .size = size};
}

static struct window_source writer(uint64_t size)
{
	return (struct window_source){.fd = file, .writable = true, .growing = true, .size = size};
}

static struct window_source storer(uint64_t size)
{
	struct window_source source = writer(size);

	source.store = true;
	return source;
}

static struct window_pin pin(struct window_source source, uint64_t offset, size_t length)
{
	struct window_pin result = {0};

	ck_assert_int_eq(mapping_pin(&mapping, &source, offset, length, &result), 0);
	ck_assert_ptr_nonnull(result.window);
	ck_assert_uint_gt(result.length, 0);
	ck_assert_uint_le(result.length, length);
	return result;
}

static void touch(struct window_source source, uint64_t offset)
{
	struct window_pin result = pin(source, offset, 1);

	window_unpin(&result);
}

static void refuse(struct window_source source, uint64_t offset, int error)
{
	struct window_pin untouched = {.window = (void *)&untouched, .bytes = (void *)&file, .length = 4711};
	struct window_pin before = untouched;

	ck_assert_int_eq(mapping_pin(&mapping, &source, offset, 1, &untouched), error);
	ck_assert_ptr_eq(untouched.window, before.window);
	ck_assert_ptr_eq(untouched.bytes, before.bytes);
	ck_assert_uint_eq(untouched.length, before.length);
}

static uint64_t hits(void)
{
	return tally_read(&cache.tally, WINDOW_HITS);
}

static uint64_t misses(void)
{
	return tally_read(&cache.tally, WINDOW_MISSES);
}

static uint64_t evictions(void)
{
	return tally_read(&cache.tally, WINDOW_EVICTIONS);
}

static void expect_usage(size_t windows, uint64_t inside)
{
	size_t found_windows;
	uint64_t found_inside;

	mapping_usage(&mapping, &found_windows, &found_inside);
	ck_assert_uint_eq(found_windows, windows);
	ck_assert_uint_eq(found_inside, inside);
}

static void put(uint64_t offset, const char *text)
{
	ck_assert_int_eq(pwrite(file, text, strlen(text), (off_t)offset), (int)strlen(text));
}

/* ---- finding windows ------------------------------------------------------------------------ */

/* The first pin of a span maps it, the others find it mapped. */
START_TEST(a_second_pin_of_a_span_is_a_hit)
{
	begin(4 * page, 0, 16 * page);
	struct window_pin first = pin(reader(16 * page), 0, 1);
	struct window_pin second = pin(reader(16 * page), 3 * page, 1);

	ck_assert_ptr_eq(first.window, second.window);
	ck_assert_uint_eq(misses(), 1);
	ck_assert_uint_eq(hits(), 1);
	ck_assert_uint_eq(cache.count, 1);
	ck_assert_uint_eq(cache.mapped, 4 * page);
	touch(reader(16 * page), 4 * page);
	ck_assert_uint_eq(misses(), 2);
	ck_assert_uint_eq(cache.count, 2);
	window_unpin(&first);
	window_unpin(&second);
	expect_usage(2, 8 * page);
	end();
}
END_TEST

/* The pin's first byte is the byte that was asked for, whatever its place in page and window. */
START_TEST(pinned_bytes_are_those_of_the_offset)
{
	begin(2 * page, 0, 8 * page);
	put(page - 1, "a");
	put(3 * page + 5, "bc");
	struct window_pin one = pin(reader(8 * page), page - 1, 1);
	struct window_pin two = pin(reader(8 * page), 3 * page + 5, 2);

	ck_assert_int_eq(one.bytes[0], 'a');
	ck_assert_int_eq(memcmp(two.bytes, "bc", 2), 0);
	window_unpin(&one);
	window_unpin(&two);
	end();
}
END_TEST

/* A range that reaches over the window's end is pinned in parts. */
START_TEST(a_pin_ends_where_its_window_ends)
{
	begin(2 * page, 0, 8 * page);
	struct window_pin part = pin(reader(8 * page), 2 * page - 10, 3 * page);

	ck_assert_uint_eq(part.length, 10);
	window_unpin(&part);
	part = pin(reader(8 * page), 2 * page, 3 * page);
	ck_assert_uint_eq(part.length, 2 * page);
	window_unpin(&part);
	part = pin(reader(8 * page), 4 * page, 7);
	ck_assert_uint_eq(part.length, 7);
	window_unpin(&part);
	end();
}
END_TEST

/* Cleaning up twice, or what was never set, is no error. */
START_TEST(unpinning_twice_or_nothing_is_harmless)
{
	struct window_pin nothing = {0};

	begin(page, 0, page);
	window_unpin(&nothing);
	struct window_pin one = pin(reader(page), 0, 1), other = pin(reader(page), 0, 1);

	window_unpin(&one);
	ck_assert_ptr_null(one.window);
	window_unpin(&one);
	mapping_drop(&mapping, false);
	ck_assert_uint_eq(cache.count, 1);
	window_unpin(&other);
	ck_assert_uint_eq(cache.count, 0);
	end();
}
END_TEST

/* The smallest windows, and many: each is found again, and each holds its own page. */
START_TEST(thousands_of_one_page_windows_are_found_again)
{
	const uint64_t count = 5000;

	begin(page, 0, count * page);
	for (uint64_t i = 0; i < count; i++)
		ck_assert_int_eq(pwrite(file, &i, sizeof(i), (off_t)(i * page)), sizeof(i));
	for (uint64_t i = 0; i < count; i++)
		touch(reader(count * page), i * page);
	ck_assert_uint_eq(misses(), count);
	for (uint64_t i = 0; i < count; i++) {
		struct window_pin one = pin(reader(count * page), i * page, page);

		ck_assert_uint_eq(*(uint64_t *)one.bytes, i);
		window_unpin(&one);
	}
	ck_assert_uint_eq(hits(), count);
	expect_usage(count, count * page);
	mapping_drop(&mapping, false);
	expect_usage(0, 0);
	end();
}
END_TEST

/* No offset passes through 32 or 44 bits on its way. */
START_TEST(bytes_beyond_16_tib_are_mapped)
{
	const uint64_t offset = 17 * TEBIBYTE + 12345;

	begin(MEBIBYTE, 0, 18 * TEBIBYTE);
	put(offset, "far");
	put(offset % MEBIBYTE, "near");
	struct window_pin far = pin(reader(18 * TEBIBYTE), offset, 3);
	struct window_pin near = pin(reader(18 * TEBIBYTE), offset % MEBIBYTE, 4);

	ck_assert_int_eq(memcmp(far.bytes, "far", 3), 0);
	ck_assert_int_eq(memcmp(near.bytes, "near", 4), 0);
	window_unpin(&far);
	window_unpin(&near);
	end();
}
END_TEST

/* Nothing of a file's windows is found through another file's mapping. */
START_TEST(files_do_not_see_each_other_s_windows)
{
	struct mapping other;
	int other_file = memfd_create("other", MFD_CLOEXEC);

	begin(page, 0, page);
	put(0, "one");
	ck_assert_int_eq(pwrite(other_file, "two", 3, 0), 3);
	ck_assert_int_eq(mapping_init(&other, &cache), 0);
	struct window_source source = {.fd = other_file, .size = 3};
	struct window_pin one = pin(reader(page), 0, 3), two = {0};

	ck_assert_int_eq(mapping_pin(&other, &source, 0, 3, &two), 0);
	ck_assert_int_eq(memcmp(one.bytes, "one", 3), 0);
	ck_assert_int_eq(memcmp(two.bytes, "two", 3), 0);
	window_unpin(&one);
	window_unpin(&two);
	mapping_drop(&mapping, false);
	ck_assert_uint_eq(cache.count, 1);
	mapping_fini(&other);
	close(other_file);
	end();
}
END_TEST

/* A mapping in recycled memory, and windows in recycled structs, show nothing of their past. */
START_TEST(a_new_mapping_at_an_old_address_starts_empty)
{
	begin(page, 0, 4 * page);
	put(0, "old");
	touch(reader(4 * page), 0);
	mapping_fini(&mapping);
	expect_empty();
	ck_assert_int_eq(mapping_init(&mapping, &cache), 0);
	close(file);
	file = memfd_create("cache", MFD_CLOEXEC);
	put(0, "new");
	struct window_pin one = pin(reader(3), 0, 3);

	ck_assert_int_eq(memcmp(one.bytes, "new", 3), 0);
	window_unpin(&one);
	expect_usage(1, 3);
	end();
}
END_TEST

/* The descriptor is borrowed for the call only. */
START_TEST(the_descriptor_may_be_closed_after_the_call)
{
	begin(page, 0, page);
	put(0, "x");
	struct window_source source = reader(page);

	source.fd = dup(file);
	struct window_pin one = pin(source, 0, 1);

	close(source.fd);
	ck_assert_int_eq(one.bytes[0], 'x');
	window_unpin(&one);
	source.fd = -1; /* a hit needs none */
	touch(source, 0);
	end();
}
END_TEST

/* ---- what mmap(2) refuses ------------------------------------------------------------------- */

/* The answers of mmap(2) are handed on as they are, and nothing stays counted. */
START_TEST(the_errno_of_mmap_is_returned_and_ret_pin_untouched)
{
	struct window_source source;
	char path[64];
	int ends[2];

	begin(page, 0, page);
	source = reader(page);
	source.fd = -1;
	refuse(source, 0, -EBADF);
	ck_assert_int_eq(pipe(ends), 0);
	source.fd = ends[0];
	refuse(source, 0, -ENODEV);
	close(ends[0]);
	close(ends[1]);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	source.fd = open(path, O_WRONLY | O_CLOEXEC);
	ck_assert_int_ge(source.fd, 0);
	refuse(source, 0, -EACCES);
	close(source.fd);
	source = storer(page);
	source.fd = open(path, O_RDONLY | O_CLOEXEC);
	refuse(source, 0, -EACCES);
	close(source.fd);
	expect_empty();
	ck_assert_uint_eq(misses(), 0);
	touch(reader(page), 0);
	end();
}
END_TEST

/* A seal forbids stores: EPERM, and reading goes on. */
START_TEST(a_sealed_file_refuses_a_window_for_stores)
{
	begin(page, 0, page);
	close(file);
	file = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	resize(page);
	ck_assert_int_eq(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE), 0);
	refuse(storer(page), 0, -EPERM);
	touch(reader(page), 0);
	end();
}
END_TEST

/* What cannot be expressed as a file range is refused before anybody computes with it. */
START_TEST(a_window_past_the_largest_offset_is_eoverflow)
{
	begin(UINT64_C(1) << 30, 0, page);
	refuse(writer(page), INT64_MAX - 1, -EOVERFLOW);
	end();
	begin(WHOLE, 0, page);
	refuse(writer(INT64_MAX - page), 0, -EOVERFLOW);
	end();
}
END_TEST

/* More than the address space: ENOMEM, and the cache is as before. */
START_TEST(a_file_larger_than_the_address_space_is_enomem)
{
	begin(WHOLE, 0, page);
	resize(UINT64_C(1) << 60);
	refuse(reader(UINT64_C(1) << 60), 0, -ENOMEM);
	expect_empty();
	resize(page);
	touch(reader(page), 0);
	end();
}
END_TEST

#ifndef SANITIZED
/* When the kernel has no room for one more window, an old one makes room. */
START_TEST(windows_go_when_the_address_space_is_short)
{
	const uint64_t span = UINT64_C(1) << 30;
	unsigned long total;
	FILE *statm;

	begin(span, 0, 16 * span);
	statm = fopen("/proc/self/statm", "r");
	ck_assert_int_eq(fscanf(statm, "%lu", &total), 1);
	fclose(statm);
	struct rlimit limit = {.rlim_cur = total * page + 4 * span + span / 2, .rlim_max = RLIM_INFINITY};

	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
	for (uint64_t i = 0; i < 16; i++)
		touch(reader(16 * span), i * span);
	ck_assert_uint_ge(evictions(), 12);
	ck_assert_uint_le(cache.count, 4);
	struct window_pin pins[4];
	for (uint64_t i = 0; i < 4; i++)
		pins[i] = pin(reader(16 * span), i * span, 1);
	refuse(reader(16 * span), 5 * span, -ENOMEM);
	for (uint64_t i = 0; i < 4; i++)
		window_unpin(&pins[i]);
	end();
}
END_TEST
#endif

/* ---- windows that do not do any more -------------------------------------------------------- */

/* Nobody writes the file: its last window is as long as its pages. */
START_TEST(the_last_window_of_a_file_at_rest_is_short)
{
	begin(8 * page, 0, 10 * page);
	touch(reader(9 * page + 1), 9 * page);
	ck_assert_uint_eq(cache.mapped, 2 * page);
	expect_usage(1, page + 1);
	end();
}
END_TEST

/* A file that grew past its short window gets a longer one; who has the short one pinned keeps it. */
START_TEST(a_short_window_is_replaced_when_the_file_has_grown)
{
	begin(8 * page, 0, page);
	put(0, "head");
	struct window_pin old = pin(reader(page), 0, page);

	ck_assert_uint_eq(cache.mapped, page);
	resize(4 * page);
	put(3 * page, "tail");
	struct window_pin tail = pin(reader(4 * page), 3 * page, 4);

	ck_assert_int_eq(memcmp(tail.bytes, "tail", 4), 0);
	ck_assert_int_eq(memcmp(old.bytes, "head", 4), 0);
	ck_assert_ptr_ne(old.window, tail.window);
	ck_assert_uint_eq(misses(), 2);
	expect_usage(1, 4 * page);
	ck_assert_uint_eq(cache.count, 2);
	window_unpin(&old);
	ck_assert_uint_eq(cache.count, 1);
	ck_assert_uint_eq(cache.mapped, 4 * page);
	window_unpin(&tail);
	touch(reader(4 * page), 0);
	ck_assert_uint_eq(hits(), 1);
	end();
}
END_TEST

/* While somebody writes, windows reach past the end, so that growth needs no new ones. */
START_TEST(a_growing_file_s_window_serves_what_is_added)
{
	begin(8 * page, 0, page);
	touch(writer(page), 0);
	ck_assert_uint_eq(cache.mapped, 8 * page);
	expect_usage(1, page);
	resize(8 * page);
	put(7 * page, "new");
	struct window_pin grown = pin(writer(8 * page), 7 * page, 3);

	ck_assert_int_eq(memcmp(grown.bytes, "new", 3), 0);
	ck_assert_uint_eq(hits(), 1);
	expect_usage(1, 8 * page);
	ck_assert_int_eq(atomic_load(&cache.inside), (int64_t)(8 * page));
	window_unpin(&grown);
	end();
}
END_TEST

/* msync(2) wants a window of a writable descriptor, which does for reading as well. */
START_TEST(a_shared_window_replaces_a_read_only_one)
{
	struct window_source shared;

	begin(page, 0, page);
	shared = writer(page);
	shared.shared = true;
	touch(reader(page), 0);
	struct window_pin one = pin(shared, 0, 1);

	ck_assert_uint_eq(misses(), 2);
	ck_assert(one.window->shared);
	ck_assert_uint_eq(cache.count, 1);
	window_unpin(&one);
	touch(reader(page), 0);
	touch(shared, 0);
	ck_assert_uint_eq(hits(), 2);
	end();
}
END_TEST

/* The first store makes the window storable where it lies; whoever has it pinned notices nothing. */
START_TEST(a_window_is_made_storable_in_place)
{
	begin(page, 0, page);
	struct window_pin old = pin(writer(page), 0, 1);
	struct window_pin store = pin(storer(page), 0, 1);

	ck_assert_ptr_eq(old.bytes, store.bytes);
	ck_assert_uint_eq(cache.count, 1);
	*store.bytes = 'w';
	ck_assert_int_eq(*old.bytes, 'w');
	window_unpin(&old);
	window_unpin(&store);
	uint64_t before = hits();
	touch(storer(page), 0);
	touch(writer(page), 0);
	ck_assert_uint_eq(hits(), before + 2);
	char byte = 0;
	ck_assert_int_eq(pread(file, &byte, 1, 0), 1);
	ck_assert_int_eq(byte, 'w');
	end();
}
END_TEST

/* A window of a read-only descriptor can never be stored to: another takes its place. */
START_TEST(a_store_replaces_a_read_only_window)
{
	char path[64];

	begin(page, 0, page);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	struct window_source source = reader(page);
	source.fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(source.fd, 0);
	struct window_pin old = pin(source, 0, 1);
	struct window_pin store = pin(storer(page), 0, 1);

	ck_assert_ptr_ne(old.window, store.window);
	*store.bytes = 'w';
	ck_assert_int_eq(*old.bytes, 'w');
	window_unpin(&old);
	window_unpin(&store);
	ck_assert_uint_eq(cache.count, 1);
	close(source.fd);
	end();
}
END_TEST

/* ---- letting go ----------------------------------------------------------------------------- */

/* What nobody uses goes at once. */
START_TEST(dropped_windows_are_unmapped)
{
	begin(page, 0, 4 * page);
	for (uint64_t i = 0; i < 4; i++)
		touch(i % 2 == 0 ? reader(4 * page) : writer(4 * page), i * page);
	expect_usage(4, 4 * page);
	mapping_drop(&mapping, false);
	expect_usage(0, 0);
	expect_empty();
	mapping_drop(&mapping, false);
	end();
}
END_TEST

/* What somebody uses stays readable until the last of them is done, and is found by nobody else. */
START_TEST(a_pin_outlives_the_drop_of_its_window)
{
	begin(page, 0, page);
	put(0, "kept");
	struct window_pin one = pin(reader(page), 0, 4), two = pin(reader(page), 0, 4);

	mapping_drop(&mapping, false);
	expect_usage(0, 0);
	ck_assert_uint_eq(cache.count, 1);
	ck_assert_int_eq(memcmp(one.bytes, "kept", 4), 0);
	struct window_pin fresh = pin(reader(page), 0, 4);

	ck_assert_ptr_ne(fresh.window, one.window);
	window_unpin(&fresh);
	window_unpin(&one);
	ck_assert_int_eq(memcmp(two.bytes, "kept", 4), 0);
	ck_assert_uint_eq(cache.count, 2);
	window_unpin(&two);
	ck_assert_uint_eq(cache.count, 1);
	ck_assert_uint_eq(cache.mapped, page);
	end();
}
END_TEST

/* A file is to be executed: windows that could write it go, the others do not matter. */
START_TEST(dropping_shared_windows_leaves_the_read_only_ones)
{
	begin(page, 0, 4 * page);
	touch(reader(4 * page), 0);
	touch(writer(4 * page), page);
	touch(reader(4 * page), 2 * page);
	touch(storer(4 * page), 3 * page);
	mapping_drop(&mapping, true);
	expect_usage(2, 2 * page);
	touch(reader(4 * page), 0);
	touch(reader(4 * page), 2 * page);
	ck_assert_uint_eq(hits(), 2);
	end();
}
END_TEST

/* ---- limits ---------------------------------------------------------------------------------- */

/* max_mapped holds at every moment, and what it costs is counted. */
START_TEST(windows_are_evicted_before_max_mapped_is_passed)
{
	begin(page, 4 * page, 100 * page);
	for (uint64_t i = 0; i < 100; i++) {
		touch(reader(100 * page), i * page);
		ck_assert_uint_le(cache.mapped, 4 * page);
	}
	ck_assert_uint_eq(cache.count, 4);
	ck_assert_uint_eq(evictions(), 96);
	expect_usage(4, 4 * page);
	end();
}
END_TEST

/* The same for the number of windows, of which the kernel allows so many. */
START_TEST(windows_are_evicted_before_max_windows_is_passed)
{
	begin(page, 0, 100 * page);
	ck_assert_uint_ge(cache.max_windows, 16);
	cache.max_windows = 4;
	for (uint64_t i = 0; i < 100; i++)
		touch(reader(100 * page), i * page);
	ck_assert_uint_eq(cache.count, 4);
	ck_assert_uint_eq(evictions(), 96);
	end();
}
END_TEST

/* The least recently used window goes; one that was used since the last look round is passed over. */
START_TEST(a_window_used_again_is_spared)
{
	begin(page, 4 * page, 16 * page);
	for (uint64_t i = 0; i < 5; i++)
		touch(reader(16 * page), i * page); /* the fifth evicts the first */
	touch(reader(16 * page), page);
	ck_assert_uint_eq(hits(), 1);
	touch(reader(16 * page), 5 * page);
	touch(reader(16 * page), page);
	ck_assert_uint_eq(hits(), 2);
	touch(reader(16 * page), 2 * page);
	ck_assert_uint_eq(hits(), 2);
	end();
}
END_TEST

/* A pinned window is never the one that goes. */
START_TEST(pinned_windows_are_not_evicted)
{
	begin(page, 3 * page, 100 * page);
	put(0, "pinned");
	struct window_pin kept = pin(reader(100 * page), 0, 6);

	for (uint64_t i = 1; i < 100; i++)
		touch(reader(100 * page), i * page);
	ck_assert_int_eq(memcmp(kept.bytes, "pinned", 6), 0);
	window_unpin(&kept);
	touch(reader(100 * page), 0);
	ck_assert_uint_eq(hits(), 1);
	end();
}
END_TEST

/* Nothing can go and nothing may come: ENOMEM, until the first unpin. */
START_TEST(with_every_window_pinned_the_limit_is_enomem)
{
	begin(page, 2 * page, 8 * page);
	struct window_pin one = pin(reader(8 * page), 0, 1), two = pin(reader(8 * page), page, 1);

	refuse(reader(8 * page), 2 * page, -ENOMEM);
	touch(reader(8 * page), page); /* what is mapped is served all the same */
	ck_assert_uint_eq(cache.count, 2);
	window_unpin(&one);
	touch(reader(8 * page), 2 * page);
	window_unpin(&two);
	end();
	begin(page, 0, 8 * page);
	cache.max_windows = 1;
	one = pin(reader(8 * page), 0, 1);
	refuse(reader(8 * page), 2 * page, -ENOMEM);
	window_unpin(&one);
	end();
}
END_TEST

/* A window dropped while pinned holds its room until it is unmapped. */
START_TEST(a_dropped_pinned_window_counts_against_the_limit)
{
	begin(page, page, 8 * page);
	struct window_pin one = pin(reader(8 * page), 0, 1);

	mapping_drop(&mapping, false);
	refuse(reader(8 * page), page, -ENOMEM);
	window_unpin(&one);
	touch(reader(8 * page), page);
	end();
}
END_TEST

/* A limit below one window leaves every file unmapped, save those that are smaller than it. */
START_TEST(a_window_larger_than_max_mapped_is_enomem)
{
	begin(8 * page, 4 * page, 16 * page);
	refuse(reader(16 * page), 0, -ENOMEM);
	expect_empty();
	touch(reader(2 * page), 0);
	end();
}
END_TEST

/* The cache is one for all files: a window of another makes room too. */
START_TEST(another_file_s_window_makes_room)
{
	struct mapping other;

	begin(page, page, 4 * page);
	ck_assert_int_eq(mapping_init(&other, &cache), 0);
	touch(reader(4 * page), 0);
	struct window_source source = reader(4 * page);
	struct window_pin one = {0};

	ck_assert_int_eq(mapping_pin(&other, &source, page, 1, &one), 0);
	expect_usage(0, 0);
	refuse(reader(4 * page), 0, -ENOMEM);
	window_unpin(&one);
	touch(reader(4 * page), 0);
	mapping_fini(&other);
	end();
}
END_TEST

/* How long a file is read under a limit must not show in the memory that finding its windows takes. */
START_TEST(a_long_scan_under_a_limit_takes_no_more_memory)
{
	const uint64_t pages = 1 << 16;
	size_t before, after;

	begin(page, 8 * page, pages * page);
	for (uint64_t i = 0; i < 1000; i++)
		touch(reader(pages * page), i * page);
	before = malloc_usable_size(atomic_load(&mapping.table));
	for (uint64_t i = 1000; i < pages; i++)
		touch(reader(pages * page), i * page);
	after = malloc_usable_size(atomic_load(&mapping.table));
	ck_assert_uint_le(after, MAX(before, (size_t)4096));
	expect_usage(8, 8 * page);
	end();
}
END_TEST

/* ---- files mapped whole --------------------------------------------------------------------- */

/* One window a file, from its first byte to its last page. */
START_TEST(a_whole_file_is_one_window)
{
	begin(WHOLE, 0, 100 * page);
	put(50 * page, "middle");
	struct window_pin middle = pin(reader(100 * page), 50 * page, 100 * page);

	ck_assert_int_eq(memcmp(middle.bytes, "middle", 6), 0);
	ck_assert_uint_eq(middle.length, 50 * page);
	touch(reader(100 * page), 0);
	touch(reader(100 * page), 99 * page);
	ck_assert_uint_eq(hits(), 2);
	ck_assert_uint_eq(cache.mapped, 100 * page);
	window_unpin(&middle);
	end();
}
END_TEST

/* A file written a page at a time is not mapped anew for each of them. */
START_TEST(a_whole_growing_file_has_room_to_grow_into)
{
	const uint64_t pages = 4096;

	begin(WHOLE, 0, page);
	for (uint64_t i = 1; i <= pages; i++) {
		resize(i * page);
		touch(storer(i * page), (i - 1) * page);
	}
	ck_assert_uint_le(misses(), 64);
	expect_usage(1, pages * page);
	end();
}
END_TEST

/* Growing past the room it had, the file moves; bytes pinned before stay where they were. */
START_TEST(a_whole_file_is_mapped_anew_when_it_outgrows_its_window)
{
	begin(WHOLE, 0, page);
	put(0, "head");
	struct window_pin old = pin(reader(page), 0, 4);

	resize(64 * MEBIBYTE);
	put(64 * MEBIBYTE - 4, "tail");
	struct window_pin tail = pin(reader(64 * MEBIBYTE), 64 * MEBIBYTE - 4, 4);

	ck_assert_int_eq(memcmp(tail.bytes, "tail", 4), 0);
	ck_assert_int_eq(memcmp(old.bytes, "head", 4), 0);
	window_unpin(&old);
	window_unpin(&tail);
	expect_usage(1, 64 * MEBIBYTE);
	end();
}
END_TEST

/* ---- statistics ------------------------------------------------------------------------------ */

/* After truncate(2) the bytes inside the file are what the file has, up and down. */
START_TEST(a_resize_counts_the_bytes_inside_anew)
{
	begin(4 * page, 0, 16 * page);
	for (uint64_t i = 0; i < 4; i++)
		touch(writer(16 * page), i * 4 * page);
	expect_usage(4, 16 * page);
	mapping_resized(&mapping, 5 * page + 7);
	expect_usage(4, 5 * page + 7);
	ck_assert_int_eq(atomic_load(&cache.inside), (int64_t)(5 * page + 7));
	mapping_resized(&mapping, 0);
	expect_usage(4, 0);
	mapping_resized(&mapping, 100 * page);
	expect_usage(4, 16 * page);
	end();
}
END_TEST

static uint64_t resident(uint64_t size)
{
	uint64_t bytes;

	ck_assert_int_eq(mapping_resident(&mapping, file, size, &bytes), 0);
	return bytes;
}

/* Resident is what is in memory, inside the file, and in a window. */
START_TEST(resident_bytes_are_those_in_memory)
{
	begin(4 * page, 0, 8 * page);
	put(0, "x");
	put(2 * page, "x");
	put(6 * page, "x");
	ck_assert_uint_eq(resident(8 * page), 0);
	touch(reader(8 * page), 0);
	ck_assert_uint_eq(resident(8 * page), 2 * page);
	touch(reader(8 * page), 4 * page);
	ck_assert_uint_eq(resident(8 * page), 3 * page);
	ck_assert_uint_eq(resident(2 * page), page);
	ck_assert_uint_eq(resident(0), 0);
	end();
}
END_TEST

/* A window with far more pages than are asked for at once is counted to its end. */
START_TEST(residency_of_a_large_window_is_counted_to_its_end)
{
	begin(UINT64_C(1) << 26, 0, UINT64_C(1) << 26);
	put((UINT64_C(1) << 26) - 1, "x");
	put(UINT64_C(1) << 25, "x");
	touch(reader(UINT64_C(1) << 26), 0);
	ck_assert_uint_eq(resident(UINT64_C(1) << 26), 2 * page);
	end();
}
END_TEST

/* ---- threads ---------------------------------------------------------------------------------- */

#define SHARED_PAGES 64
static _Atomic unsigned wrong, refused;
static _Atomic bool stop;
static pthread_barrier_t barrier;

static void number_pages(void)
{
	for (uint64_t i = 0; i < SHARED_PAGES; i++)
		ck_assert_int_eq(pwrite(file, &i, sizeof(i), (off_t)(i * page)), sizeof(i));
}

/* Pins pages at random, of all kinds, and looks whether each is the one asked for. */
static void *pin_at_random(void *number)
{
	unsigned seed = *(unsigned *)number;

	for (int i = 0; i < 20000; i++) {
		uint64_t at = (uint64_t)rand_r(&seed) % SHARED_PAGES;
		struct window_source source = {
			.fd = file, .writable = true, .growing = true, .size = SHARED_PAGES * page};
		struct window_pin one = {0};
		int result;

		source.store = rand_r(&seed) % 4 == 0;
		source.writable = source.store || rand_r(&seed) % 4 != 0;
		source.shared = source.writable && rand_r(&seed) % 4 == 0;
		result = mapping_pin(&mapping, &source, at * page, 8, &one);
		if (result == -ENOMEM)
			atomic_fetch_add(&refused, 1);
		else if (result < 0 || *(volatile uint64_t *)one.bytes != at)
			atomic_fetch_add(&wrong, 1);
		window_unpin(&one);
		window_unpin(&one);
	}
	return NULL;
}

static void *drop_again_and_again(void *unused)
{
	for (unsigned i = 0; !atomic_load(&stop); i++) {
		size_t windows;
		uint64_t inside;

		mapping_drop(&mapping, i % 3 != 0);
		mapping_usage(&mapping, &windows, &inside);
		if (windows > SHARED_PAGES || inside > SHARED_PAGES * page)
			atomic_fetch_add(&wrong, 1);
		mapping_resized(&mapping, SHARED_PAGES * page);
		if (mapping_resident(&mapping, file, SHARED_PAGES * page, &inside) < 0 ||
		    inside > SHARED_PAGES * page)
			atomic_fetch_add(&wrong, 1);
		usleep(100);
	}
	return unused;
}

static void race(uint64_t window_size, uint64_t max_mapped, bool drop)
{
	unsigned numbers[THREADS];
	pthread_t threads[THREADS], dropper;

	begin(window_size, max_mapped, SHARED_PAGES * page_size());
	number_pages();
	if (drop)
		ck_assert_int_eq(pthread_create(&dropper, NULL, drop_again_and_again, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		numbers[i] = i + 1;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, pin_at_random, &numbers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&stop, true);
	if (drop)
		pthread_join(dropper, NULL);
	ck_assert_uint_eq(atomic_load(&wrong), 0);
	ck_assert_uint_eq(atomic_load(&refused), 0);
	if (max_mapped != 0)
		ck_assert_uint_le(cache.mapped, max_mapped);
	mapping_drop(&mapping, false);
	expect_usage(0, 0);
	end();
}

/* Whatever is replaced and made storable around them, threads get the bytes they asked for. */
START_TEST(threads_pin_the_bytes_they_ask_for)
{
	race(2 * page_size(), 0, false);
}
END_TEST

/* The same while windows are dropped under their feet. */
START_TEST(threads_pin_while_windows_are_dropped)
{
	race(page_size(), 0, true);
}
END_TEST

static unsigned map_refusals;

static void count_refusal(struct mapping *whose, enum mapping_call call, int error)
{
	ck_assert_ptr_eq(whose, &mapping);
	ck_assert_int_eq(call, CALL_MMAP);
	ck_assert_int_eq(error, EOPNOTSUPP);
	map_refusals++;
}

/* No MAP_SYNC for this file: told once a window, which is mapped all the same and kept. */
START_TEST(without_map_sync_the_window_serves_and_its_stores_do_not_last)
{
	struct window_source direct;
	struct window_pin first, second;

	begin(WHOLE, 0, 4 * page);
	cache.hooks.refused = count_refusal;
	map_refusals = 0;
	touch(storer(4 * page), 0);
	direct = storer(4 * page);
	direct.direct = true;
	first = pin(direct, 0, 16);
	ck_assert(!first.lasting);
	ck_assert_uint_eq(map_refusals, 1);
	first.bytes[0] = 'x';
	second = pin(direct, page, 16);
	ck_assert_ptr_eq(second.window, first.window);
	ck_assert_uint_eq(map_refusals, 1);
	window_unpin(&first);
	window_unpin(&second);
	end();
}
END_TEST

/* The same while windows are evicted; with four times the room that pins need, nobody is refused. */
START_TEST(threads_pin_while_windows_are_evicted)
{
	race(page_size(), 16 * page_size(), true);
}
END_TEST

/* The same with a single window that all fight about. */
START_TEST(threads_pin_a_file_mapped_whole)
{
	race(WHOLE, 0, true);
}
END_TEST

static struct window_pin raced[THREADS];

static void *pin_first(void *number)
{
	struct window_source source = reader(page);

	pthread_barrier_wait(&barrier);
	if (mapping_pin(&mapping, &source, 0, 1, &raced[*(unsigned *)number]) < 0)
		atomic_fetch_add(&wrong, 1);
	return NULL;
}

/* Look-up-or-map is one step: threads that miss together share one window. */
START_TEST(threads_that_miss_together_map_once)
{
	unsigned numbers[THREADS];
	pthread_t threads[THREADS];

	pthread_barrier_init(&barrier, NULL, THREADS);
	for (int round = 0; round < 200; round++) {
		begin(page_size(), 0, page_size());
		for (unsigned i = 0; i < THREADS; i++) {
			numbers[i] = i;
			ck_assert_int_eq(pthread_create(&threads[i], NULL, pin_first, &numbers[i]), 0);
		}
		for (unsigned i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
		ck_assert_uint_eq(atomic_load(&wrong), 0);
		ck_assert_uint_eq(cache.count, 1);
		for (unsigned i = 0; i < THREADS; i++) {
			ck_assert_ptr_eq(raced[i].bytes, raced[0].bytes);
			window_unpin(&raced[i]);
		}
		end();
	}
	pthread_barrier_destroy(&barrier);
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, a_second_pin_of_a_span_is_a_hit);
	tcase_add_test(tests, pinned_bytes_are_those_of_the_offset);
	tcase_add_test(tests, a_pin_ends_where_its_window_ends);
	tcase_add_test(tests, unpinning_twice_or_nothing_is_harmless);
	tcase_add_test(tests, thousands_of_one_page_windows_are_found_again);
	tcase_add_test(tests, bytes_beyond_16_tib_are_mapped);
	tcase_add_test(tests, files_do_not_see_each_other_s_windows);
	tcase_add_test(tests, a_new_mapping_at_an_old_address_starts_empty);
	tcase_add_test(tests, the_descriptor_may_be_closed_after_the_call);
	tcase_add_test(tests, the_errno_of_mmap_is_returned_and_ret_pin_untouched);
	tcase_add_test(tests, a_sealed_file_refuses_a_window_for_stores);
	tcase_add_test(tests, a_window_past_the_largest_offset_is_eoverflow);
	tcase_add_test(tests, a_file_larger_than_the_address_space_is_enomem);
#ifndef SANITIZED
	tcase_add_test(tests, windows_go_when_the_address_space_is_short);
#endif
	tcase_add_test(tests, the_last_window_of_a_file_at_rest_is_short);
	tcase_add_test(tests, a_short_window_is_replaced_when_the_file_has_grown);
	tcase_add_test(tests, a_growing_file_s_window_serves_what_is_added);
	tcase_add_test(tests, a_shared_window_replaces_a_read_only_one);
	tcase_add_test(tests, a_window_is_made_storable_in_place);
	tcase_add_test(tests, a_store_replaces_a_read_only_window);
	tcase_add_test(tests, dropped_windows_are_unmapped);
	tcase_add_test(tests, a_pin_outlives_the_drop_of_its_window);
	tcase_add_test(tests, dropping_shared_windows_leaves_the_read_only_ones);
	tcase_add_test(tests, windows_are_evicted_before_max_mapped_is_passed);
	tcase_add_test(tests, windows_are_evicted_before_max_windows_is_passed);
	tcase_add_test(tests, a_window_used_again_is_spared);
	tcase_add_test(tests, pinned_windows_are_not_evicted);
	tcase_add_test(tests, with_every_window_pinned_the_limit_is_enomem);
	tcase_add_test(tests, a_dropped_pinned_window_counts_against_the_limit);
	tcase_add_test(tests, a_window_larger_than_max_mapped_is_enomem);
	tcase_add_test(tests, another_file_s_window_makes_room);
	tcase_add_test(tests, a_long_scan_under_a_limit_takes_no_more_memory);
	tcase_add_test(tests, a_whole_file_is_one_window);
	tcase_add_test(tests, a_whole_growing_file_has_room_to_grow_into);
	tcase_add_test(tests, a_whole_file_is_mapped_anew_when_it_outgrows_its_window);
	tcase_add_test(tests, a_resize_counts_the_bytes_inside_anew);
	tcase_add_test(tests, resident_bytes_are_those_in_memory);
	tcase_add_test(tests, residency_of_a_large_window_is_counted_to_its_end);
	tcase_add_test(tests, threads_pin_the_bytes_they_ask_for);
	tcase_add_test(tests, threads_pin_while_windows_are_dropped);
	tcase_add_test(tests, without_map_sync_the_window_serves_and_its_stores_do_not_last);
	tcase_add_test(tests, threads_pin_while_windows_are_evicted);
	tcase_add_test(tests, threads_pin_a_file_mapped_whole);
	tcase_add_test(tests, threads_that_miss_together_map_once);
}
