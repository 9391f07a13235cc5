/* SPDX-License-Identifier: MIT */
/* Holes, allocation and copies between files. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "creds.h"
#include "file.h"
#include "fuse_ops/ops.h"
#include "sync.h"

void op_fallocate(fuse_req_t req, fuse_ino_t nodeid, int mode, off_t offset, off_t length,
		  struct fuse_file_info *fi)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	CLEANUP(creds_restore) struct creds creds = {0};
	const struct stat *known;
	struct open_file open;
	struct stat info;
	bool failed = false, loses;
	int result;

	if (!op_changes(req) || !op_begin_open(req, nodeid, fi, &open))
		return;
	op_begin_write(&open);
	result = inode_fd(open.fs, open.inode, FD_WRITE, &use);
	if (result == 0) {
		/* The kernel does not say whether the caller may keep set-id bits here, as it does for
		 * writes: only root may. */
		known = file_change_begin(open.file, use.fd, &info);
		loses = op_become_writer(req, use.fd, known, fuse_req_ctx(req)->uid == 0, (uint64_t)length,
					 &creds);
		if (fallocate(use.fd, mode, offset, length) < 0)
			result = -errno;
		creds_restore(&creds);
		file_change_end(open.file, use.fd);
		if (loses)
			op_setid_lost(open.fs, open.inode);
	}
	if (result == 0 && fstat(use.fd, &info) == 0) {
		uint64_t end = MAX((uint64_t)offset + (uint64_t)length, (uint64_t)info.st_size);

		/* Collapsing and inserting move everything behind the offset. */
		result = sync_written(open.fs, open.inode, open.file, (uint64_t)offset,
				      end - (uint64_t)offset, 0, &failed);
		if (failed)
			sync_error(open.fs, open.inode, open.file, open.handle, true);
		mapping_resized(&open.file->mapping, (uint64_t)info.st_size);
	}
	fd_use_end(&use);
	op_end_write(&open);
	fuse_reply_err(req, -result);
}

void op_lseek(fuse_req_t req, fuse_ino_t nodeid, off_t offset, int whence, struct fuse_file_info *fi)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct open_file open;
	off_t found = -1;
	int result;

	/* What the kernel has collected lies in no hole, whatever BACKING has there: let it call all data. */
	if (op_fs(req)->options.writeback) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	if (!op_begin_open(req, nodeid, fi, &open))
		return;
	/* The others depend on a position, which the kernel keeps and never asks for. */
	result = whence == SEEK_DATA || whence == SEEK_HOLE ? 0 : -EINVAL;
	if (result == 0)
		result = inode_fd(open.fs, open.inode, FD_READ, &use);
	if (result == 0) {
		found = lseek(use.fd, offset, whence);
		result = found < 0 ? -errno : 0;
	}
	fd_use_end(&use);
	if (result < 0)
		fuse_reply_err(req, -result);
	else
		fuse_reply_lseek(req, found);
}

void op_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t in_offset, struct fuse_file_info *in_fi,
			fuse_ino_t out, off_t out_offset, struct fuse_file_info *out_fi, size_t length,
			int flags)
{
	CLEANUP(fd_use_end) struct fd_use from = FD_USE_NONE;
	CLEANUP(fd_use_end) struct fd_use to = FD_USE_NONE;
	CLEANUP(creds_restore) struct creds creds = {0};
	struct open_file source, target;
	const struct stat *known;
	struct stat info;
	off_t start = out_offset;
	ssize_t copied = 0;
	bool failed = false, loses;
	int result;

	if (!op_changes(req) || !op_begin_open(req, in, in_fi, &source) ||
	    !op_begin_open(req, out, out_fi, &target))
		return;
	op_begin_write(&target);
	result = inode_fd(source.fs, source.inode, FD_READ, &from);
	if (result == 0)
		result = inode_fd(target.fs, target.inode, FD_WRITE, &to);
	if (result == 0) {
		known = file_change_begin(target.file, to.fd, &info);
		loses = op_become_writer(req, to.fd, known, fuse_req_ctx(req)->uid == 0, length, &creds);
		copied = copy_file_range(from.fd, &in_offset, to.fd, &out_offset, length, (unsigned)flags);
		if (copied < 0)
			result = -errno;
		/* Then the kernel copies by reads and writes. */
		if (result == -EINVAL && target.fs->medium == MEDIUM_HUGE_PAGES)
			result = -EOPNOTSUPP;
		creds_restore(&creds);
		file_change_end(target.file, to.fd);
		if (loses)
			op_setid_lost(target.fs, target.inode);
	}
	if (result == 0)
		result = sync_written(target.fs, target.inode, target.file, (uint64_t)start, (uint64_t)copied,
				      0, &failed);
	if (failed)
		sync_error(target.fs, target.inode, target.file, target.handle, true);
	fd_use_end(&from);
	fd_use_end(&to);
	op_end_write(&target);
	if (result < 0)
		fuse_reply_err(req, -result);
	else
		fuse_reply_write(req, (size_t)copied);
}
