/* SPDX-License-Identifier: MIT */
#include "sync.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "active.h"
#include "file.h"
#include "fs.h"
#include "layer/keep.h"
#include "layer/layer.h"
#include "layer/serve.h"
#include "log.h"
#include "mapping/sync.h"
#include "policy.h"
#include "util.h"

/* An extent over more windows than this is synced by descriptor: each window costs an mmap and a msync. */
#define SYNC_WINDOWS 16

/* A layer in memory has no disk. */
static bool is_never_synced(const struct fs *fs)
{
	return fs->layer != NULL && !fs->layer->kept;
}

static void ask_for_round(struct fs *fs)
{
	int64_t limit = (int64_t)MIN(fs->options.sync_bytes, (uint64_t)INT64_MAX);

	if (limit == 0 || atomic_load_explicit(&fs->dirty_bytes, memory_order_relaxed) < limit)
		return;
	if (fs->ask_to_sync != NULL && !atomic_exchange(&fs->sync_asked, true))
		fs->ask_to_sync(fs->ask_context);
}

int sync_written(struct fs *fs, struct inode *inode, struct file *file, uint64_t offset, uint64_t length,
		 int flags, bool *ret_failed)
{
	const struct policy *policy = file_policy(file);
	int64_t growth = 0;
	bool now = (flags & O_DSYNC) || policy->sync == SYNC_IMMEDIATE, noted;

	*ret_failed = false;
	if (length == 0 || is_never_synced(fs) || (policy->sync == SYNC_NEVER && !now))
		return 0;
	/* Noted first, in any case: a sync that fails tells of what it took. */
	noted = mapping_mark_dirty(&file->mapping, offset, length, &growth) == 0;
	atomic_fetch_add_explicit(&fs->dirty_bytes, growth, memory_order_relaxed);
	/* Nobody may come to close a file that nobody has open. */
	if (now || !noted || (policy->sync == SYNC_LAZY && atomic_load(&file->openers) == 0))
		return sync_file(fs, inode, file, (flags & O_SYNC) != O_SYNC, ret_failed);
	if (policy->sync == SYNC_PERIODIC) {
		sync_later(fs, inode);
		ask_for_round(fs);
	}
	return 0;
}

/* The file's dirty extents, whose bytes count as being synced until they are given to settle(). */
static uint64_t take_dirty(struct fs *fs, struct file *file, struct dirty_set *ret_set)
{
	uint64_t bytes;

	mapping_take_dirty(&file->mapping, ret_set);
	bytes = dirty_bytes(ret_set);
	atomic_fetch_add(&fs->syncing_bytes, (int64_t)bytes);
	atomic_fetch_sub(&fs->dirty_bytes, (int64_t)bytes);
	return bytes;
}

/* Whoever sees that nothing is being synced any more can ask how it ended: a failure is recorded before. */
static void settle(struct fs *fs, uint64_t bytes, bool synced)
{
	atomic_fetch_sub(&fs->syncing_bytes, (int64_t)bytes);
	fs_count(fs, synced ? SYNC_BYTES : SYNC_LOST_BYTES, bytes);
}

static void report_lost(struct fs *fs, struct inode *inode, struct file *file, const struct extent *extent,
			int error)
{
	CLEANUP(free_pointer) char *name = inode_name(fs, inode);

	/* The kernel may forget the inode, but not who has to be told. */
	if (!atomic_exchange(&file->kept, true))
		inode_ref(inode);
	file_error_record(file, -error, extent);
	atomic_store(&fs->sync_failed, true);
	fs_count(fs, SYNC_ERRORS, 1);
	log_error("sync '%s' offset %llu length %llu: %s; what was written there may be lost",
		  name == NULL ? "?" : name, (unsigned long long)extent->start,
		  (unsigned long long)(extent->end - extent->start), strerror(-error));
}

int sync_error(struct fs *fs, struct inode *inode, struct file *file, struct handle *handle, bool consume)
{
	int result = file_error_check(file, handle, consume);

	/* The caller's request holds the inode. */
	if (consume && result < 0 && atomic_exchange(&file->kept, false))
		inode_unref(fs, inode);
	return result;
}

