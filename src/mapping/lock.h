/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_MAPPING_LOCK_H
#define MEMMAPFS_MAPPING_LOCK_H

/*
 * Pages that stay in memory. What is to be locked is kept per file, as an exact set of byte ranges which may
 * reach past the file's end; what is locked is a window's part of that which lies inside the file, never more:
 * the kernel charges pages past the end to RLIMIT_MEMLOCK and then fails. Locking only marks (MLOCK_ONFAULT)
 * and charges, which is quick; whoever wants the pages there has them read afterwards.
 */

#include "mapping/cache.h"

/**
 * mapping_lock() - lock [@offset, @offset + @length), now and in windows to come; returns with them read
 * @source: the file
 *
 * Return: 0, -EINTR when stopped, -errno of mlock2(2) with nothing more locked than before, -ENOMEM past
 * WINDOW_SPLITS, or as mapping_preload().
 */
int mapping_lock(struct mapping *mapping, const struct window_source *source, uint64_t offset,
		 uint64_t length, const struct mapping_stop *stop);

/** mapping_unlock() - unlock a range. Return: 0 or -ENOMEM. Locks: mapping->lock. */
int mapping_unlock(struct mapping *mapping, uint64_t offset, uint64_t length);

/** mapping_unlock_all() - unlock the file, which nothing is to keep in memory any more. Locks: mapping->lock. */
void mapping_unlock_all(struct mapping *mapping);

/**
 * mapping_lock_again() - map and lock what is to be locked and is not: the file has grown, or windows went
 *
 * Return: as mapping_lock(), except that what was locked stays so.
 */
int mapping_lock_again(struct mapping *mapping, const struct window_source *source,
		       const struct mapping_stop *stop);

/** mapping_locked() - bytes of the file's windows that are locked. Locks: mapping->lock. */
uint64_t mapping_locked(struct mapping *mapping);

/** mapping_locked_in() - as mapping_locked(), of a range that begins and ends with a page */
uint64_t mapping_locked_in(struct mapping *mapping, uint64_t offset, uint64_t length);

/** mapping_wants_locks() - is anything of the file to be locked? A hint; takes no lock. */
bool mapping_wants_locks(const struct mapping *mapping);

#endif
