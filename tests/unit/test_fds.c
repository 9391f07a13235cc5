/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fds.h"
#include "unit.h"
#include "util.h"

#define CAPACITY 512
#define SLOTS 64
#define THREADS 4

static struct fd_cache cache;
static struct fd_slot slots[SLOTS];

/* Objects are the slots; those marked here must keep their descriptors. */
static bool kept[SLOTS];

static bool keeps(const void *object, enum fd_kind kind)
{
	size_t at = (size_t)((const struct fd_slot *)object - slots);

	ck_assert_uint_lt(at, SLOTS);
	ck_assert_int_eq(kind, FD_READ);
	return kept[at];
}

static void begin(size_t limit, size_t capacity)
{
	ck_assert_int_eq(fd_cache_init(&cache, limit, capacity, keeps), 0);
}

static void end(void)
{
	for (size_t i = 0; i < SLOTS; i++)
		fd_slot_close(&cache, &slots[i]);
	ck_assert_uint_eq(atomic_load(&cache.count), 0);
	for (size_t i = 0; i < SLOTS; i++)
		ck_assert_uint_eq(atomic_load(&slots[i].state), 0);
	fd_cache_fini(&cache);
}

static int open_null(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static struct fd_use fill(size_t slot)
{
	struct fd_use use = FD_USE_NONE;

	fd_slot_fill(&cache, &slots[slot], &slots[slot], FD_READ, open_null(), &use);
	ck_assert_int_ge(use.fd, 0);
	return use;
}

/* Fills a slot and uses it no more. Returns its descriptor. */
static int fill_idle(size_t slot)
{
	struct fd_use use = fill(slot);
	int fd = use.fd;

	fd_use_end(&use);
	return fd;
}

static bool has_fd(size_t slot)
{
	return atomic_load(&slots[slot].state) != 0;
}

/* ---- slots ------------------------------------------------------------------------------------ */

/* There is nothing to use in a slot that was never filled, and ret_use stays as it was. */
START_TEST(an_empty_slot_cannot_be_used)
{
	struct fd_use use = {.fd = 4711};

	begin(10, CAPACITY);
	ck_assert(!fd_slot_use(&cache, &slots[0], &use));
	ck_assert_int_eq(use.fd, 4711);
	fd_slot_close(&cache, &slots[0]);
	end();
}
END_TEST

/* A filled slot is used, again and again and side by side, without being opened again. */
START_TEST(a_filled_slot_is_used_many_times)
{
	begin(10, CAPACITY);
	struct fd_use first = fill(0), second = FD_USE_NONE;
	int fd = first.fd;

	ck_assert(fd_slot_use(&cache, &slots[0], &second));
	ck_assert_int_eq(second.fd, fd);
	fd_use_end(&first);
	fd_use_end(&second);
	ck_assert(is_open(fd));
	ck_assert(fd_slot_use(&cache, &slots[0], &first));
	ck_assert_int_eq(first.fd, fd);
	fd_use_end(&first);
	ck_assert_uint_eq(atomic_load(&cache.count), 1);
	end();
	ck_assert(!is_open(fd));
}
END_TEST

/* Descriptor 0 is a descriptor like any other. */
START_TEST(descriptor_0_can_be_kept)
{
	struct fd_use use = FD_USE_NONE;

	begin(10, CAPACITY);
	close(0);
	ck_assert_int_eq(open_null(), 0);
	fd_slot_fill(&cache, &slots[0], &slots[0], FD_READ, 0, &use);
	fd_use_end(&use);
	ck_assert(fd_slot_use(&cache, &slots[0], &use));
	ck_assert_int_eq(use.fd, 0);
	fd_use_end(&use);
	end();
	ck_assert(!is_open(0));
}
END_TEST

/* Ending what was never begun, or twice, takes nothing from anybody. */
START_TEST(a_use_ends_once)
{
	struct fd_use none = FD_USE_NONE;

	begin(10, CAPACITY);
	fd_use_end(&none);
	struct fd_use first = fill(0), second = FD_USE_NONE;

	ck_assert(fd_slot_use(&cache, &slots[0], &second));
	fd_use_end(&first);
	ck_assert_int_eq(first.fd, -1);
	fd_use_end(&first);
	fd_slot_close(&cache, &slots[0]);
	ck_assert(is_open(second.fd));
	fd_use_end(&second);
	end();
}
END_TEST

/* Who comes second with a descriptor uses the first one's; its own is closed. */
START_TEST(filling_a_filled_slot_uses_what_is_there)
{
	begin(10, CAPACITY);
	struct fd_use first = fill(0), second = FD_USE_NONE;
	int superfluous = open_null();

	fd_slot_fill(&cache, &slots[0], &slots[0], FD_READ, superfluous, &second);
	ck_assert_int_eq(second.fd, first.fd);
	ck_assert(!is_open(superfluous));
	ck_assert_uint_eq(atomic_load(&cache.count), 1);
	fd_use_end(&first);
	fd_use_end(&second);
	end();
}
END_TEST

/* A slot closed in the middle of a use gives its descriptor up with the last use, and takes no new one. */
START_TEST(a_slot_closed_while_used_goes_with_its_last_use)
{
	begin(10, CAPACITY);
	struct fd_use first = fill(0), second = FD_USE_NONE, late = FD_USE_NONE;
	int fd = first.fd;

	ck_assert(fd_slot_use(&cache, &slots[0], &second));
	fd_slot_close(&cache, &slots[0]);
	fd_slot_close(&cache, &slots[0]);
	ck_assert(!fd_slot_use(&cache, &slots[0], &late));
	fd_use_end(&first);
	ck_assert(is_open(fd));
	fd_use_end(&second);
	ck_assert(!is_open(fd));
	ck_assert(!has_fd(0));
	ck_assert_uint_eq(atomic_load(&cache.count), 0);
	struct fd_use again = fill(0);

	fd_use_end(&again);
	ck_assert(has_fd(0));
	end();
}
END_TEST

/* While a slot is closing, a descriptor brought to it is used all the same, and by that use only. */
START_TEST(a_descriptor_for_a_closing_slot_is_closed_with_its_use)
{
	begin(10, CAPACITY);
	struct fd_use old = fill(0);

	fd_slot_close(&cache, &slots[0]);
	struct fd_use own = fill(0);
	int fd = own.fd;

	ck_assert_int_ne(fd, old.fd);
	ck_assert(is_open(fd));
	fd_use_end(&own);
	ck_assert(!is_open(fd));
	ck_assert(is_open(old.fd));
	fd_use_end(&old);
	ck_assert_uint_eq(atomic_load(&cache.count), 0);
	end();
}
END_TEST

/* A number above the cache's capacity is used and not kept. */
START_TEST(a_descriptor_above_the_capacity_is_closed_with_its_use)
{
	struct fd_use use = FD_USE_NONE;
	int fd;

	begin(10, 100);
	fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);
	ck_assert_int_ge(fd, 100);
	fd_slot_fill(&cache, &slots[0], &slots[0], FD_READ, fd, &use);
	ck_assert_int_eq(use.fd, fd);
	ck_assert(!has_fd(0));
	fd_use_end(&use);
	ck_assert(!is_open(fd));
	end();
}
END_TEST

