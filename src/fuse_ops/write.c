/* SPDX-License-Identifier: MIT */
/*
 * A write goes into the page cache by pwrite(2) or by stores into windows; both are the same pages. Stores
 * are for media that are the page cache itself: on a disk a store dirties a whole folio. They change
 * bytes inside the file only; whatever extends it, or must clear set-id bits, is a pwrite.
 *
 * A write that has to be on disk is a pwrite and an fdatasync. One call with RWF_DSYNC was measured beside
 * them and is no faster (4 KiB, ext4: 276 µs and 280, O_DSYNC 284), and would not tell a write that failed from
 * a sync that did.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#include "creds.h"
#include "file.h"
#include "fuse_ops/ops.h"
#include "log.h"
#include "mapping/guard.h"
#include "pager.h"
#include "policy.h"
#include "session.h"
#include "sync.h"

static bool is_direct(const struct file *file)
{
	return atomic_load_explicit(&file->direct_access, memory_order_relaxed);
}

static bool stores_to_windows(const struct open_file *open)
{
	if (open->fs->medium == MEDIUM_HUGE_PAGES)
		return true;
	switch (file_policy(open->file)->writes) {
	case WRITES_PWRITE:
		return false;
	case WRITES_WINDOW:
		return true;
	case WRITES_AUTO:
		break;
	}
	return open->fs->medium == MEDIUM_MEMORY || is_direct(open->file);
}

/* What pwritev2(2) has to be told. */
static int call_flags(const struct fs *fs, const struct fuse_file_info *fi)
{
	/* The kernel's own write-back has nothing of the descriptor it borrows but its number; and where it
	 * collects writes it alone knows where the file ends. */
	return !fi->writepage && !fs->options.writeback && (fi->flags & O_APPEND) ? RWF_APPEND : 0;
}

static ssize_t write_by_call(int fd, const char *data, size_t size, uint64_t offset, int flags)
{
	struct iovec iov = {(void *)data, size};
	ssize_t put;

	do {
		put = flags == 0 ? pwrite(fd, data, size, (off_t)offset)
				 : pwritev2(fd, &iov, 1, (off_t)offset, flags);
	} while (put < 0 && errno == EINTR);
	return put < 0 ? -errno : put;
}

/* A store clears no set-id bit and no capability: is there any that the write must clear? */
static bool loses_privileges(int fd, const struct stat *info)
{
	if (info->st_mode & (S_ISUID | S_ISGID))
		return true;
	return (info->st_mode & 0111) && fgetxattr(fd, "security.capability", NULL, 0) >= 0;
}

/* As write(2) does. hugetlbfs keeps no capabilities. */
static int drop_privileges(int fd, const struct stat *info)
{
	mode_t gone = S_ISUID | (info->st_mode & S_IXGRP ? S_ISGID : 0);

	return fchmod(fd, info->st_mode & 07777 & ~gone) < 0 ? -errno : 0;
}

/*
 * Stores what lies inside the file; returns how many bytes that were. The rest is for pwrite(2), where there is
 * one; *@ret_error, positive, says what stopped before that. *@ret_lasting: they are on the medium, as the file
 * is in DAX mode and its windows are mapped with MAP_SYNC.
 */
static size_t write_by_windows(const struct open_file *open, int fd, const char *data, size_t size,
			       uint64_t offset, bool *ret_lasting, int *ret_error)
{
	struct window_source source = {.fd = fd, .writable = true, .growing = true, .store = true};
	struct timespec now[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}};
	struct stat info;
	size_t done = 0, inside;

	*ret_error = EINVAL;
	if (atomic_load(&open->inode->write_only) || fstat(fd, &info) < 0 || offset >= (uint64_t)info.st_size)
		return 0;
	if (loses_privileges(fd, &info) &&
	    (open->fs->medium != MEDIUM_HUGE_PAGES || drop_privileges(fd, &info) < 0))
		return 0;
	source.size = (uint64_t)info.st_size;
	source.direct = is_direct(open->file);
	*ret_lasting = source.direct;
	inside = MIN(size, (uint64_t)info.st_size - offset);
	while (done < inside) {
		struct window_pin pin = {0};
		int result = mapping_pin(&open->file->mapping, &source, offset + done, inside - done, &pin);

		if (result < 0) {
			*ret_error = -result;
			break;
		}
		result = guarded_copy(pin.bytes, data + done, pin.length);
		if (result == 0 && pin.lasting)
			result = guarded_persist(pin.bytes, pin.length);
		if (result == 0)
			done += pin.length;
		*ret_lasting &= pin.lasting;
		window_unpin(&pin);
		if (result < 0) {
			*ret_error = ENOSPC;
			break;
		}
	}
	/* Truncated meanwhile: what was stored past the end is gone and has to be written, which extends
	 * the file again, as a write that comes after the truncation does. */
	if (done > 0 && (fstat(fd, &info) < 0 || offset + done > (uint64_t)info.st_size))
		return 0;
	if (done > 0 && futimens(fd, now) < 0)
		log_debug("futimens: a store moved no mtime");
	return done;
}

