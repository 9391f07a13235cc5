/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mapping/advice.h"
#include "mapping/guard.h"
#include "mapping/lock.h"
#include "mapping/paging.h"
#include "mapping/residency.h"
#include "mapping/stream.h"
#include "unit.h"

#define PAGES 64

static struct window_cache cache;
static struct mapping mapping;
static int file = -1;
static uint64_t page, size;
static unsigned dues, refusals;
static int refused_error;

static void on_due(struct mapping *which)
{
	ck_assert_ptr_eq(which, &mapping);
	dues++;
}

static void on_refused(struct mapping *which, enum mapping_call call, int error)
{
	ck_assert_ptr_eq(which, &mapping);
	(void)call;
	refusals++;
	refused_error = error;
}

/* A file on a disk, as tmpfs knows no read-ahead; windows of a quarter of it. */
static void set_up(void)
{
	char path[] = "/var/tmp/memmapfs-paging.XXXXXX";

	page = page_size();
	size = PAGES * page;
	ck_assert_int_eq(guard_init(), 0);
	ck_assert_int_eq(window_cache_init(&cache, size / 4, 0), 0);
	cache.hooks = (struct window_hooks){on_due, on_refused};
	ck_assert_int_eq(mapping_init(&mapping, &cache), 0);
	file = mkstemp(path);
	ck_assert_int_ge(file, 0);
	unlink(path);
	ck_assert_int_eq(ftruncate(file, (off_t)size), 0);
	for (uint64_t at = 0; at < size; at += page)
		ck_assert_int_eq(pwrite(file, "x", 1, (off_t)at), 1);
	ck_assert_int_eq(fsync(file), 0);
	dues = refusals = 0;
}

static void tear_down(void)
{
	mapping_fini(&mapping);
	ck_assert_uint_eq(cache.count, 0);
	ck_assert_int_eq(atomic_load(&cache.inside), 0);
	ck_assert_int_eq(atomic_load(&cache.locked), 0);
	window_cache_fini(&cache);
	close_fd(&file);
}

static struct window_source source(void)
{
	return (struct window_source){.fd = file, .size = size};
}

static unsigned char *touch(uint64_t offset)
{
	struct window_source now = source();
	struct window_pin pin = {0};
	unsigned char *bytes;

	ck_assert_int_eq(mapping_pin(&mapping, &now, offset, 1, &pin), 0);
	bytes = pin.bytes;
	window_unpin(&pin);
	return bytes;
}

/* Does the mapping that has this address carry a flag of smaps' VmFlags? */
static bool has_flag(const unsigned char *address, const char *flag)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	char line[1024], wanted[8];
	bool here = false, found = false;

	ck_assert_ptr_nonnull(smaps);
	snprintf(wanted, sizeof(wanted), " %s", flag);
	while (fgets(line, sizeof(line), smaps) != NULL) {
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = from <= (uintptr_t)address && (uintptr_t)address < to;
		else if (here && strncmp(line, "VmFlags:", 8) == 0)
			found = strstr(line, wanted) != NULL;
	}
	fclose(smaps);
	return found;
}

static uint64_t resident(void)
{
	struct residency residency;

	ck_assert_int_eq(residency_count(file, 0, size, &residency), 0);
	return residency.cached;
}

static void drop(void)
{
	mapping_drop(&mapping, false);
	residency_drop(file, 0, size);
}

/* Each window gets the advice as it is mapped. */
START_TEST(windows_carry_the_policys_advice)
{
	static const struct paging paging = {.advice = ADVICE_RANDOM};

	ck_assert(!has_flag(touch(0), "rr"));
	mapping_drop(&mapping, false);
	ck_assert_int_eq(mapping_set_paging(&mapping, &paging), 0);
	ck_assert(has_flag(touch(0), "rr"));
	ck_assert(has_flag(touch(size / 2), "rr"));
	ck_assert_int_eq(advice_in_force(&mapping), ADVICE_RANDOM);
	ck_assert_uint_eq(refusals, 0);
}
END_TEST