/* ---- the limit -------------------------------------------------------------------------------- */

/* Filling goes on for ever, the cache does not grow beyond its limit. */
START_TEST(idle_descriptors_over_the_limit_are_closed)
{
	begin(8, CAPACITY);
	for (size_t i = 0; i < SLOTS; i++) {
		fill_idle(i);
		ck_assert_uint_le(atomic_load(&cache.count), 8);
		ck_assert_msg(has_fd(i), "the newest, %zu, was closed", i);
	}
	size_t open_slots = 0;

	for (size_t i = 0; i < SLOTS; i++)
		open_slots += has_fd(i);
	ck_assert_uint_eq(open_slots, atomic_load(&cache.count));
	end();
}
END_TEST

/* A descriptor in use is not closed by the sweep, over the limit or not. */
START_TEST(used_descriptors_are_not_closed_by_the_sweep)
{
	struct fd_use uses[20];

	begin(4, CAPACITY);
	for (size_t i = 0; i < ARRAY_LENGTH(uses); i++)
		uses[i] = fill(i);
	ck_assert_uint_eq(fd_cache_shrink(&cache, 100), 0);
	ck_assert_uint_eq(atomic_load(&cache.count), ARRAY_LENGTH(uses));
	for (size_t i = 0; i < ARRAY_LENGTH(uses); i++) {
		ck_assert(is_open(uses[i].fd));
		fd_use_end(&uses[i]);
	}
	ck_assert_uint_eq(fd_cache_shrink(&cache, 100), ARRAY_LENGTH(uses));
	end();
}
END_TEST

