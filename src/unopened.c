/* SPDX-License-Identifier: MIT */
#include "unopened.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

#include "file.h"
#include "fs.h"
#include "handle.h"
#include "inode.h"
#include "pager.h"
#include "util.h"

/* So long after its last write a file has no writer any more. */
#define LINGER_MS 300
/* Where the daemon may lose the right to open the file for writing, while a program is still at it. */
#define LINGER_UNPRIVILEGED_MS 10000

static uint64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The shared handle, made by the first request. */
static int make_shared(struct fs *fs, struct inode *inode, struct file *file)
{
	struct handle *handle = calloc(1, sizeof(*handle)), *none = NULL;

	if (handle == NULL)
		return -ENOMEM;
	handle->inode = inode;
	handle->flags = O_RDWR;
	handle->fd = -1;
	atomic_init(&handle->flock_fd, -1);
	if (atomic_compare_exchange_strong(&file->shared, &none, handle))
		pager_apply(fs, inode, file);
	else
		free(handle);
	return 0;
}

int unopened_file(struct fs *fs, struct inode *inode, struct file **ret_file, struct handle **ret_handle)
{
	struct file *file;
	int result = file_get(fs, inode, &file);

	if (result == 0 && atomic_load_explicit(&file->shared, memory_order_acquire) == NULL)
		result = make_shared(fs, inode, file);
	if (result < 0)
		return result;
	*ret_file = file;
	*ret_handle = atomic_load_explicit(&file->shared, memory_order_acquire);
	return 0;
}

int unopened_hold(struct fs *fs, struct inode *inode)
{
	if (!atomic_load_explicit(&fs->skips_opens, memory_order_relaxed) || !S_ISREG(inode->type))
		return 0;
	return inode_hold(fs, inode);
}

int unopened_lookup(struct fs *fs, struct inode *directory, const char *name, struct found *ret_found)
{
	int result;

	for (int tries = 0; tries < REPLACED_TRIES; tries++) {
		result = inode_lookup(fs, directory, name, ret_found);
		if (result < 0 || unopened_hold(fs, ret_found->inode) != -ESTALE)
			return result;
		inode_forget(fs, ret_found->inode->nodeid, 1);
	}
	return -ESTALE;
}

/* What an open for writing would have asked. */
static void note_medium(struct fs *fs, struct inode *inode, struct file *file)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct statx stx;

	if (inode_fd(fs, inode, FD_PATH, &use) == 0 &&
	    statx(use.fd, "", AT_EMPTY_PATH | fs->statx_flags, STATX_TYPE, &stx) == 0)
		atomic_store_explicit(&file->direct_access, stx.stx_attributes & STATX_ATTR_DAX,
				      memory_order_relaxed);
}

void unopened_write(struct fs *fs, struct inode *inode, struct file *file)
{
	atomic_store_explicit(&file->wrote_ms, clock_ms(), memory_order_relaxed);
	if (atomic_load(&file->lingers))
		return;
	pthread_mutex_lock(&fs->linger_lock);
	if (!atomic_load(&file->lingers)) {
		file_add_writer(file);
		inode_ref(inode);
		file->linger_next = fs->lingering;
		fs->lingering = file;
		atomic_store(&file->lingers, true);
	}
	pthread_mutex_unlock(&fs->linger_lock);
	note_medium(fs, inode, file);
	if (fs->file_lingers != NULL)
		fs->file_lingers(fs->ask_context);
}

void unopened_written(struct fs *fs, struct inode *inode, struct file *file)
{
	if (atomic_load(&file->writers) == 0)
		file_drop_writing(fs, inode, file);
}

bool unopened_may_store(const struct fs *fs)
{
	return atomic_load(&((struct fs *)fs)->skips_opens) && !fs->read_only;
}

void unopened_settle(struct fs *fs)
{
	uint64_t now = clock_ms(), linger_ms = fs->handles ? LINGER_MS : LINGER_UNPRIVILEGED_MS;
	struct file *settled = NULL, **link = &fs->lingering, *file;

	pthread_mutex_lock(&fs->linger_lock);
	while ((file = *link) != NULL) {
		uint64_t wrote = atomic_load_explicit(&file->wrote_ms, memory_order_relaxed);

		if (wrote + linger_ms > now) {
			link = &file->linger_next;
			continue;
		}
		*link = file->linger_next;
		file->linger_next = settled;
		settled = file;
	}
	pthread_mutex_unlock(&fs->linger_lock);
	while ((file = settled) != NULL) {
		struct inode *inode = file->inode;

		settled = file->linger_next;
		/* Before the writer goes: a write that comes now counts itself in anew. */
		atomic_store(&file->lingers, false);
		file_remove_writer(fs, inode, file);
		inode_unref(fs, inode);
	}
}

bool unopened_lingers(struct fs *fs)
{
	LOCK_SCOPE(&fs->linger_lock);
	return fs->lingering != NULL;
}
