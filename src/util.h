/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_UTIL_H
#define MEMMAPFS_UTIL_H

/*
 * The few things every room needs: cleanup attributes, scoped locks, time and page arithmetic.
 * Knows libc and nothing of this project.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h> /* MIN, MAX */
#include <time.h>
#include <unistd.h>

/* Run FUNCTION on the variable's address when it leaves scope; hand over by setting it to -1/NULL. */
#define CLEANUP(function) __attribute__((cleanup(function)))

static inline void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline void free_pointer(void *pointer)
{
	free(*(void **)pointer);
	*(void **)pointer = NULL;
}

/* Is this a build with ThreadSanitizer? gcc and clang say so each in its way. */
#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER 1
#endif
#endif

static inline void unlock_mutex(pthread_mutex_t **mutex)
{
	if (*mutex != NULL)
		pthread_mutex_unlock(*mutex);
}

static inline pthread_mutex_t *lock_mutex(pthread_mutex_t *mutex)
{
	pthread_mutex_lock(mutex);
	return mutex;
}

/*
 * A malloc'ed string of @length bytes of a text that has no end of its own, which strndup(3) may be checked
 * for; NULL without memory.
 */
static inline char *copy_text(const void *bytes, size_t length)
{
	char *text = malloc(length + 1);

	if (text == NULL)
		return NULL;
	memcpy(text, bytes, length);
	text[length] = '\0';
	return text;
}

/* Hold MUTEX until the end of the enclosing block. */
#define LOCK_SCOPE_NAME(line) lock_scope_##line
#define LOCK_SCOPE_LINE(mutex, line)                                                                         \
	CLEANUP(unlock_mutex)                                                                                \
	__attribute__((unused)) pthread_mutex_t *LOCK_SCOPE_NAME(line) = lock_mutex(mutex)
#define LOCK_SCOPE_EXPAND(mutex, line) LOCK_SCOPE_LINE(mutex, line)
#define LOCK_SCOPE(mutex) LOCK_SCOPE_EXPAND(mutex, __LINE__)

/* Wraps round every 584 years: file systems have time stamps of any year. */
static inline int64_t timespec_ns(const struct timespec *time)
{
	return (int64_t)((uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec);
}

#define ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

static inline size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static inline uint64_t page_round_down(uint64_t offset)
{
	return offset & ~(uint64_t)(page_size() - 1);
}

/* The caller makes sure that @offset is at least a page below UINT64_MAX. */
static inline uint64_t page_round_up(uint64_t offset)
{
	return page_round_down(offset + page_size() - 1);
}

/*
 * Counters that any thread may bump without a lock and without sharing a cache line with the others:
 * each thread adds to one of TALLY_SHARDS copies, reading sums them.
 */
#define TALLY_SHARDS 16
#define TALLY_COUNTERS 16

struct tally {
	struct {
		_Alignas(64) _Atomic uint64_t counter[TALLY_COUNTERS];
	} shard[TALLY_SHARDS];
};

static inline void tally_add(struct tally *tally, unsigned counter, uint64_t amount)
{
	/* Thread stacks, and with them pthread_self(), lie some megabytes and a guard page apart. */
	uintptr_t self = (uintptr_t)pthread_self();
	unsigned shard = (unsigned)((self >> 12) ^ (self >> 20)) % TALLY_SHARDS;

	atomic_fetch_add_explicit(&tally->shard[shard].counter[counter], amount, memory_order_relaxed);
}

static inline uint64_t tally_read(const struct tally *tally, unsigned counter)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < TALLY_SHARDS; i++)
		sum += atomic_load_explicit(&tally->shard[i].counter[counter], memory_order_relaxed);
	return sum;
}

static inline void tally_reset(struct tally *tally)
{
	for (unsigned i = 0; i < TALLY_SHARDS; i++) {
		for (unsigned k = 0; k < TALLY_COUNTERS; k++)
			atomic_store_explicit(&tally->shard[i].counter[k], 0, memory_order_relaxed);
	}
}

#endif