/* What the owner says must stay, stays; fd_slot_close() is not asked. */
START_TEST(kept_descriptors_are_not_closed_by_the_sweep)
{
	begin(4, CAPACITY);
	for (size_t i = 0; i < 20; i++) {
		kept[i] = i % 2 == 0;
		fill_idle(i);
	}
	ck_assert_uint_le(fd_cache_shrink(&cache, 100), 10);
	ck_assert_uint_eq(atomic_load(&cache.count), 10);
	for (size_t i = 0; i < 20; i++)
		ck_assert_int_eq(has_fd(i), kept[i]);
	ck_assert_uint_eq(fd_cache_shrink(&cache, 100), 0);
	fd_slot_close(&cache, &slots[0]);
	ck_assert(!has_fd(0));
	end();
}
END_TEST

/* No more is closed than was wanted. */
START_TEST(shrinking_closes_as_many_as_wanted)
{
	begin(SLOTS, CAPACITY);
	for (size_t i = 0; i < 20; i++)
		fill_idle(i);
	ck_assert_uint_eq(fd_cache_shrink(&cache, 0), 0);
	ck_assert_uint_eq(fd_cache_shrink(&cache, 5), 5);
	ck_assert_uint_eq(atomic_load(&cache.count), 15);
	ck_assert_uint_eq(fd_cache_shrink(&cache, 100), 15);
	ck_assert_uint_eq(fd_cache_shrink(&cache, 1), 0);
	end();
}
END_TEST

/* A descriptor used since the last sweep outlives one that was not. */
START_TEST(a_descriptor_used_again_is_spared)
{
	struct fd_use use = FD_USE_NONE;

	begin(SLOTS, CAPACITY);
	for (size_t i = 0; i < 3; i++)
		fill_idle(i);
	ck_assert_uint_eq(fd_cache_shrink(&cache, 1), 1);
	size_t first = !has_fd(0) ? 0 : !has_fd(1) ? 1 : 2;
	size_t next = (first + 1) % 3, other = (first + 2) % 3;

	ck_assert(fd_slot_use(&cache, &slots[next], &use));
	fd_use_end(&use);
	ck_assert_uint_eq(fd_cache_shrink(&cache, 1), 1);
	ck_assert(has_fd(next));
	ck_assert(!has_fd(other));
	end();
}
END_TEST

/* Only a lack of descriptors is relieved by closing some, and only where some could be closed. */
START_TEST(relief_is_for_a_lack_of_descriptors)
{
	begin(SLOTS, CAPACITY);
	ck_assert(!fd_cache_relieve(&cache, EMFILE));
	fill_idle(0);
	ck_assert(!fd_cache_relieve(&cache, EACCES));
	ck_assert(!fd_cache_relieve(&cache, ENOMEM));
	ck_assert(!fd_cache_relieve(&cache, 0));
	ck_assert(has_fd(0));
	ck_assert(fd_cache_relieve(&cache, EMFILE));
	ck_assert(!has_fd(0));
	fill_idle(0);
	ck_assert(fd_cache_relieve(&cache, ENFILE));
	ck_assert(!has_fd(0));
	kept[1] = true;
	fill_idle(1);
	ck_assert(!fd_cache_relieve(&cache, EMFILE));
	end();
}
END_TEST

/* However many numbers the cache has room for, the few that can be closed are found. */
START_TEST(relief_is_found_in_a_large_cache)
{
	begin(SLOTS, 1 << 20);
	fill_idle(0);
	ck_assert(fd_cache_relieve(&cache, ENFILE));
	ck_assert(!has_fd(0));
	end();
}
END_TEST