/*
 * The kernel tells a failure once to each open file description, and the daemon has several of a file: the
 * others would tell it again, as if it were a new one. New ones are opened when they are needed; those of a
 * file that cannot be opened again are asked here, while the sync that failed is still active.
 */
static void forget_told(struct fs *fs, struct inode *inode, struct file *file)
{
	if (fs->layer != NULL)
		return;
	mapping_drop(&file->mapping, false);
	if (inode->handle != NULL && inode_hold(fs, inode) == 0) {
		fd_slot_close(&fs->fds, &inode->slots[FD_READ]);
		fd_slot_close(&fs->fds, &inode->slots[FD_WRITE]);
		return;
	}
	for (int kind = FD_READ; kind <= FD_WRITE; kind++) {
		CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;

		if (fd_slot_use(&fs->fds, &inode->slots[kind], &use) && fdatasync(use.fd) < 0)
			log_debug("the same failure once more: %s", strerror(errno));
	}
}

/* A descriptor to sync by: any will do, but who may only write a file cannot open it for reading. */
static int sync_fd(struct fs *fs, struct inode *inode, struct fd_use *ret_use)
{
	int result = inode_fd(fs, inode, FD_READ, ret_use);

	return result == -EACCES ? inode_fd(fs, inode, FD_WRITE, ret_use) : result;
}

/* May the object not be opened any more, as an ordinary user's after a chmod? Then all of BACKING is synced. */
static bool is_unopenable(int error)
{
	return error == -EACCES || error == -EPERM;
}

/* All file systems that BACKING consists of. It waits for what others wrote there, too. */
int sync_mounts(struct fs *fs)
{
	int result = 0, count;

	pthread_mutex_lock(&fs->mounts.lock);
	count = fs->mounts.count;
	pthread_mutex_unlock(&fs->mounts.lock);
	for (int i = 0; i < count; i++) {
		if (fs->mounts.mount[i].fd < 0)
			continue;
		fs_count(fs, SYNC_MSYNCS, 1);
		if (syncfs(fs->mounts.mount[i].fd) < 0)
			result = -errno;
	}
	return result;
}

static int sync_descriptor(struct fs *fs, int fd, bool datasync)
{
	fs_count(fs, SYNC_MSYNCS, 1);
	return (datasync ? fdatasync(fd) : fsync(fd)) < 0 ? -errno : 0;
}

static int sync_in_layer(struct fs *fs, struct inode *inode)
{
	LAYER_SERVE_SCOPE(fs);
	fs_count(fs, SYNC_MSYNCS, 1);
	return keep_sync(fs, inode);
}

static struct extent hull(const struct dirty_set *set, size_t first)
{
	struct extent extent = {0, 0};

	if (first < set->count)
		extent = (struct extent){set->extents[first].start, set->extents[set->count - 1].end};
	return extent;
}

/* Nothing was tried: what was taken is dirty again. */
static void put_back(struct fs *fs, struct inode *inode, struct file *file, const struct dirty_set *set,
		     size_t first)
{
	for (size_t i = first; i < set->count; i++) {
		uint64_t length = set->extents[i].end - set->extents[i].start;
		int64_t growth = 0;

		if (mapping_mark_dirty(&file->mapping, set->extents[i].start, length, &growth) < 0)
			report_lost(fs, inode, file, &set->extents[i], -ENOMEM);
		atomic_fetch_sub(&fs->syncing_bytes, (int64_t)length);
		atomic_fetch_add(&fs->dirty_bytes, growth);
	}
}