/* Windows that are mapped already follow a new policy. */
START_TEST(a_new_policy_reaches_windows_that_are_mapped)
{
	static const struct paging random_reads = {.advice = ADVICE_RANDOM},
				   sequential = {.advice = ADVICE_SEQUENTIAL};
	unsigned char *bytes = touch(0);

	mapping_set_paging(&mapping, &random_reads);
	ck_assert(has_flag(bytes, "rr"));
	mapping_set_paging(&mapping, &sequential);
	ck_assert(has_flag(bytes, "sr"));
	ck_assert(!has_flag(bytes, "rr"));
	mapping_set_paging(&mapping, NULL);
	ck_assert(!has_flag(bytes, "sr"));
}
END_TEST

/* What somebody set stands until a policy says something else. */
START_TEST(advice_that_was_set_stands_until_the_policys_changes)
{
	static const struct paging one = {.advice = ADVICE_NORMAL, .idle_ms = 5},
				   other = {.advice = ADVICE_RANDOM};
	struct window_source now = source();

	ck_assert_int_eq(mapping_advise_file(&mapping, &now, ADVICE_SEQUENTIAL, NULL), 0);
	ck_assert(has_flag(touch(0), "sr"));
	mapping_set_paging(&mapping, &one);
	ck_assert(has_flag(touch(0), "sr"));
	ck_assert_int_eq(advice_in_force(&mapping), ADVICE_SEQUENTIAL);
	mapping_set_paging(&mapping, &other);
	ck_assert_int_eq(advice_in_force(&mapping), ADVICE_RANDOM);
	ck_assert(has_flag(touch(0), "rr"));
}
END_TEST

/* A range of any alignment; it does not stand, and there are only so many of them. */
START_TEST(a_range_is_advised_and_does_not_stand)
{
	struct window_source now = source();
	int result = 0;

	ck_assert_int_eq(mapping_advise_range(&mapping, &now, ADVICE_RANDOM, page + 1, 1, NULL), 0);
	ck_assert(has_flag(touch(page), "rr"));
	ck_assert(!has_flag(touch(0), "rr"));
	ck_assert(!has_flag(touch(2 * page), "rr"));
	ck_assert_int_eq(advice_in_force(&mapping), ADVICE_NORMAL);
	for (int i = 0; i < WINDOW_SPLITS + 1 && result == 0; i++)
		result = mapping_advise_range(&mapping, &now, ADVICE_RANDOM, page, 1, NULL);
	ck_assert_int_eq(result, -ENOMEM);
	ck_assert_int_eq(mapping_advise_file(&mapping, &now, ADVICE_NORMAL, NULL), 0);
	ck_assert_int_eq(mapping_advise_range(&mapping, &now, ADVICE_RANDOM, page, 1, NULL), 0);
}
END_TEST

/* Dirty pages outlive every advice that is taken. */
START_TEST(no_advice_loses_a_written_byte)
{
	struct window_source storing = {.fd = file, .size = size, .writable = true, .store = true};

	for (unsigned advice = 0; advice < ADVICE_COUNT; advice++) {
		struct window_pin pin = {0};
		char byte = 0;

		ck_assert_int_eq(mapping_pin(&mapping, &storing, 0, 1, &pin), 0);
		*pin.bytes = (unsigned char)('a' + advice);
		window_unpin(&pin);
		/* Some are not for this file system; that is no loss either. */
		(void)mapping_advise_file(&mapping, &storing, (enum advice)advice, NULL);
		ck_assert_int_eq(pread(file, &byte, 1, 0), 1);
		ck_assert_int_eq(byte, 'a' + (char)advice);
	}
}
END_TEST

/* Names as in madvise(2), and two of them with the reason why not. */
START_TEST(names_are_found_and_destructive_ones_refused)
{
	enum advice advice = ADVICE_COLD;
	const char *why = NULL;

	for (unsigned i = 0; i < ADVICE_COUNT; i++) {
		ck_assert_int_eq(advice_find(advice_name((enum advice)i), &advice, &why), 0);
		ck_assert_uint_eq(advice, i);
	}
	ck_assert_int_eq(advice_find("free", &advice, &why), -EPERM);
	ck_assert_ptr_nonnull(strstr(why, "destroys data"));
	ck_assert_int_eq(advice_find("remove", &advice, &why), -EPERM);
	ck_assert_int_eq(advice_find("Random", &advice, &why), -EINVAL);
	ck_assert_int_eq(advice_find("", &advice, &why), -EINVAL);
}
END_TEST