/* A cache that could not be set up, or is finished, can be finished. */
START_TEST(finishing_twice_is_harmless)
{
	struct fd_cache nothing = {0};

	fd_cache_fini(&nothing);
	begin(8, CAPACITY);
	fd_cache_fini(&cache);
	fd_cache_fini(&cache);
}
END_TEST

/* ---- threads ---------------------------------------------------------------------------------- */

#define RACED 6
static int files[RACED]; /* a file for each slot: what its descriptor must lead to */
static ino_t inodes[RACED];
static _Atomic unsigned wrong;

static void *use_at_random(void *number)
{
	unsigned seed = *(unsigned *)number;

	for (int i = 0; i < 20000; i++) {
		unsigned at = (unsigned)rand_r(&seed) % RACED;
		struct fd_use use = FD_USE_NONE;
		struct stat info;

		if (!fd_slot_use(&cache, &slots[at], &use)) {
			int fd = fcntl(files[at], F_DUPFD_CLOEXEC, 0);

			if (fd < 0) {
				atomic_fetch_add(&wrong, 1);
				continue;
			}
			fd_slot_fill(&cache, &slots[at], &slots[at], FD_READ, fd, &use);
		}
		if (rand_r(&seed) % 8 == 0)
			fd_slot_close(&cache, &slots[at]);
		if (rand_r(&seed) % 16 == 0)
			fd_cache_shrink(&cache, 2);
		if (fstat(use.fd, &info) < 0 || info.st_ino != inodes[at])
			atomic_fetch_add(&wrong, 1);
		fd_use_end(&use);
	}
	return NULL;
}

/* Whoever fills, closes and sweeps around it, a use leads to its own file until it ends. */
START_TEST(a_use_leads_to_its_file_whatever_others_do)
{
	unsigned numbers[THREADS];
	pthread_t threads[THREADS];

	begin(3, CAPACITY);
	for (int i = 0; i < RACED; i++) {
		char path[] = "/tmp/fds-XXXXXX";
		struct stat info;

		files[i] = mkstemp(path);
		ck_assert_int_ge(files[i], 0);
		unlink(path);
		ck_assert_int_eq(fstat(files[i], &info), 0);
		inodes[i] = info.st_ino;
	}
	for (unsigned i = 0; i < THREADS; i++) {
		numbers[i] = i + 1;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, use_at_random, &numbers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(atomic_load(&wrong), 0);
	end();
	for (int i = 0; i < RACED; i++)
		close(files[i]);
	/* None was left open: the lowest free number is where it was before the files. */
	int fd = open_null();

	ck_assert_int_eq(fd, files[0]);
	close(fd);
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_test(tests, an_empty_slot_cannot_be_used);
	tcase_add_test(tests, a_filled_slot_is_used_many_times);
	tcase_add_test(tests, descriptor_0_can_be_kept);
	tcase_add_test(tests, a_use_ends_once);
	tcase_add_test(tests, filling_a_filled_slot_uses_what_is_there);
	tcase_add_test(tests, a_slot_closed_while_used_goes_with_its_last_use);
	tcase_add_test(tests, a_descriptor_for_a_closing_slot_is_closed_with_its_use);
	tcase_add_test(tests, a_descriptor_above_the_capacity_is_closed_with_its_use);
	tcase_add_test(tests, idle_descriptors_over_the_limit_are_closed);
	tcase_add_test(tests, used_descriptors_are_not_closed_by_the_sweep);
	tcase_add_test(tests, kept_descriptors_are_not_closed_by_the_sweep);
	tcase_add_test(tests, shrinking_closes_as_many_as_wanted);
	tcase_add_test(tests, a_descriptor_used_again_is_spared);
	tcase_add_test(tests, relief_is_for_a_lack_of_descriptors);
	tcase_add_test(tests, relief_is_found_in_a_large_cache);
	tcase_add_test(tests, finishing_twice_is_harmless);
	tcase_add_test(tests, a_use_leads_to_its_file_whatever_others_do);
}
