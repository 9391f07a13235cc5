/* SPDX-License-Identifier: MIT */
/*
 * What concerns more than one file: a round of syncs, whose files go to the disk together, and the last sync.
 *
 * A sync of a new file writes the file system's journal as well, for where its blocks lie. One after the other,
 * many small files write it again and again: on ext4 3,000 files of 8 KB became 45 MB on disk in eight threads
 * and 89 MB in one. Where the write-back of all of them has begun before the first one is synced, they share what
 * the first one commits, and it is 26 MB, as natively.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "file.h"
#include "fs.h"
#include "layer/keep.h"
#include "layer/layer.h"
#include "layer/serve.h"
#include "log.h"
#include "session.h"
#include "sync.h"
#include "util.h"

/* Fewer files than this are synced as they come. */
#define BATCH_MIN 8

static void begin(struct fs *fs, struct inode *inode)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;

	/* What cannot be opened, or fails, is the sync's own to meet, and to report. */
	if (file_peek(inode) != NULL && inode_fd(fs, inode, FD_READ, &use) == 0 &&
	    sync_file_range(use.fd, 0, 0, SYNC_FILE_RANGE_WRITE) < 0)
		log_debug("sync_file_range: %s", strerror(errno));
}

bool sync_is_batch(const struct inode *first)
{
	size_t count = 0;

	for (; first != NULL && count < BATCH_MIN; first = first->dirty_next)
		count++;
	return count == BATCH_MIN;
}

void sync_begin_all(struct fs *fs, struct inode *first)
{
	if (fs->medium != MEDIUM_DISK || fs->layer != NULL || !sync_is_batch(first))
		return;
	for (struct inode *inode = first; inode != NULL; inode = inode->dirty_next)
		begin(fs, inode);
}

void sync_begin_batch(struct fs *fs)
{
	sync_begin_all(fs, fs->batch);
}

void sync_fetch(struct fs *fs)
{
	int result = session_flush_clients(fs->session);

	if (result < 0)
		log_error("syncfs '%s': %s", fs->mount_path, strerror(-result));
}

/* What was written under sync=never is on no list, and until it is in the record of a file it is nowhere. */
static void save_in_layer(struct fs *fs, struct inode *inode)
{
	LAYER_SERVE_SCOPE(fs);
	struct node *node = layer_peek(inode);
	int result = node == NULL ? 0 : layer_save(fs, inode, node);

	if (result < 0) {
		CLEANUP(free_pointer) char *name = inode_name(fs, inode);

		atomic_store(&fs->sync_failed, true);
		fs_count(fs, SYNC_ERRORS, 1);
		log_error("save '%s' in the layer: %s", name == NULL ? "?" : name, strerror(-result));
	}
}

/* What nobody kept track of. */
static int sync_backing(struct fs *fs, bool needed)
{
	int result;

	if (fs->layer != NULL && fs->layer->kept) {
		inode_each_file(fs, save_in_layer);
		/* Until those that somebody else was saving have got into the database. */
		layer_stop_begin(fs);
		layer_stop_end(fs);
	}
	if (fs->layer != NULL)
		return keep_commit(fs);
	if (fs->read_only || (!needed && !atomic_load(&fs->attributes_dirty) &&
			      (fs->options.sync == SYNC_PERIODIC || fs->options.sync == SYNC_IMMEDIATE) &&
			      fs->options.rules == NULL))
		return 0;
	result = sync_mounts(fs);
	if (result < 0)
		log_error("syncfs '%s': %s", fs->backing_path, strerror(-result));
	return result;
}

int sync_all(struct fs *fs, bool running)
{
	struct inode *first = sync_take(fs, SYNC_TAKE_ALL);
	int result = 0, error;
	bool put_off;

	for (const struct inode *inode = first; inode != NULL; inode = inode->dirty_next)
		atomic_fetch_add(&fs->unsynced, 1);
	sync_begin_all(fs, first);
	for (struct inode *inode = first, *next; inode != NULL; inode = next) {
		next = inode->dirty_next;
		error = sync_inode(fs, inode);
		inode_unref(fs, inode);
		atomic_fetch_sub(&fs->unsynced, 1);
		if (error < 0)
			result = error;
	}
	/* What could not be opened is synced with everything else. */
	pthread_mutex_lock(&fs->dirty_lock);
	put_off = fs->dirty != NULL;
	pthread_mutex_unlock(&fs->dirty_lock);
	error = sync_backing(fs, put_off || running);
	if (put_off && !atomic_load(&fs->sync_failed))
		result = 0;
	return error < 0 ? error : result;
}