/* Only the request that wants bytes reads ahead: a sync maps windows as well. */
START_TEST(preload_is_for_whoever_wants_the_bytes)
{
	static const struct paging paging = {.preload = PAGING_SYNC};
	struct window_source quiet = source();
	struct window_pin pin = {0};

	drop();
	ck_assert_uint_eq(resident(), 0);
	mapping_set_paging(&mapping, &paging);
	quiet.quiet = true;
	ck_assert_int_eq(mapping_pin(&mapping, &quiet, 0, 1, &pin), 0);
	window_unpin(&pin);
	ck_assert_uint_eq(resident(), 0);
	touch(0);
	ck_assert_uint_eq(resident(), size);
}
END_TEST

/* All of a range that lies inside the file, with no window for it. */
START_TEST(a_file_without_windows_is_preloaded)
{
	drop();
	advice_give_descriptor(file, ADVICE_RANDOM);
	ck_assert_int_eq(file_preload(file, page + 1, size / 2, NULL), 0);
	ck_assert_uint_ge(resident(), size / 2 + page);
	ck_assert_int_eq(file_preload(file, 0, size, NULL), 0);
	ck_assert_uint_eq(resident(), size);
	ck_assert_uint_eq(cache.count, 0);
	ck_assert_int_eq(file_preload(file, 0, size + 2 * page, NULL), -EFAULT);
	ck_assert_int_eq(file_preload(-1, 0, page, NULL), -EBADF);
}
END_TEST

/* However much the kernel would like to read ahead. */
START_TEST(a_part_of_a_file_is_read_and_nothing_else)
{
	struct window_source now = source();

	drop();
	ck_assert_int_eq(file_preload(file, 8 * page, 2 * page, NULL), 0);
	ck_assert_uint_eq(resident(), 2 * page);
	ck_assert_int_eq(mapping_preload(&mapping, &now, 16 * page, 4 * page, NULL), 0);
	ck_assert_uint_le(resident(), size / 4);
	drop();
	ck_assert_int_eq(mapping_preload(&mapping, &now, size - 3 * page, 3 * page, NULL), 0);
	ck_assert_uint_ge(resident(), 3 * page);
}
END_TEST

static int lowest_free_descriptor(void)
{
	int fd = dup(file);

	ck_assert_int_ge(fd, 0);
	close(fd);
	return fd;
}

static uint64_t resident_before_long(uint64_t enough)
{
	for (int i = 0; i < 1000 && resident() < enough; i++)
		usleep(1000);
	return resident();
}

/* Reading on takes four of them, and gives all of them back; with fewer MADV_WILLNEED has to do. */
START_TEST(a_file_is_streamed_with_as_many_descriptors_as_there_are)
{
	int lowest = lowest_free_descriptor();
	struct rlimit before, limit;
	struct stream stream;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	for (int spare = 0; spare <= 4; spare++) {
		drop();
		limit = (struct rlimit){(rlim_t)(lowest + spare), before.rlim_max};
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		stream_begin(file, 0, size, size, &stream);
		ck_assert_int_eq(stream_waits(&stream), spare == 4);
		ck_assert_int_eq(stream_on(&stream, size, NULL), 0);
		ck_assert_uint_eq(stream.at, size);
		stream_end(&stream);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
		ck_assert_int_eq(lowest_free_descriptor(), lowest);
		ck_assert_uint_ge(spare == 4 ? resident() : resident_before_long(size / 4 * 3),
				  spare == 4 ? size : size / 4 * 3);
	}
}
END_TEST

/* It was cut meanwhile, or there is no such file. */
START_TEST(what_cannot_be_streamed_is_left_out)
{
	struct stream stream;

	stream_begin(file, 0, 2 * size, size, &stream);
	ck_assert_int_eq(stream_on(&stream, 2 * size, NULL), 0);
	ck_assert_uint_eq(stream.at, 2 * size);
	stream_end(&stream);
	stream_begin(-1, 0, size, size, &stream);
	ck_assert(!stream_waits(&stream));
	ck_assert_int_eq(stream_on(&stream, size, NULL), 0);
	stream_end(&stream);
}
END_TEST

