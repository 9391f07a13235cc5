/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_MAPPING_WINDOWS_H
#define MEMMAPFS_MAPPING_WINDOWS_H

/* What windows.c, which keeps all windows, offers cache.c, which finds them by file and offset. */

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

/** window_publish() - from here on the window lives, with one pin for the caller. Locks: cache->lock. */
void window_publish(struct window *window, struct mapping *owner, uint64_t index);

/** window_try_pin() - pin the window if it lives. Takes no lock. */
bool window_try_pin(struct window *window);

/** window_replace() - the window, pinned by the caller, goes with its last pin; ends the caller's */
void window_replace(struct window *window);

#endif
