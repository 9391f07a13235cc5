/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_ACTIVE_H
#define MEMMAPFS_ACTIVE_H

/*
 * The syncs that have begun and not said yet how they ended. The kernel tells a failure once, to the first
 * that asks: whoever answers a client after a sync that returned 0 first waits until those that ran beside
 * it have recorded what they were told.
 */

#include <stdint.h>

struct file;
struct fs;

/* On the stack of the thread that syncs. */
struct active_sync {
	struct active_sync *next; /* protected by fs->sync_lock */
	struct file *file;
	uint64_t ticket;
};

/** active_begin() - before anything of the file is taken to be synced. Locks: fs->sync_lock. */
void active_begin(struct fs *fs, struct file *file, struct active_sync *active);

/** active_end() - the sync has recorded how it ended. Locks: fs->sync_lock. */
void active_end(struct fs *fs, struct active_sync *active);

/**
 * active_wait() - wait for the syncs of the file that have begun by now; later ones do not matter
 *
 * Locks: fs->sync_lock, only where there are any.
 */
void active_wait(struct fs *fs, struct file *file);

#endif