int sync_file(struct fs *fs, struct inode *inode, struct file *file, bool datasync, bool *ret_failed)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct active_sync active;
	struct dirty_set written;
	struct extent lost;
	struct stat info;
	uint64_t bytes;
	bool unseen;
	int result;

	*ret_failed = false;
	if (is_never_synced(fs))
		return 0;
	result = fs->layer != NULL ? 0 : sync_fd(fs, inode, &use);
	if (result < 0 && !is_unopenable(result))
		return result;
	active_begin(fs, file, &active);
	/* Taken before the sync: what is written meanwhile stays dirty. */
	unseen = atomic_exchange(&file->unseen, atomic_load(&file->unseen_writers) > 0);
	bytes = take_dirty(fs, file, &written);
	if (fs->layer != NULL)
		result = sync_in_layer(fs, inode);
	else
		result = result < 0 ? sync_mounts(fs) : sync_descriptor(fs, use.fd, datasync);
	if (result < 0) {
		lost = hull(&written, 0);
		/* Nobody kept track of what was written: it may be any of it. */
		if ((file_policy(file)->sync == SYNC_NEVER || unseen) && use.fd >= 0 &&
		    fstat(use.fd, &info) == 0)
			lost = (struct extent){0, (uint64_t)info.st_size};
		fd_use_end(&use);
		report_lost(fs, inode, file, &lost, result);
		forget_told(fs, inode, file);
		*ret_failed = true;
	}
	settle(fs, bytes, result == 0);
	active_end(fs, &active);
	active_wait(fs, file);
	return result;
}

int sync_closing(struct fs *fs, struct inode *inode, struct file *file)
{
	bool failed;

	if (file_policy(file)->sync != SYNC_LAZY || is_never_synced(fs))
		return 0;
	if (mapping_dirty_bytes(&file->mapping) == 0 && !atomic_load(&file->unseen)) {
		active_wait(fs, file);
		return 0;
	}
	/* fsync(2), not fdatasync(2): it takes the name of a new file along. */
	return sync_file(fs, inode, file, false, &failed);
}

/*
 * One extent. Through windows while somebody has the file open for writing, as only a mapping from a
 * writable descriptor can be synced and only then one may be kept; by descriptor otherwise.
 *
 * Return: 0, or -errno with *@ret_tried telling whether that is the sync's own.
 */
static int sync_extent(struct fs *fs, struct inode *inode, struct file *file, struct extent *extent,
		       bool *ret_tried)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	bool writable = atomic_load(&file->writers) > 0 && !atomic_load(&inode->write_only);
	struct window_source source = {.writable = true, .growing = true};
	uint64_t lost = extent->end;
	struct stat info;
	int result;

	*ret_tried = true;
	if (fs->layer != NULL)
		return sync_in_layer(fs, inode);
	result = writable ? inode_fd(fs, inode, FD_WRITE, &use) : sync_fd(fs, inode, &use);
	*ret_tried = is_unopenable(result);
	/* Removed, and nobody has it open: there is nothing left to lose. */
	if (result == -ESTALE && atomic_load(&file->openers) == 0)
		return 0;
	if (result < 0)
		return is_unopenable(result) ? sync_mounts(fs) : result;
	*ret_tried = true;
	/* An extent past the end stands for the truncation that cut it off. */
	if (!writable || fstat(use.fd, &info) < 0 || extent->start >= (uint64_t)info.st_size ||
	    (extent->end - extent->start) / fs->options.window_size >= SYNC_WINDOWS)
		return sync_descriptor(fs, use.fd, true);
	source.fd = use.fd;
	source.size = (uint64_t)info.st_size;
	result = mapping_msync(&file->mapping, &source, extent, &lost);
	if (result < 0 && lost == extent->end)
		return sync_descriptor(fs, use.fd, true);
	fs_count(fs, SYNC_MSYNCS, 1);
	if (result < 0)
		extent->start = lost;
	return result;
}

static void say_put_off(struct fs *fs, struct inode *inode, int error)
{
	CLEANUP(free_pointer) char *name = inode_name(fs, inode);

	log_warning("cannot sync '%s' now: %s; it is tried again", name == NULL ? "?" : name,
		    strerror(-error));
}