/* populate reads the window, and not the whole file. */
START_TEST(populate_reads_the_window_that_is_mapped)
{
	static const struct paging paging = {.preload = PAGING_POPULATE};

	drop();
	mapping_set_paging(&mapping, &paging);
	/* Without the kernel's own read-ahead, which goes on behind the window. */
	advice_give_descriptor(file, ADVICE_RANDOM);
	touch(0);
	ck_assert_uint_ge(resident(), size / 4);
	touch(size / 2);
	ck_assert_uint_ge(resident(), size / 2);
}
END_TEST

/* async leaves the reading to mapping_work(). */
START_TEST(async_preload_is_due_and_done_by_the_work)
{
	static const struct paging paging = {.preload = PAGING_ASYNC};
	struct window_source now = source();

	drop();
	mapping_set_paging(&mapping, &paging);
	touch(0);
	ck_assert_uint_eq(dues, 1);
	ck_assert_int_eq(mapping_work(&mapping, &now, NULL), 0);
	/* It is a hint: the kernel leaves a page out here and there. */
	ck_assert_uint_ge(resident_before_long(size / 4 * 3), size / 4 * 3);
}
END_TEST

static bool always(void *context)
{
	++*(int *)context;
	return true;
}

/* Whoever gives up is heeded. */
START_TEST(long_work_can_be_stopped)
{
	struct window_source now = source();
	int asked = 0;
	struct mapping_stop stop = {always, &asked};

	ck_assert_int_eq(mapping_preload(&mapping, &now, 0, size, &stop), -EINTR);
	ck_assert_int_eq(file_preload(file, 0, size, &stop), -EINTR);
	ck_assert_int_gt(asked, 0);
}
END_TEST

/* Only the file's pages: a window may reach far past its end. */
START_TEST(locks_reach_to_the_files_end_and_follow_its_growth)
{
	static const struct paging paging = {.lock = true};
	struct window_source now = {.fd = file, .growing = true, .writable = true};
	uint64_t whole = size;

	mapping_set_paging(&mapping, &paging);
	size = now.size = 3 * page - 1;
	ck_assert_int_eq(ftruncate(file, (off_t)size), 0);
	ck_assert_int_eq(mapping_work(&mapping, &now, NULL), 0);
	ck_assert_uint_eq(mapping_locked(&mapping), 0);
	struct window_pin pin = {0};
	ck_assert_int_eq(mapping_pin(&mapping, &now, 0, 1, &pin), 0);
	ck_assert(has_flag(pin.bytes, "lo"));
	ck_assert(!has_flag(pin.bytes + 3 * page, "lo"));
	window_unpin(&pin);
	ck_assert_uint_eq(mapping_locked(&mapping), 3 * page);
	ck_assert_int_eq(atomic_load(&cache.locked), 3 * (int64_t)page);
	/* It grows; the next to look at it reports the work. */
	dues = 0;
	size = now.size = 5 * page;
	ck_assert_int_eq(ftruncate(file, (off_t)size), 0);
	ck_assert_int_eq(mapping_pin(&mapping, &now, 0, 1, &pin), 0);
	window_unpin(&pin);
	ck_assert_uint_eq(dues, 1);
	ck_assert_int_eq(mapping_work(&mapping, &now, NULL), 0);
	ck_assert_uint_eq(mapping_locked(&mapping), 5 * page);
	/* It shrinks. */
	mapping_resized(&mapping, page);
	ck_assert_uint_eq(mapping_locked(&mapping), page);
	size = whole;
}
END_TEST

/* Windows that go, because the last writer does, come back locked. */
START_TEST(what_is_locked_is_locked_again_after_its_window_went)
{
	static const struct paging paging = {.lock = true};
	struct window_source now = source();

	mapping_set_paging(&mapping, &paging);
	touch(0);
	ck_assert_uint_eq(mapping_locked(&mapping), size / 4);
	dues = 0;
	mapping_drop(&mapping, false);
	ck_assert_uint_eq(dues, 1);
	ck_assert_uint_eq(mapping_locked(&mapping), 0);
	ck_assert_int_eq(mapping_work(&mapping, &now, NULL), 0);
	ck_assert_uint_eq(mapping_locked(&mapping), size / 4);
	/* And not when the policy has changed. */
	mapping_set_paging(&mapping, NULL);
	ck_assert_uint_eq(mapping_locked(&mapping), 0);
	ck_assert(!mapping_wants_locks(&mapping));
}
END_TEST

