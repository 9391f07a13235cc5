/* SPDX-License-Identifier: MIT */
/* The list of dirty inodes: what waits for the next round of syncs. */
#include <time.h>

#include "file.h"
#include "fs.h"
#include "inode.h"
#include "policy.h"
#include "sync.h"
#include "util.h"

static uint64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Puts the inode on the list of dirty ones, unless it is there. The caller holds the inode. */
void sync_later(struct fs *fs, struct inode *inode)
{
	/* Whoever takes it off the list clears the flag first and looks at what is dirty afterwards, so it
	 * is either still to be synced with this one, or put on the list again. */
	if (atomic_load(&inode->queued))
		return;
	LOCK_SCOPE(&fs->dirty_lock);
	if (!atomic_load(&inode->queued)) {
		atomic_store(&inode->queued, true);
		inode_ref(inode);
		inode->dirty_since_ms = clock_ms();
		inode->dirty_next = fs->dirty;
		fs->dirty = inode;
	}
}

/* When the inode has to be synced at the latest. A directory follows the mount, a file its rules. */
static uint64_t due_ms(const struct fs *fs, struct inode *inode)
{
	const struct file *file = file_peek(inode);
	const struct policy *policy = file == NULL ? &fs->policies.mount : file_policy(file);

	return inode->dirty_since_ms + policy->sync_interval_ms;
}

struct inode *sync_take(struct fs *fs, uint64_t due_by_ms)
{
	struct inode *taken = NULL, **link = &fs->dirty, *inode;

	LOCK_SCOPE(&fs->dirty_lock);
	while ((inode = *link) != NULL) {
		if (due_by_ms != SYNC_TAKE_ALL && due_ms(fs, inode) > due_by_ms) {
			link = &inode->dirty_next;
			continue;
		}
		*link = inode->dirty_next;
		inode->dirty_next = taken;
		taken = inode;
	}
	return taken;
}

size_t sync_waiting(struct fs *fs)
{
	size_t count = atomic_load(&fs->unsynced);

	LOCK_SCOPE(&fs->dirty_lock);
	for (const struct inode *inode = fs->dirty; inode != NULL; inode = inode->dirty_next)
		count++;
	return count;
}
