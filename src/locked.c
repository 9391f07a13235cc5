/* SPDX-License-Identifier: MIT */
#include "locked.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "file.h"
#include "fs.h"
#include "inode.h"
#include "layer/layer.h"
#include "mapping/lock.h"
#include "util.h"

/* So many files are looked at in each round. */
#define LOOKS 1024
#define CAPACITY_MIN 16

void locked_init(struct locked_files *locked, size_t max)
{
	pthread_mutex_init(&locked->lock, NULL);
	locked->max = max;
}

void locked_fini(struct locked_files *locked)
{
	free(locked->inodes);
	pthread_mutex_destroy(&locked->lock);
}

bool locked_is_held(const struct file *file)
{
	return file != NULL && atomic_load(&file->held_locked);
}

static int make_room_locked(struct locked_files *locked)
{
	size_t count = atomic_load(&locked->count), capacity = MAX(2 * locked->capacity, CAPACITY_MIN);
	struct inode **inodes;

	if (count >= locked->max)
		return -ENOLCK;
	if (count < locked->capacity)
		return 0;
	inodes = realloc(locked->inodes, capacity * sizeof(inodes[0]));
	if (inodes == NULL)
		return -ENOMEM;
	locked->inodes = inodes;
	locked->capacity = capacity;
	return 0;
}

int locked_hold(struct fs *fs, struct inode *inode, struct file *file)
{
	struct locked_files *locked = &fs->locked;
	int result;

	LOCK_SCOPE(&locked->lock);
	if (atomic_load(&file->held_locked))
		return 0;
	result = make_room_locked(locked);
	if (result < 0)
		return result;
	inode_ref(inode);
	locked->inodes[atomic_fetch_add(&locked->count, 1)] = inode;
	atomic_store(&file->held_locked, true);
	return 0;
}

static bool remove_locked(struct locked_files *locked, const struct inode *inode, struct file *file)
{
	size_t last = atomic_load(&locked->count) - 1, at = last;

	if (!atomic_load(&file->held_locked) || mapping_wants_locks(&file->mapping))
		return false;
	/* From the end: what was locked last is likely to be unlocked first. */
	while (locked->inodes[at] != inode)
		at--;
	locked->inodes[at] = locked->inodes[last];
	atomic_store(&locked->count, last);
	atomic_store(&file->held_locked, false);
	return true;
}

void locked_settle(struct fs *fs, struct inode *inode, struct file *file)
{
	bool removed;

	pthread_mutex_lock(&fs->locked.lock);
	removed = remove_locked(&fs->locked, inode, file);
	pthread_mutex_unlock(&fs->locked.lock);
	if (removed)
		inode_unref(fs, inode);
}

static bool is_nameless(struct fs *fs, struct inode *inode)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct statx stx;
	struct stat info;
	int result;

	if (fs->layer != NULL)
		return layer_statx(fs, inode, &stx) == 0 && stx.stx_nlink == 0;
	result = inode_fd(fs, inode, FD_PATH, &use);
	return result == -ESTALE || (result == 0 && fstat(use.fd, &info) == 0 && info.st_nlink == 0);
}

static void unlock_nameless(struct fs *fs, struct inode *inode)
{
	struct file *file = file_peek(inode);

	if (!locked_is_held(file) || !is_nameless(fs, inode))
		return;
	mapping_unlock_all(&file->mapping);
	locked_settle(fs, inode, file);
}

void locked_forgotten(struct fs *fs, struct inode *inode)
{
	unlock_nameless(fs, inode);
	inode_unref(fs, inode);
}

static bool may_be_in_use(struct fs *fs, struct inode *inode)
{
	const struct file *file = file_peek(inode);

	/* Without opens only the kernel can tell, by forgetting the inode. */
	return atomic_load(&file->shared) != NULL ? inode_is_looked_up(fs, inode)
						  : atomic_load(&file->openers) > 0;
}

static struct inode *take_next(struct locked_files *locked)
{
	struct inode *inode;
	size_t count;

	LOCK_SCOPE(&locked->lock);
	count = atomic_load(&locked->count);
	if (count == 0)
		return NULL;
	locked->next = locked->next + 1 < count ? locked->next + 1 : 0;
	inode = locked->inodes[locked->next];
	inode_ref(inode);
	return inode;
}

void locked_look(struct fs *fs)
{
	size_t looks = MIN(LOOKS, atomic_load(&fs->locked.count));
	struct inode *inode;

	for (; looks > 0 && (inode = take_next(&fs->locked)) != NULL; looks--) {
		if (!may_be_in_use(fs, inode))
			unlock_nameless(fs, inode);
		inode_unref(fs, inode);
	}
}