/* Ranges by hand, in pages. */
START_TEST(ranges_are_locked_and_unlocked)
{
	struct window_source now = source();

	ck_assert_int_eq(mapping_lock(&mapping, &now, page + 1, 1, NULL), 0);
	ck_assert_uint_eq(mapping_locked(&mapping), page);
	ck_assert(has_flag(touch(page), "lo"));
	ck_assert(!has_flag(touch(0), "lo"));
	ck_assert_int_eq(mapping_lock(&mapping, &now, 0, size, NULL), 0);
	ck_assert_uint_eq(mapping_locked(&mapping), size);
	ck_assert_int_eq(mapping_unlock(&mapping, 2 * page, 3 * page), 0);
	ck_assert_uint_eq(mapping_locked(&mapping), size - 3 * page);
	mapping_unlock_all(&mapping);
	ck_assert_uint_eq(mapping_locked(&mapping), 0);
	ck_assert(!has_flag(touch(page), "lo"));
}
END_TEST

/* In a child without the privilege: a refused lock changes nothing, and the window serves. */
START_TEST(a_refused_lock_changes_nothing)
{
	static const struct paging paging = {.lock = true};
	struct window_source now = source();
	struct rlimit limit = {.rlim_cur = 2 * page, .rlim_max = 2 * page};

	ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(setuid(65534), 0);
	ck_assert_int_eq(mapping_lock(&mapping, &now, 0, page, NULL), 0);
	ck_assert_int_eq(mapping_lock(&mapping, &now, 0, size, NULL), -ENOMEM);
	ck_assert_uint_eq(mapping_locked(&mapping), page);
	/* Nor is it tried again later: one page is all that there is to unlock. */
	ck_assert_int_eq(mapping_unlock(&mapping, 0, page), 0);
	ck_assert(!mapping_wants_locks(&mapping));
	mapping_set_paging(&mapping, &paging);
	touch(size / 2);
	ck_assert_uint_gt(refusals, 0);
	ck_assert_int_eq(refused_error, ENOMEM);
	ck_assert_uint_eq(*touch(size / 2), 'x');
}
END_TEST

/* Eviction looks for another victim. */
START_TEST(locked_windows_are_not_evicted)
{
	struct window_source now = source();
	uint64_t evictions;

	cache.max_mapped = size / 2;
	ck_assert_int_eq(mapping_lock(&mapping, &now, 0, 1, NULL), 0);
	for (uint64_t at = 0; at < 4 * size; at += size / 4)
		touch(at % size);
	evictions = tally_read(&cache.tally, WINDOW_EVICTIONS);
	ck_assert_uint_gt(evictions, 3);
	ck_assert_uint_eq(mapping_locked(&mapping), page);
}
END_TEST

/* After its time a window goes; what was touched meanwhile, what is pinned and what is locked does not. */
START_TEST(idle_windows_are_unmapped)
{
	static const struct paging paging = {.idle = PAGING_UNMAP, .idle_ms = 1000};
	struct window_source now = source();
	struct window_pin pin = {0};
	int refused = 0;

	mapping_set_paging(&mapping, &paging);
	touch(0);
	touch(size / 4);
	ck_assert_int_eq(mapping_lock(&mapping, &now, size / 2, 1, NULL), 0);
	ck_assert_int_eq(mapping_pin(&mapping, &now, 3 * size / 4, 1, &pin), 0);
	ck_assert_uint_eq(window_cache_idle(&cache, 10000, &refused), 0);
	ck_assert_uint_eq(window_cache_idle(&cache, 10999, &refused), 0);
	touch(size / 4);
	ck_assert_uint_eq(window_cache_idle(&cache, 11000, &refused), 1);
	ck_assert_uint_eq(cache.count, 3);
	ck_assert_uint_eq(window_cache_idle(&cache, 12000, &refused), 1);
	ck_assert_uint_eq(cache.count, 2);
	window_unpin(&pin);
	ck_assert_uint_eq(window_cache_idle(&cache, 12999, &refused), 0);
	ck_assert_uint_eq(window_cache_idle(&cache, 13000, &refused), 1);
	ck_assert_uint_eq(cache.count, 1);
	ck_assert_int_eq(refused, 0);
	ck_assert_uint_eq(*touch(0), 'x');
}
END_TEST

