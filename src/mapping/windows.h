/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_MAPPING_WINDOWS_H
#define MEMMAPFS_MAPPING_WINDOWS_H

/*
 * What the files of mapping/ offer each other: windows.c, which keeps all windows, cache.c, which finds them
 * by file and offset, and paging.c, advice.c and lock.c, which apply the policy.
 */

#include "mapping/cache.h"

#define WINDOW_DEAD 0x80000000u

/** window_evict() - let the least recently used unpinned window go. False: there is none. */
bool window_evict(struct window_cache *cache);

/**
 * window_reserve() - count a window of @length bytes in, within the limits of the cache
 * @ret_window: an unused struct, to be filled and published, or given back
 *
 * Locks:  cache->lock.
 * Return: 0, or -ENOMEM when every window is pinned at the limit, or without memory.
 */
int window_reserve(struct window_cache *cache, size_t length, struct window **ret_window);

/** window_unreserve() - give back what window_reserve() returned. Locks: cache->lock. */
void window_unreserve(struct window_cache *cache, size_t length, struct window *window);

/**
 * window_mmap() - mmap(2) for a window
 * @flags: MAP_SHARED, or MAP_SHARED_VALIDATE with MAP_SYNC
 * @huge:  size of a huge page to align for; 0 for none
 *
 * Return: as mmap(2), with errno.
 */
void *window_mmap(const struct window_cache *cache, const struct window_source *source, uint64_t start,
		  size_t length, int flags, size_t huge);

/** window_publish() - from here on the window lives, with one pin for the caller. Locks: cache->lock. */
void window_publish(struct window *window, struct mapping *owner, uint64_t index);

/** window_try_pin() - pin the window if it lives. Takes no lock. */
bool window_try_pin(struct window *window);

/** window_replace() - the window, pinned by the caller, goes with its last pin; ends the caller's */
void window_replace(struct window *window);

/** window_take_locked() - take a window out of the cache if nobody has it pinned; then window_bury() it */
bool window_take_locked(struct window *window);

/** window_bury() - unmap a window that was taken. Locks: cache->lock. */
void window_bury(struct window *window);

/** window_count_inside() - the file has @size bytes now: count the window's bytes inside it anew */
void window_count_inside(struct window *window, uint64_t size);

/**
 * mapping_next_locked() - the living windows of a mapping, one a call, pinned
 * @slot: 0 to begin with; where to go on
 *
 * mapping->lock is held, so none is added meanwhile; the eviction may take one that is not pinned.
 */
struct window *mapping_next_locked(struct mapping *mapping, size_t *slot);

/* What the kernel refused while mapping->lock was held, to be told afterwards. */
struct paging_refusal {
	int error; /* positive; 0: nothing was refused */
	enum mapping_call call;
};

/** paging_begin_locked() - a window was mapped: do what is quick of its policy */
void paging_begin_locked(struct mapping *mapping, struct window *window, struct paging_refusal *ret_refusal);

/**
 * paging_settle() - somebody wants a window's bytes for the first time: do, or have done, the rest
 *
 * Locks:  none held; the window is pinned.
 * Blocks: where the policy says that pages are waited for.
 */
void paging_settle(struct mapping *mapping, const struct window_source *source, struct window *window);

/** paging_refused() - tell of a refusal, if there is one. Locks: none held. */
void paging_refused(struct mapping *mapping, const struct paging_refusal *refusal);

/** paging_due() - have mapping_work() called. Locks: none of mapping/ held. */
void paging_due(struct mapping *mapping);

/**
 * window_lock_locked() - lock what is to be locked of a window
 * @unlock: something no longer is
 *
 * Return: 0 or the first -errno of mlock2(2); what was locked before and still is to be, is.
 */
int window_lock_locked(struct mapping *mapping, struct window *window, bool unlock);

/** locks_add_locked() - note what is to be locked; pages. Return: 0 or -ENOMEM. */
int locks_add_locked(struct mapping *mapping, uint64_t start, uint64_t end);

/** locks_clear_locked() - nothing is to be locked any more */
void locks_clear_locked(struct mapping *mapping);

/**
 * populate() - have mapped bytes in memory
 * @bytes: of a pinned window, page-aligned
 *
 * Return: 0, -EINTR when stopped, or -EFAULT where a page cannot appear.
 */
int populate(unsigned char *bytes, size_t length, const struct mapping_stop *stop);

/** data_after() - where the file has data from @at on; @at itself where nobody knows of holes, @end at most */
uint64_t data_after(int fd, uint64_t at, uint64_t end);

/** past_hole() - as data_after(), of holes that are too long to be read; else @at, or @end if that is less */
uint64_t past_hole(int fd, uint64_t at, uint64_t end);

/** read_ahead() - have the kernel begin to read; returns when it has, or when stopped: then -EINTR */
int read_ahead(int fd, uint64_t offset, uint64_t length, const struct mapping_stop *stop);

static inline bool stop_asked(const struct mapping_stop *stop)
{
	return stop != NULL && stop->asked != NULL && stop->asked(stop->context);
}

#endif