static int sync_extents(struct fs *fs, struct inode *inode, struct file *file)
{
	struct active_sync active;
	struct dirty_set set;
	struct extent lost;
	size_t first_lost = SIZE_MAX;
	uint64_t lost_bytes = 0;
	int result = 0;
	bool tried;

	active_begin(fs, file, &active);
	take_dirty(fs, file, &set);
	for (size_t i = 0; i < set.count; i++) {
		uint64_t length = set.extents[i].end - set.extents[i].start;
		int error = sync_extent(fs, inode, file, &set.extents[i], &tried);

		if (error < 0 && !tried) {
			say_put_off(fs, inode, error);
			put_back(fs, inode, file, &set, i);
			set.count = i;
			sync_later(fs, inode);
			result = result < 0 ? result : error;
			break;
		}
		/* The kernel tells a failure once, whichever page of the file it was: what is synced after
		 * it without one is not known to be there either. */
		if (error < 0 && first_lost == SIZE_MAX) {
			first_lost = i;
			result = error;
		}
		if (first_lost == SIZE_MAX)
			settle(fs, length, true);
		else
			lost_bytes += length;
	}
	if (first_lost != SIZE_MAX) {
		lost = hull(&set, first_lost);
		report_lost(fs, inode, file, &lost, result);
		settle(fs, lost_bytes, false);
		forget_told(fs, inode, file);
	}
	active_end(fs, &active);
	/* The last writer may have closed meanwhile and must not leave a writable mapping behind. */
	file_drop_writing(fs, inode, file);
	return result;
}

static int sync_names(struct fs *fs, struct inode *directory)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	CLEANUP(free_pointer) char *name = NULL;
	int result = fs->layer != NULL ? sync_in_layer(fs, directory)
				       : inode_fd(fs, directory, FD_READ, &use);

	/* Removed in the meantime, or not for an ordinary user to open. */
	if (result == -ESTALE || result == -ENOENT)
		return 0;
	if (fs->layer == NULL && is_unopenable(result))
		result = sync_mounts(fs);
	else if (fs->layer == NULL && result == 0)
		result = sync_descriptor(fs, use.fd, false);
	if (result < 0) {
		atomic_store(&fs->sync_failed, true);
		name = inode_name(fs, directory);
		fs_count(fs, SYNC_ERRORS, 1);
		log_error("sync directory '%s': %s; changes of names there may be lost",
			  name == NULL ? "?" : name, strerror(-result));
	}
	return result;
}

void sync_names_changed(struct fs *fs, struct inode *directory)
{
	if (is_never_synced(fs))
		return;
	/* A directory has no rules of its own. */
	if (fs->options.sync == SYNC_IMMEDIATE) {
		sync_names(fs, directory);
	} else if (fs->options.sync == SYNC_PERIODIC) {
		atomic_store(&directory->names_dirty, true);
		sync_later(fs, directory);
	}
}

void sync_unseen(struct fs *fs, struct inode *inode, struct file *file)
{
	atomic_store(&file->unseen, true);
	if (file_policy(file)->sync == SYNC_PERIODIC)
		sync_later(fs, inode);
}

void sync_unseen_end(struct fs *fs, struct inode *inode, struct file *file)
{
	if (file_policy(file)->sync == SYNC_PERIODIC)
		sync_unseen(fs, inode, file);
	else
		atomic_store(&file->unseen, false);
}

static int sync_what_is_unseen(struct fs *fs, struct inode *inode, struct file *file)
{
	bool failed;
	int result = sync_file(fs, inode, file, true, &failed);

	/* Removed, and nobody has it open: there is nothing left to lose. */
	if (result == -ESTALE && !failed && atomic_load(&file->openers) == 0)
		return 0;
	if (result < 0 && !failed)
		say_put_off(fs, inode, result);
	if (atomic_load(&file->unseen_writers) > 0 || (result < 0 && !failed))
		sync_unseen(fs, inode, file);
	return result;
}

int sync_inode(struct fs *fs, struct inode *inode)
{
	struct file *file = file_peek(inode);
	int result = 0, error;

	atomic_store(&inode->queued, false);
	if (atomic_exchange(&inode->names_dirty, false))
		result = sync_names(fs, inode);
	if (file != NULL && atomic_load(&file->unseen))
		result = sync_what_is_unseen(fs, inode, file);
	if (file != NULL && mapping_dirty_bytes(&file->mapping) > 0)
		result = sync_extents(fs, inode, file);
	/* Where nothing of a write is noted but that there was one. */
	if (fs->layer != NULL && result == 0 && (error = sync_in_layer(fs, inode)) < 0)
		result = error;
	return result;
}

void sync_attributes_changed(struct fs *fs)
{
	if (!atomic_load_explicit(&fs->attributes_dirty, memory_order_relaxed))
		atomic_store_explicit(&fs->attributes_dirty, true, memory_order_relaxed);
}
