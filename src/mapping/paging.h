/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_MAPPING_PAGING_H
#define MEMMAPFS_MAPPING_PAGING_H

/*
 * The standing policy of a file's windows: which advice they get, what is read ahead, what is locked, and
 * what becomes of them when nobody touches them. What is quick is done as a window is mapped; what
 * waits for the disk is left to mapping_work(), which somebody with time calls.
 */

#include "mapping/advice.h"
#include "mapping/cache.h"

enum paging_preload { PAGING_OFF, PAGING_ASYNC, PAGING_SYNC, PAGING_POPULATE };
enum paging_idle { PAGING_COLD, PAGING_PAGEOUT, PAGING_UNMAP };

/* Immutable, and outlives the mappings it is set for. */
struct paging {
	enum advice advice; /* one that stands */
	enum paging_preload preload;
	bool huge_pages;
	bool lock;
	enum paging_idle idle;
	uint64_t idle_ms; /* 0: windows stay as they are */
};

/**
 * mapping_set_paging() - from here on windows follow @paging; those there are, too
 * @paging: NULL for none
 *
 * Advice that was set for the file goes where the new policy has another than the old; locks go where the
 * policy does not lock any longer. What is preloaded is so when bytes are next asked for.
 *
 * Locks:  mapping->lock.
 * Return: 0, or the first -errno of madvise(2) or mlock2(2), with the rest done all the same.
 */
int mapping_set_paging(struct mapping *mapping, const struct paging *paging);

/**
 * mapping_work() - do what windows are waiting for: read ahead, lock
 * @source: the file
 * @stop:   asked between steps; may be NULL
 *
 * Locks:  none across anything that waits for the disk.
 * Return: 0, -EINTR when stopped, or the first -errno met; hooks.refused has been told each.
 */
int mapping_work(struct mapping *mapping, const struct window_source *source,
		 const struct mapping_stop *stop);

/**
 * mapping_preload() - read [@offset, @offset + @length) and return when the pages are in memory
 *
 * Return: 0, -EINTR when stopped, -EFAULT where a page cannot appear, or -errno of mmap(2).
 */
int mapping_preload(struct mapping *mapping, const struct window_source *source, uint64_t offset,
		    uint64_t length, const struct mapping_stop *stop);

/**
 * file_preload() - mapping_preload() of a file without windows
 * @fd: open for reading; borrowed
 *
 * Return: 0, -EINTR when stopped, -EFAULT where a page cannot appear, or -errno of mmap(2).
 */
int file_preload(int fd, uint64_t offset, uint64_t length, const struct mapping_stop *stop);

/** mapping_touch() - have the first pinned page mapped, as reading it would; a fault is nobody's business */
void mapping_touch(const struct window_pin *pin);

/**
 * window_cache_idle() - have windows that nobody touched for as long as their policy says go, or go cold
 * @now_ms:      of a clock that only moves forward
 * @ret_refused: set where madvise(2) refused: its errno, positive; else untouched
 *
 * A window is touched when it is pinned. Locked windows are left alone. A window is made cold once, until it
 * is touched again.
 *
 * Locks:  cache->lock, for some windows at a time; none across madvise(2).
 * Return: how many windows something was done to.
 */
size_t window_cache_idle(struct window_cache *cache, uint64_t now_ms, int *ret_refused);

/**
 * mapping_resident() - bytes of the file's windows that are in memory
 * @fd:   the file, open for reading; borrowed
 * @size: of the file; bytes past it do not count
 *
 * Locks:  mapping->lock, for a moment; each window is pinned while the kernel is asked.
 * Return: 0 with bytes rounded to pages, or as residency_count().
 */
int mapping_resident(struct mapping *mapping, int fd, uint64_t size, uint64_t *ret_resident);

/**
 * mapping_huge_bytes() - bytes of the file's windows that are mapped by huge pages
 *
 * From /proc/self/smaps: slow. Return: 0 or -errno of reading that.
 */
int mapping_huge_bytes(struct mapping *mapping, uint64_t *ret_bytes);

#endif
