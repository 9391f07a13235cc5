/* SPDX-License-Identifier: MIT */
/* Opening and closing regular files, and making them durable on request. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "creds.h"
#include "file.h"
#include "fuse_ops/ops.h"
#include "handle.h"
#include "log.h"
#include "mapping/sync.h"
#include "pager.h"
#include "passthrough.h"
#include "session.h"
#include "sync.h"
#include "unopened.h"

static bool honors_fsync(const struct fs *fs)
{
	return fs->options.fsync == FSYNC_HONOR;
}

/*
 * Where others changed it, the kernel's idea of its size is as old as the pages, and neither OPEN nor a
 * notification can correct that: only attributes in a reply can. The answer ESTALE makes the kernel look the
 * name up again, with attributes, and open once more (do_filp_open(), Linux); nobody else sees it.
 */
int op_cache_flags(fuse_req_t req, struct file *file, bool created, int fd, struct fuse_file_info *fi)
{
	enum cache_verdict verdict;

	switch (file_policy(file)->cache) {
	case CACHE_NONE:
		fi->direct_io = 1;
		break;
	case CACHE_ALWAYS:
		fi->keep_cache = 1;
		break;
	case CACHE_AUTO:
		verdict = file_cache_judge(file, fd, flags_write(fi->flags), fuse_req_ctx(req)->pid);
		/* Where the kernel collects writes it takes no size from us. */
		if (verdict == VERDICT_TELL && !created && !op_fs(req)->options.writeback)
			return -ESTALE;
		fi->keep_cache = verdict == VERDICT_KEEP;
		break;
	}
	return 0;
}

static int truncate_backing(fuse_req_t req, struct inode *inode, struct file *file, int fd)
{
	CLEANUP(creds_restore) struct creds creds = {0};
	const struct stat *known;
	struct stat info;
	int result = 0;
	bool failed, loses;

	known = file_change_begin(file, fd, &info);
	loses = op_become_writer(req, fd, known, !request_current()->kill_setid, 0, &creds);
	if (ftruncate(fd, 0) < 0)
		result = -errno;
	creds_restore(&creds);
	file_change_end(file, fd);
	if (loses)
		op_setid_lost(op_fs(req), inode);
	if (result < 0)
		return result;
	mapping_resized(&file->mapping, 0);
	/* A failure is told by fsync(2) and close(2), as of SETATTR. */
	sync_written(op_fs(req), inode, file, 0, 1, 0, &failed);
	return 0;
}

static int open_backing(fuse_req_t req, struct handle *handle, struct file *file, bool created,
			struct fuse_file_info *fi)
{
	struct fs *fs = op_fs(req);
	struct inode *inode = handle->inode;
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct statx stx;
	int flags = fi->flags;
	int result = inode_fd(fs, inode, flags_write(flags) || (flags & O_TRUNC) ? FD_WRITE : FD_READ, &use);

	if (result < 0)
		return result;
	if (flags & O_TRUNC)
		result = truncate_backing(req, inode, file, use.fd);
	if (result < 0)
		return result;
	if (flags_write(flags) && statx(use.fd, "", AT_EMPTY_PATH | fs->statx_flags, STATX_TYPE, &stx) == 0)
		atomic_store_explicit(&file->direct_access, stx.stx_attributes & STATX_ATTR_DAX,
				      memory_order_relaxed);
	if (handle->unseen)
		return 0;
	return op_cache_flags(req, file, created, use.fd, fi);
}

/*
 * May the kernel send several writes of a handle at once? It orders those that append or extend the file all the
 * same (fuse_dio_wr_exclusive_lock(), Linux), and BACKING orders what one pwrite(2) writes. But of a write that is
 * larger than one request others see parts, as they do on a disk file system under O_DIRECT, and only there. And
 * the pieces of a synchronous write are told by the order they come in, for whom its error is told.
 */
static bool may_write_in_parallel(const struct fs *fs, struct file *file, const struct fuse_file_info *fi)
{
	return fi->direct_io && flags_write(fi->flags) && (fi->flags & O_DIRECT) && fs->layer == NULL &&
	       op_sync_flags(fs, fi->flags) == 0 && file_policy(file)->sync != SYNC_IMMEDIATE;
}

/* The descriptor that made the file serves its first writes. */
static void keep_created(struct fs *fs, struct inode *inode, int *created)
{
	struct fd_use use;

	pager_descriptor(inode, *created);
	fd_slot_fill(&fs->fds, &inode->slots[FD_WRITE], inode, FD_WRITE, *created, &use);
	fd_use_end(&use);
	*created = -1;
}

/* CREATE where the kernel tells of no open: there is no handle, and RELEASE will not come. */
static int open_without_handle(fuse_req_t req, struct inode *inode, int *created, struct fuse_file_info *fi)
{
	struct fs *fs = op_fs(req);
	struct open_file open = {.fs = fs, .inode = inode};
	int result = unopened_file(fs, inode, &open.file, &open.handle);

	if (result < 0)
		return result;
	fi->fh = 0;
	fi->keep_cache = 1;
	if (!flags_write(fi->flags) && !(fi->flags & O_TRUNC))
		return 0;
	op_begin_write(&open);
	if (created != NULL)
		keep_created(fs, inode, created);
	if (fi->flags & O_TRUNC) {
		CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;

		result = inode_fd(fs, inode, FD_WRITE, &use);
		if (result == 0)
			result = truncate_backing(req, inode, open.file, use.fd);
	}
	op_end_write(&open);
	return result;
}

/*
 * May close(2) of this handle go without FLUSH? Where all that FLUSH would do is find nothing to sync, no error to
 * tell and no lock to release. A lock set through the handle nevertheless goes with RELEASE; see op_setlk().
 */
