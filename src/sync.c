/* SPDX-License-Identifier: MIT */
#include "sync.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "fs.h"
#include "log.h"
#include "mapping/sync.h"
#include "util.h"

/* An extent over more windows than this is synced by descriptor: each window costs an mmap and a msync. */
#define SYNC_WINDOWS 16

int sync_note_write(struct fs *fs, struct inode *inode, struct file *file, uint64_t offset, uint64_t length)
{
	int64_t growth;
	int result;

	if (fs->options.sync == SYNC_NEVER || length == 0)
		return 0;
	result = mapping_mark_dirty(&file->mapping, offset, length, &growth);
	if (result < 0)
		return result;
	atomic_fetch_add_explicit(&fs->dirty_bytes, growth, memory_order_relaxed);
	/* Whoever takes it off the list clears the flag first and looks at the extents afterwards, so it
	 * is either still to be synced with this one, or put on the list again. */
	if (atomic_load(&inode->queued))
		return 0;
	LOCK_SCOPE(&fs->dirty_lock);
	if (!atomic_load(&inode->queued)) {
		atomic_store(&inode->queued, true);
		inode_ref(inode);
		inode->dirty_next = fs->dirty;
		fs->dirty = inode;
	}
	return 0;
}

void sync_forget_bytes(struct fs *fs, uint64_t bytes)
{
	atomic_fetch_sub_explicit(&fs->dirty_bytes, (int64_t)bytes, memory_order_relaxed);
}

struct inode *sync_take(struct fs *fs)
{
	struct inode *list;

	LOCK_SCOPE(&fs->dirty_lock);
	list = fs->dirty;
	fs->dirty = NULL;
	return list;
}

static void report_lost(struct fs *fs, struct inode *inode, struct file *file, const struct extent *extent,
			int error)
{
	CLEANUP(free_pointer) char *name = inode_name(fs, inode);

	file_error_record(file, -error);
	fs_count(fs, SYNC_ERRORS, 1);
	log_error("sync '%s' offset %llu length %llu: %s; what was written there may be lost",
		  name == NULL ? "?" : name, (unsigned long long)extent->start,
		  (unsigned long long)(extent->end - extent->start), strerror(-error));
}

/* All that is dirty of the file, by its descriptor. */
static int sync_descriptor(struct fs *fs, int fd)
{
	fs_count(fs, SYNC_MSYNCS, 1);
	return fdatasync(fd) < 0 ? -errno : 0;
}

/*
 * One extent. Through windows while somebody has the file open for writing, as only a mapping from a
 * writable descriptor can be synced and only then one may be kept; by descriptor otherwise.
 */
static int sync_extent(struct fs *fs, struct inode *inode, struct file *file, struct extent *extent)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	bool writable = atomic_load(&file->writers) > 0 && !atomic_load(&inode->write_only);
	struct window_source source = {.writable = true, .growing = true};
	uint64_t lost = extent->end;
	struct stat info;
	int result;

	result = inode_fd(fs, inode, writable ? FD_WRITE : FD_READ, &use);
	if (result == -EACCES)
		result = inode_fd(fs, inode, FD_WRITE, &use); /* a write-only file of an ordinary user */
	/* Removed, and nobody has it open: there is nothing left to lose. */
	if (result == -ESTALE && atomic_load(&file->openers) == 0)
		return 0;
	if (result < 0)
		return result;
	if (!writable || fstat(use.fd, &info) < 0 ||
	    (extent->end - extent->start) / fs->options.window_size >= SYNC_WINDOWS)
		return sync_descriptor(fs, use.fd);
	source.fd = use.fd;
	source.size = (uint64_t)info.st_size;
	result = mapping_msync(&file->mapping, &source, extent, &lost);
	if (result < 0 && lost == extent->end)
		return sync_descriptor(fs, use.fd);
	fs_count(fs, SYNC_MSYNCS, 1);
	if (result < 0)
		extent->start = lost;
	return result;
}

int sync_inode(struct fs *fs, struct inode *inode)
{
	struct file *file = file_peek(inode);
	struct dirty_set set;
	int result = 0;

	atomic_store(&inode->queued, false);
	mapping_take_dirty(&file->mapping, &set);
	for (size_t i = 0; i < set.count; i++) {
		uint64_t length = set.extents[i].end - set.extents[i].start;
		int error = sync_extent(fs, inode, file, &set.extents[i]);

		if (error < 0) {
			report_lost(fs, inode, file, &set.extents[i], error);
			result = error;
		} else {
			fs_count(fs, SYNC_BYTES, length);
		}
		sync_forget_bytes(fs, length);
	}
	/* The last writer may have closed meanwhile and must not leave a writable mapping behind. */
	file_drop_writing(fs, inode, file);
	return result;
}

int sync_all(struct fs *fs)
{
	struct inode *inode = sync_take(fs), *next;
	int result = 0;

	/* Nobody kept track of what sync=never wrote. */
	if (fs->options.sync == SYNC_NEVER && !fs->read_only && syncfs(fs->mounts.mount[0].fd) < 0)
		result = -errno;
	for (; inode != NULL; inode = next) {
		int error;

		next = inode->dirty_next;
		error = sync_inode(fs, inode);
		inode_unref(fs, inode);
		if (error < 0)
			result = error;
	}
	return result;
}
