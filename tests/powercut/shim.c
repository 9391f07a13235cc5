/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into the daemon in the guest. Says to the log when background work that syncs was queued and
 * when it ended: the measured sync time, without what clients' own fsyncs take. With POWERCUT_BREAK set
 * to "all" every sync is a lie, set to "background" those of background work, which the evidence must bring to
 * light.
 *
 *	Q id t		work was queued
 *	Y id t calls	it ended after so many calls that sync
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#define LOG_FD 3
#define BUCKETS 4096

struct work {
	struct work *next;
	uv_work_t *request;
	uv_work_cb callback;
	unsigned id;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct work *works[BUCKETS]; /* protected by lock */
static unsigned last_id;	    /* protected by lock */
static _Thread_local unsigned calls;
static _Thread_local bool working; /* in the background */
static bool broken, broken_background;

__attribute__((constructor)) static void begin(void)
{
	const char *what = getenv("POWERCUT_BREAK");

	broken = what != NULL && strcmp(what, "all") == 0;
	broken_background = what != NULL && strcmp(what, "background") == 0;
}

/* Counts a call that syncs. Is it to do nothing? */
static bool lies(void)
{
	calls++;
	return broken || (broken_background && working);
}

static void *next_of(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (function == NULL)
		abort();
	return function;
}

#define NEXT(name) ((__typeof__(&(name)))next_of(#name))

static unsigned long long now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000;
}

static void say(const char *line, int length)
{
	if (write(LOG_FD, line, (size_t)length) != length)
		abort();
}

static struct work **bucket_of(const uv_work_t *request)
{
	return &works[((uintptr_t)request >> 4) % BUCKETS];
}

static void timed_work(uv_work_t *request)
{
	struct work **link, *work;
	char line[80];

	pthread_mutex_lock(&lock);
	for (link = bucket_of(request); (*link)->request != request; link = &(*link)->next)
		;
	work = *link;
	*link = work->next;
	pthread_mutex_unlock(&lock);
	calls = 0;
	working = true;
	work->callback(request);
	working = false;
	say(line, snprintf(line, sizeof(line), "Y %u %llu %u\n", work->id, now_us(), calls));
	free(work);
}

int uv_queue_work(uv_loop_t *loop, uv_work_t *request, uv_work_cb callback, uv_after_work_cb after)
{
	struct work *work = malloc(sizeof(*work));
	char line[80];

	if (work == NULL)
		abort();
	pthread_mutex_lock(&lock);
	*work = (struct work){*bucket_of(request), request, callback, ++last_id};
	*bucket_of(request) = work;
	say(line, snprintf(line, sizeof(line), "Q %u %llu\n", work->id, now_us()));
	pthread_mutex_unlock(&lock);
	return NEXT(uv_queue_work)(loop, request, timed_work, after);
}

int msync(void *address, size_t length, int flags)
{
	return lies() ? 0 : NEXT(msync)(address, length, flags);
}

int fdatasync(int fd)
{
	return lies() ? 0 : NEXT(fdatasync)(fd);
}

int fsync(int fd)
{
	return lies() ? 0 : NEXT(fsync)(fd);
}

int syncfs(int fd)
{
	return lies() ? 0 : NEXT(syncfs)(fd);
}

int sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags)
{
	return lies() ? 0 : NEXT(sync_file_range)(fd, offset, length, flags);
}

/* The daemon is built for 64-bit offsets, where this is the name that it calls. */
ssize_t pwritev64v2(int fd, const struct iovec *iov, int count, off64_t offset, int flags)
{
	return NEXT(pwritev64v2)(fd, iov, count, offset, broken ? flags & ~(RWF_SYNC | RWF_DSYNC) : flags);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	return NEXT(pwritev2)(fd, iov, count, offset, broken ? flags & ~(RWF_SYNC | RWF_DSYNC) : flags);
}