/* pageout takes the pages and leaves the window, once. */
START_TEST(idle_windows_lose_their_pages)
{
	static const struct paging paging = {.idle = PAGING_PAGEOUT, .idle_ms = 1};
	struct window_source now = source();
	uint64_t ms = 0;
	int refused = 0;

	mapping_set_paging(&mapping, &paging);
	/* The kernel leaves pages that another processor has in hand: asked again it finds them. */
	do {
		ck_assert_int_eq(mapping_preload(&mapping, &now, 0, size, NULL), 0);
		ck_assert_uint_eq(resident(), size);
		for (size_t i = 0; i < 4; i++)
			touch(i * size / 4);
		window_cache_idle(&cache, ms += 1000, &refused);
		ck_assert_uint_eq(window_cache_idle(&cache, ms += 1000, &refused), 4);
		ck_assert_int_eq(refused, 0);
	} while (resident() > size / 4 && ms < 100000);
	ck_assert_uint_le(resident(), size / 4);
	ck_assert_uint_eq(cache.count, 4);
	ck_assert_uint_eq(window_cache_idle(&cache, ms += 1000, &refused), 0);
	touch(0);
	window_cache_idle(&cache, ms += 1000, &refused);
	ck_assert_uint_eq(window_cache_idle(&cache, ms += 1000, &refused), 1);
}
END_TEST

/* Without a policy nothing is done, however long it takes. */
START_TEST(without_a_policy_windows_stay)
{
	int refused = 0;

	touch(0);
	window_cache_idle(&cache, 1000, &refused);
	ck_assert_uint_eq(window_cache_idle(&cache, UINT64_MAX, &refused), 0);
	ck_assert_uint_eq(cache.count, 1);
}
END_TEST

/* Address and offset lie alike in their huge pages. */
START_TEST(windows_for_huge_pages_are_aligned)
{
	static const struct paging paging = {.huge_pages = true};

	if (cache.huge_size == 0)
		return;
	mapping_set_paging(&mapping, &paging);
	ck_assert_uint_eq((uintptr_t)touch(0) % cache.huge_size, 0);
	ck_assert_uint_eq((uintptr_t)touch(size / 2) % cache.huge_size, size / 2);
	ck_assert(has_flag(touch(0), "hg") || refusals > 0);
	ck_assert_uint_eq(*touch(page), 'x');
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, windows_carry_the_policys_advice);
	tcase_add_test(tests, a_new_policy_reaches_windows_that_are_mapped);
	tcase_add_test(tests, advice_that_was_set_stands_until_the_policys_changes);
	tcase_add_test(tests, a_range_is_advised_and_does_not_stand);
	tcase_add_test(tests, no_advice_loses_a_written_byte);
	tcase_add_test(tests, names_are_found_and_destructive_ones_refused);
	tcase_add_test(tests, preload_is_for_whoever_wants_the_bytes);
	tcase_add_test(tests, a_file_without_windows_is_preloaded);
	tcase_add_test(tests, a_part_of_a_file_is_read_and_nothing_else);
	tcase_add_test(tests, a_file_is_streamed_with_as_many_descriptors_as_there_are);
	tcase_add_test(tests, what_cannot_be_streamed_is_left_out);
	tcase_add_test(tests, populate_reads_the_window_that_is_mapped);
	tcase_add_test(tests, async_preload_is_due_and_done_by_the_work);
	tcase_add_test(tests, long_work_can_be_stopped);
	tcase_add_test(tests, locks_reach_to_the_files_end_and_follow_its_growth);
	tcase_add_test(tests, what_is_locked_is_locked_again_after_its_window_went);
	tcase_add_test(tests, ranges_are_locked_and_unlocked);
	tcase_add_test(tests, a_refused_lock_changes_nothing);
	tcase_add_test(tests, locked_windows_are_not_evicted);
	tcase_add_test(tests, idle_windows_are_unmapped);
	tcase_add_test(tests, idle_windows_lose_their_pages);
	tcase_add_test(tests, without_a_policy_windows_stay);
	tcase_add_test(tests, windows_for_huge_pages_are_aligned);
}