static bool closes_silently(struct fs *fs, struct handle *handle, struct file *file)
{
	return !handle_writes(handle) && !(handle->flags & O_TRUNC) && atomic_load(&file->writers) == 0 &&
	       !atomic_load(&file->unseen) && !atomic_load(&file->readers_lock) &&
	       atomic_load(&file->syncing) == 0 && file_policy(file)->sync != SYNC_LAZY &&
	       mapping_dirty_bytes(&file->mapping) == 0 &&
	       sync_error(fs, handle->inode, file, handle, false) == 0;
}

int op_open_handle(fuse_req_t req, struct inode *inode, int *created, struct fuse_file_info *fi)
{
	struct fs *fs = op_fs(req);
	struct handle *handle;
	struct file *file;
	int result;

	if (atomic_load_explicit(&fs->skips_opens, memory_order_relaxed))
		return open_without_handle(req, inode, created, fi);
	result = file_get(fs, inode, &file);
	if (result < 0)
		return result;
	result = handle_new(&fs->handle_table, inode, fi->flags, &handle);
	if (result < 0)
		return result;
	inode_ref(inode);
	pager_apply(fs, inode, file);
	/* An opener first: from here on nobody lets the descriptor for writing go. */
	file_open(file, handle);
	atomic_fetch_add(&fs->writers, flags_write(fi->flags));
	if (created != NULL && flags_write(fi->flags))
		keep_created(fs, inode, created);
	handle->unseen =
		passthrough_open(fs, inode, file, flags_write(fi->flags), &request_current()->backing);
	result = open_backing(req, handle, file, created != NULL, fi);
	handle->direct = fi->direct_io;
	handle->parallel = may_write_in_parallel(fs, file, fi);
	request_current()->parallel = handle->parallel;
	if (result < 0) {
		request_current()->backing = 0;
		request_current()->parallel = false;
		op_close_handle(fs, handle->id);
		return result;
	}
	if ((fi->flags & O_TRUNC) && !flags_write(fi->flags))
		file_drop_writing(fs, inode, file);
	if (handle->unseen)
		pager_map(fs, inode, file);
	handle->silent = closes_silently(fs, handle, file);
	fi->noflush = handle->silent;
	fi->fh = handle->id;
	return 0;
}

void op_close_handle(struct fs *fs, uint64_t id)
{
	struct handle *handle = handle_find(&fs->handle_table, id);
	struct inode *inode;
	bool unseen;

	if (handle == NULL)
		return;
	inode = handle->inode;
	unseen = handle->unseen && handle_writes(handle);
	atomic_fetch_sub(&fs->writers, handle_writes(handle));
	file_close(fs, inode, file_peek(inode), handle);
	passthrough_close(fs, inode, file_peek(inode), unseen);
	handle_free(&fs->handle_table, handle);
	inode_unref(fs, inode);
}

void op_open(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi)
{
	struct fs *fs = op_fs(req);
	struct inode *inode = op_begin(req, nodeid);
	int result;

	if (inode == NULL)
		return;
	/* The kernel asks no more after this. */
	if (atomic_load_explicit(&fs->skips_opens, memory_order_relaxed)) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	/* The kernel may cache pages of it from here on. */
	watch_look(fs, inode);
	if (fs->read_only && (flags_write(fi->flags) || (fi->flags & O_TRUNC)))
		result = -EROFS;
	else
		result = op_open_handle(req, inode, NULL, fi);
	if (result < 0)
		fuse_reply_err(req, -result);
	else if (fuse_reply_open(req, fi) < 0)
		op_close_handle(fs, fi->fh);
}

void op_release_handle(fuse_req_t req, uint64_t id, void (*close)(struct fs *fs, uint64_t id))
{
	struct fs *fs = op_fs(req);
	struct handle *handle = handle_find(&fs->handle_table, id);

	if (handle != NULL) {
		op_locks_release_handle(file_peek(handle->inode), id);
		/* What was stored through a mapping that outlived the last close. */
		sync_closing(fs, handle->inode, file_peek(handle->inode));
	}
	close(fs, id);
	fuse_reply_err(req, 0);
}

void op_release(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi)
{
	(void)nodeid;
	op_release_handle(req, fi->fh, op_close_handle);
}

/* A network file system tells of failed writes when a descriptor is closed. */
static int close_remote(struct fs *fs, struct inode *inode)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;

	if (fs->medium != MEDIUM_REMOTE || !fd_slot_use(&fs->fds, &inode->slots[FD_WRITE], &use))
		return 0;
	return close(dup(use.fd)) < 0 ? -errno : 0;
}

void op_flush(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi)
{
	struct open_file open;
	int result, remote, told;

	if (atomic_load_explicit(&op_fs(req)->skips_opens, memory_order_relaxed)) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	if (!op_begin_open(req, nodeid, fi, &open))
		return;
	op_locks_release(open.file, fi->lock_owner);
	result = sync_closing(open.fs, open.inode, open.file);
	remote = close_remote(open.fs, open.inode);
	told = sync_error(open.fs, open.inode, open.file, open.handle, false);
	result = told < 0 ? told : result < 0 ? result : remote;
	fuse_reply_err(req, -result);
}

void op_fsync(fuse_req_t req, fuse_ino_t nodeid, int datasync, struct fuse_file_info *fi)
{
	struct open_file open;

	int result = 0, told;
	bool failed;

	if (!op_begin_open(req, nodeid, fi, &open))
		return;
	if (honors_fsync(open.fs)) {
		result = sync_file(open.fs, open.inode, open.file, datasync, &failed);
		/* What could not be tried has told nothing of what failed before. */
		told = result < 0 && !failed ? 0
					     : sync_error(open.fs, open.inode, open.file, open.handle, true);
		result = result < 0 ? result : told;
	}
	fuse_reply_err(req, -result);
}
