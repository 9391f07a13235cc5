/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#include "threads.h"
#include "unit.h"
#include "util.h"

static _Atomic bool stop;
static _Atomic int spinner;

static void *spin(void *argument)
{
	atomic_store(&spinner, gettid());
	while (!atomic_load(&stop))
		continue;
	return argument;
}

static bool is_in(pid_t id, const pid_t *ids, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (ids[i] == id)
			return true;
	}
	return false;
}

START_TEST(who_spins_is_runnable_until_it_ends)
{
	pid_t ids[8] = {0};
	pthread_t thread;
	size_t count;

	ck_assert_uint_eq(threads_runnable(ids, 0), 0);
	atomic_store(&stop, false);
	ck_assert_int_eq(pthread_create(&thread, NULL, spin, NULL), 0);
	while (atomic_load(&spinner) == 0)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	count = threads_runnable(ids, ARRAY_LENGTH(ids));
	ck_assert(is_in(atomic_load(&spinner), ids, count));
	ck_assert(!is_in(gettid(), ids, count));
	count = threads_still_runnable(ids, count);
	ck_assert(is_in(atomic_load(&spinner), ids, count));
	atomic_store(&stop, true);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert(!is_in(atomic_load(&spinner), ids, threads_still_runnable(ids, count)));
}
END_TEST

static void *rest(void *argument)
{
	atomic_store(&spinner, gettid());
	while (!atomic_load(&stop))
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	return argument;
}

/* It wakes for moments: some look finds it asleep. */
START_TEST(who_sleeps_is_not_so_for_long)
{
	pid_t ids[1];
	pthread_t thread;

	atomic_store(&stop, false);
	atomic_store(&spinner, 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, rest, NULL), 0);
	while (atomic_load(&spinner) == 0)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	ids[0] = atomic_load(&spinner);
	while (threads_still_runnable(ids, 1) > 0)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	atomic_store(&stop, true);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_test(tests, who_spins_is_runnable_until_it_ends);
	tcase_add_test(tests, who_sleeps_is_not_so_for_long);
}
