/* SPDX-License-Identifier: MIT */
/*
 * All rings of a session: made and tried out before the kernel is told, as it then waits until each of its queues
 * has a thread; started together; ended together.
 */
#include "ring.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "ring_private.h"
#include "session_private.h"
#include "util.h"

/* Threads for each queue, where nobody says how many. */
#define THREADS_DEFAULT 4
#define THREADS_MANY_CPUS 2

/* One that could not be started before, or NULL. */
static struct ring_worker *worker_unstarted(struct ring *ring, unsigned queue)
{
	struct ring_worker *worker = atomic_load(&ring->workers);

	LOCK_SCOPE(&ring->lock);
	while (worker != NULL && (worker->started || worker->queue != queue))
		worker = worker->next;
	return worker;
}

/* Return: has the queue the threads it should have? */
bool ring_fill_queue(struct ring *ring, unsigned queue, uint64_t behind)
{
	int result;

	do {
		struct ring_worker *worker;

		{
			LOCK_SCOPE(&ring->lock);
			if (ring->serving[queue] >= ring->wanted)
				return true;
		}
		worker = worker_unstarted(ring, queue);
		if (worker == NULL && ring_worker_new(ring, queue, &worker) < 0)
			return false;
		result = ring_worker_start(worker, behind);
		/* Where somebody else has started it, for a place of its own. */
	} while (result == -EALREADY);
	return result == 0;
}

/* All that have been started can register, or one has failed. Return: 0 or -EPERM */
static int await_usable(struct ring *ring)
{
	LOCK_SCOPE(&ring->lock);
	for (struct ring_worker *worker = atomic_load(&ring->workers); worker != NULL;
	     worker = worker->next) {
		while (!worker->usable && !worker->ended)
			pthread_cond_wait(&ring->changed, &ring->lock);
		if (!worker->usable)
			return -EPERM;
	}
	return 0;
}

/* How many a list of the kernel's names, or -errno. Not sysconf(3): where /sys cannot be read it makes do with fewer. */
static long listed_cpus(const char *path)
{
	unsigned first, last, got;
	FILE *file = fopen(path, "re");
	long count = 0;

	if (file == NULL)
		return -errno;
	while ((got = (unsigned)fscanf(file, "%u-%u", &first, &last)) == 1 || got == 2) {
		count += got == 2 ? last - first + 1 : 1;
		if (fgetc(file) != ',')
			break;
	}
	fclose(file);
	return count > 0 ? count : -ENODATA;
}

/* A thread has to come to any CPU for a moment, see ring_kick(). It may, whatever taskset(1) says, but for a cpuset. */
static int reach_all_cpus(const cpu_set_t *usual)
{
	long online = listed_cpus("/sys/devices/system/cpu/online");
	cpu_set_t reached;
	int result;

	memset(&reached, 0xff, sizeof(reached));
	if (online < 0)
		return (int)online;
	if (sched_setaffinity(0, sizeof(reached), &reached) < 0)
		return -errno;
	result = sched_getaffinity(0, sizeof(reached), &reached) < 0 ? -errno : 0;
	(void)sched_setaffinity(0, sizeof(*usual), usual);
	if (result < 0 || CPU_COUNT(&reached) >= online)
		return result;
	log_error("cannot use io_uring: %d CPUs of %ld are open to the daemon", CPU_COUNT(&reached), online);
	return -EPERM;
}

/* Before the kernel has been told: nobody has registered. */
static void ring_give_up(struct ring *ring)
{
	{
		LOCK_SCOPE(&ring->lock);
		ring->given_up = true;
		pthread_cond_broadcast(&ring->changed);
	}
	for (struct ring_worker *worker = atomic_load(&ring->workers); worker != NULL;
	     worker = worker->next) {
		if (worker->started)
			pthread_join(worker->thread, NULL);
	}
}

int ring_new(struct session *session, unsigned workers, struct ring **ret_ring)
{
	long possible = listed_cpus("/sys/devices/system/cpu/possible"),
	     online = sysconf(_SC_NPROCESSORS_ONLN);
	struct ring *ring = calloc(1, sizeof(*ring));
	int result = 0;

	if (ring == NULL)
		return -ENOMEM;
	if (possible < 0) {
		free(ring);
		return (int)possible;
	}
	pthread_mutex_init(&ring->lock, NULL);
	pthread_cond_init(&ring->changed, NULL);
	ring->session = session;
	ring->queue_count = (unsigned)possible;
	if (sched_getaffinity(0, sizeof(ring->cpus), &ring->cpus) < 0)
		CPU_ZERO(&ring->cpus);
	result = reach_all_cpus(&ring->cpus);
	ring->wanted = workers > 0   ? MAX(1U, workers / (online < 1 ? 1 : (unsigned)online))
		       : online <= 8 ? THREADS_DEFAULT
				     : THREADS_MANY_CPUS;
	ring->serving = calloc(ring->queue_count, sizeof(ring->serving[0]));
	if (ring->serving == NULL && result == 0)
		result = -ENOMEM;
	for (unsigned queue = 0; queue < ring->queue_count && result == 0; queue++) {
		unsigned count = queue < (unsigned)online ? ring->wanted : 1;

		for (unsigned i = 0; i < count && result == 0; i++) {
			struct ring_worker *worker;

			result = ring_worker_new(ring, queue, &worker);
			if (result == 0)
				result = ring_worker_start(worker, 0);
		}
	}
	if (result == 0)
		result = await_usable(ring);
	if (result < 0) {
		ring_give_up(ring);
		ring_free(ring);
		return result;
	}
	*ret_ring = ring;
	return 0;
}

void ring_start(struct ring *ring)
{
	LOCK_SCOPE(&ring->lock);
	ring->going = true;
	pthread_cond_broadcast(&ring->changed);
	log_debug("requests come through io_uring, by %u queues", ring->queue_count);
}

unsigned ring_queues(const struct ring *ring)
{
	return ring == NULL ? 0 : ring->queue_count;
}

unsigned ring_wake(struct ring *ring)
{
	struct ring_worker *worker;
	unsigned running = 0;

	if (ring == NULL)
		return 0;
	LOCK_SCOPE(&ring->lock);
	pthread_cond_broadcast(&ring->changed);
	for (worker = atomic_load(&ring->workers); worker != NULL; worker = worker->next) {
		if (!worker->ended && pthread_kill(worker->thread, SIGUSR1) == 0)
			running++;
	}
	return running;
}

void ring_join(struct ring *ring)
{
	struct ring_worker *worker;

	if (ring == NULL || ring->joined)
		return;
	/* A signal that comes just before the thread sleeps interrupts nothing: repeat it. */
	while (ring_wake(ring) > 0)
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	for (worker = atomic_load(&ring->workers); worker != NULL; worker = worker->next) {
		if (worker->started)
			pthread_join(worker->thread, NULL);
	}
	ring->joined = true;
}

void ring_free(struct ring *ring)
{
	if (ring == NULL)
		return;
	for (struct ring_worker *worker = atomic_load(&ring->workers), *next; worker != NULL; worker = next) {
		next = worker->next;
		ring_worker_free(worker);
	}
	pthread_mutex_destroy(&ring->lock);
	pthread_cond_destroy(&ring->changed);
	free(ring->serving);
	free(ring);
}
