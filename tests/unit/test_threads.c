/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <sched.h>
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

static bool is_in(pid_t id, const struct thread_look *looks, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (looks[i].id == id)
			return true;
	}
	return false;
}

/* On a busy machine it may be starved indeed, and then is no more in the end. */
START_TEST(who_spins_is_runnable_and_not_starved_for_ever)
{
	struct thread_look looks[8];
	pthread_t thread;
	size_t count;

	ck_assert_uint_eq(threads_runnable(looks, 0), 0);
	atomic_store(&stop, false);
	ck_assert_int_eq(pthread_create(&thread, NULL, spin, NULL), 0);
	while (atomic_load(&spinner) == 0)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	count = threads_runnable(looks, ARRAY_LENGTH(looks));
	ck_assert(is_in(atomic_load(&spinner), looks, count));
	ck_assert(!is_in(gettid(), looks, count));
	/* One that never ran for so long. */
	looks[0] = (struct thread_look){atomic_load(&spinner), UINT64_MAX};
	ck_assert_uint_eq(threads_starved(looks, 1), 0);
	count = threads_runnable(looks, ARRAY_LENGTH(looks));
	while (count > 0) {
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
		count = threads_starved(looks, count);
	}
	atomic_store(&stop, true);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert(!is_in(atomic_load(&spinner), looks, threads_runnable(looks, ARRAY_LENGTH(looks))));
}
END_TEST

/* At the lowest priority there is, on a CPU that another keeps busy. */
START_TEST(who_gets_no_cpu_is_starved)
{
	struct sched_param none = {0};
	struct thread_look looks[8];
	pthread_t busy, idle;
	cpu_set_t one, all;
	size_t count;
	bool seen = false;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(all), &all), 0);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++) {
		if (CPU_ISSET(cpu, &all))
			CPU_SET(cpu, &one);
	}
	atomic_store(&stop, false);
	ck_assert_int_eq(pthread_create(&busy, NULL, spin, NULL), 0);
	pthread_setaffinity_np(busy, sizeof(one), &one);
	atomic_store(&spinner, 0);
	ck_assert_int_eq(pthread_create(&idle, NULL, spin, NULL), 0);
	while (atomic_load(&spinner) == 0)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	pthread_setaffinity_np(idle, sizeof(one), &one);
	ck_assert_int_eq(pthread_setschedparam(idle, SCHED_IDLE, &none), 0);
	for (int i = 0; i < 200 && !seen; i++) {
		count = threads_runnable(looks, ARRAY_LENGTH(looks));
		nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
		seen = is_in(atomic_load(&spinner), looks, threads_starved(looks, count));
	}
	ck_assert(seen);
	atomic_store(&stop, true);
	pthread_join(busy, NULL);
	pthread_join(idle, NULL);
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_test(tests, who_spins_is_runnable_and_not_starved_for_ever);
	tcase_add_test(tests, who_gets_no_cpu_is_starved);
}
