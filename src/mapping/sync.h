/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_MAPPING_SYNC_H
#define MEMMAPFS_MAPPING_SYNC_H

/*
 * What was written and not yet synced, and msync(2) of it. Which files are due, and who is told of a
 * failure, is decided elsewhere.
 */

#include "mapping/cache.h"

/**
 * mapping_mark_dirty() - note that bytes were written
 * @length:     bytes; 0 notes nothing
 * @ret_growth: by how many bytes the dirty extents grew
 *
 * Locks:  mapping->lock.
 * Return: 0 or -ENOMEM.
 */
int mapping_mark_dirty(struct mapping *mapping, uint64_t offset, uint64_t length, int64_t *ret_growth);

/**
 * mapping_take_dirty() - the dirty extents, which are clean from here on
 * @ret_set: filled; empty when nothing was dirty
 *
 * Take first and sync afterwards: bytes written meanwhile are dirty for the next round.
 *
 * Locks:  mapping->lock.
 */
void mapping_take_dirty(struct mapping *mapping, struct dirty_set *ret_set);

/** mapping_dirty_bytes() - bytes noted and not taken. Locks: mapping->lock. */
uint64_t mapping_dirty_bytes(struct mapping *mapping);

/**
 * mapping_msync() - msync(MS_SYNC) one extent through windows mapped for it
 * @source: a file open for writing: the kernel ignores msync of a mapping made from a read-only
 *          descriptor
 * @extent: bytes; the part past @source->size is not synced (it is no longer there)
 *
 * Locks:  none across msync(2); the windows are pinned meanwhile.
 * Blocks: until the disk has the pages.
 *
 * Return: 0, or
 *   -errno of mmap(2)   nothing is known of the extent: sync the descriptor instead
 *   -errno of msync(2), with *@ret_lost set to the first byte that is not known to be on disk
 *
 * See: msync(2)
 */
int mapping_msync(struct mapping *mapping, const struct window_source *source, const struct extent *extent,
		  uint64_t *ret_lost);

#endif