/* hugetlbfs has no write(2) for what windows cannot do: neither for a store that fails nor past the end. */
static ssize_t refuse_rest(const struct open_file *open, int error)
{
	if (error == EINVAL && !atomic_exchange(&open->fs->extend_said, true)) {
		CLEANUP(free_pointer) char *name = inode_name(open->fs, open->inode);

		log_warning("write '%s': a write extends no file of hugetlbfs, which has them in whole huge "
			    "pages; ftruncate(2) does",
			    name == NULL ? "?" : name);
	}
	return -error;
}

static void count_failure(const struct open_file *open, ssize_t error)
{
	if (error == -ENOSPC || error == -EDQUOT)
		fs_count(open->fs, FAULTS_NOSPACE, 1);
	else if (error == -EIO)
		fs_count(open->fs, FAULTS_IO, 1);
}

/* *@ret_lasting: all of it is on the medium, so that there is nothing to sync. */
static ssize_t write_file(fuse_req_t req, const struct open_file *open, const char *data, size_t size,
			  uint64_t offset, const struct fuse_file_info *fi, bool *ret_lasting)
{
	CLEANUP(creds_restore) struct creds creds = {0};
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	int flags = call_flags(open->fs, fi);
	bool stores = stores_to_windows(open) && flags == 0;
	int error = EINVAL;
	const struct stat *known;
	struct stat info;
	size_t done = 0;
	ssize_t rest = 0;
	bool loses;
	int result;

	op_begin_write(open);
	result = inode_fd(open->fs, open->inode, FD_WRITE, &use);

	if (result < 0)
		return result;
	known = file_change_begin(open->file, use.fd, &info);
	loses = op_become_writer(req, use.fd, known, !request_current()->kill_setid, size, &creds);
	/* Where there is no write(2), nobody needs to be anybody else. */
	if (open->fs->medium == MEDIUM_HUGE_PAGES)
		creds_restore(&creds);
	/* The times of a store are set by the daemon, which owns every file. */
	stores &= !creds.changed;
	if (stores)
		done = write_by_windows(open, use.fd, data, size, offset, ret_lasting, &error);
	if (done < size && open->fs->medium == MEDIUM_HUGE_PAGES) {
		*ret_lasting = false;
		rest = refuse_rest(open, error);
	} else if (done < size) {
		*ret_lasting = false;
		fs_count(open->fs, IO_WRITE_FALLBACKS, stores);
		rest = write_by_call(use.fd, data + done, size - done, offset + done, flags);
	}
	file_change_end(open->file, use.fd);
	creds_restore(&creds);
	if (loses)
		op_setid_lost(open->fs, open->inode);
	if (rest < 0) {
		count_failure(open, rest);
		return done > 0 ? (ssize_t)done : rest;
	}
	return (ssize_t)done + rest;
}

/*
 * Where an append landed, at most: BACKING may have more, or fewer, bytes than the kernel believed
 * when it chose the offset.
 */
static struct extent written_extent(const struct open_file *open, const struct fuse_file_info *fi,
				    uint64_t offset, uint64_t length)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct extent extent = {offset, offset + length};
	struct stat info;

	if (!(call_flags(open->fs, fi) & RWF_APPEND) || inode_fd(open->fs, open->inode, FD_WRITE, &use) < 0 ||
	    fstat(use.fd, &info) < 0)
		return extent;
	/* The kernel has put the bytes into its cache at the offset it chose. Where it caches nothing there is
	 * nothing to drop, and attributes that are on their way when it is told to are not believed: it would
	 * go on with a wrong size. */
	if ((uint64_t)info.st_size != extent.end && open->fs->options.cache != CACHE_NONE) {
		file_note_foreign(open->file);
		session_forget_later(open->fs->session, open->inode->nodeid);
	}
	extent.end = MAX(extent.end, (uint64_t)info.st_size);
	extent.start = MIN(extent.start, (uint64_t)info.st_size - MIN((uint64_t)info.st_size, length));
	return extent;
}

int op_sync_flags(const struct fs *fs, int flags)
{
	return fs->options.fsync == FSYNC_IGNORE ? 0 : flags & O_SYNC;
}

/*
 * O_SYNC or O_DSYNC where the write has to wait for the disk. With the kernel's cache it does so by an FSYNC
 * after the write, for all requests that it was cut into.
 */
static int sync_flags(const struct open_file *open, const struct fuse_file_info *fi)
{
	return fi->writepage || !open->handle->direct ? 0 : op_sync_flags(open->fs, fi->flags);
}

/*
 * Is this request the rest of a write(2) that was too large for one? When a later piece fails, write(2)
 * returns the bytes of the earlier ones and drops the error, which must not pass for told then. A piece ends at
 * a page, and earlier than the largest request only where the write began inside one.
 */
static bool is_continued(struct handle *handle, uint64_t offset, size_t size)
{
	uint64_t end = offset + size;
	bool may_go_on = end % page_size() == 0 &&
			 (size >= MAX_WRITE - page_size() || offset % page_size() != 0);
	uint64_t before = atomic_exchange(&handle->write_end, may_go_on ? end : 0);

	return before != 0 && before == offset;
}

/* The kernel's write-back of a mapped store tells nobody but fsync(2) and msync(2), and may be asked by neither. */
static void report_write_back(const struct open_file *open, uint64_t offset, size_t size, int error)
{
	CLEANUP(free_pointer) char *name = inode_name(open->fs, open->inode);

	fs_count(open->fs, SYNC_ERRORS, 1);
	fs_count(open->fs, SYNC_LOST_BYTES, size);
	log_error("write back '%s' offset %llu length %zu: %s; what was stored there is lost",
		  name == NULL ? "?" : name, (unsigned long long)offset, size, strerror(error));
}

void op_finish_write(fuse_req_t req, const struct open_file *open, const struct fuse_file_info *fi,
		     size_t size, uint64_t offset, ssize_t put, const struct extent *extent, bool lasting)
{
	int flags = sync_flags(open, fi), result = 0, told;
	bool synced = !fi->writepage &&
		      ((flags & O_DSYNC) || file_policy(open->file)->sync == SYNC_IMMEDIATE);
	bool continued, failed = false;

	if (put < 0 && fi->writepage)
		report_write_back(open, offset, size, (int)-put);
	if (put > 0) {
		pager_written(open->file, extent->end);
		/* O_SYNC is about the times as well. */
		if (lasting && (flags & O_SYNC) != O_SYNC)
			fs_count(open->fs, SYNC_BYTES, (uint64_t)put);
		else
			result = sync_written(open->fs, open->inode, open->file, extent->start,
					      extent->end - extent->start, flags, &failed);
	}
	if (put > 0 && synced) {
		/* The pieces of several writes cannot be told apart; a rule may have come to ask for a sync since
		 * the file was opened. */
		continued = open->handle->parallel || is_continued(open->handle, offset, size);
		told = sync_error(open->fs, open->inode, open->file, open->handle, !continued);
		result = result < 0 ? result : told;
	}
	if (put < 0 || result < 0) {
		fuse_reply_err(req, put < 0 ? (int)-put : -result);
		return;
	}
	fs_count(open->fs, IO_WRITES, 1);
	fs_count(open->fs, IO_WRITE_BYTES, (uint64_t)put);
	file_count_io(open->file, (uint64_t)put, true);
	fuse_reply_write(req, (size_t)put);
}

void op_write(fuse_req_t req, fuse_ino_t nodeid, const char *data, size_t size, off_t offset,
	      struct fuse_file_info *fi)
{
	struct open_file open;
	struct extent extent = {0, 0};
	bool lasting = false;
	ssize_t put;

	if (!op_begin_open(req, nodeid, fi, &open))
		return;
	put = write_file(req, &open, data, size, (uint64_t)offset, fi, &lasting);
	op_end_write(&open);
	/* The kernel copies a write into its cache before it sends it. Where pages are dropped meanwhile because
	 * of others, the old ones may have been read again, and have come to stay. */
	if (!fi->writepage && file_is_contended(open.file) && file_policy(open.file)->cache == CACHE_AUTO &&
	    atomic_load(&open.fs->skips_opens))
		session_forget_later(open.fs->session, nodeid);
	if (put > 0)
		extent = written_extent(&open, fi, (uint64_t)offset, (uint64_t)put);
	op_finish_write(req, &open, fi, size, (uint64_t)offset, put, &extent, lasting);
}
