/* SPDX-License-Identifier: MIT */
/* Attributes: GETATTR, which also answers STATX, and SETATTR. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "creds.h"
#include "file.h"
#include "fuse_ops/ops.h"
#include "layer/layer.h"
#include "protocol.h"
#include "session.h"
#include "sync.h"

int op_statx(struct fs *fs, struct inode *inode, struct statx *ret_stx)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	int result;

	if (fs->layer != NULL)
		return layer_statx(fs, inode, ret_stx);
	result = inode_fd(fs, inode, FD_PATH, &use);
	if (result < 0)
		return result;
	if (statx(use.fd, "", AT_EMPTY_PATH | fs->statx_flags, STATX_BASIC_STATS | STATX_BTIME, ret_stx) < 0)
		return -errno;
	return 0;
}

static struct protocol_sx_time sx_time(const struct statx_timestamp *time)
{
	return (struct protocol_sx_time){.tv_sec = time->tv_sec, .tv_nsec = time->tv_nsec};
}

static void reply_statx(fuse_req_t req, const struct statx *stx, double timeout)
{
	struct fs *fs = op_fs(req);
	struct protocol_statx_out out = {
		.attr_valid = (uint64_t)timeout,
		.attr_valid_nsec = (uint32_t)((timeout - (double)(uint64_t)timeout) * 1e9),
		.stat =
			{
				.mask = stx->stx_mask,
				.blksize = stx->stx_blksize,
				.attributes = stx->stx_attributes,
				.attributes_mask = stx->stx_attributes_mask,
				.nlink = stx->stx_nlink,
				.uid = stx->stx_uid,
				.gid = stx->stx_gid,
				.mode = stx->stx_mode,
				.ino = inode_number(fs, makedev(stx->stx_dev_major, stx->stx_dev_minor),
						    stx->stx_ino),
				.size = stx->stx_size,
				.blocks = stx->stx_blocks,
				.atime = sx_time(&stx->stx_atime),
				.btime = sx_time(&stx->stx_btime),
				.ctime = sx_time(&stx->stx_ctime),
				.mtime = sx_time(&stx->stx_mtime),
				.rdev_major = stx->stx_rdev_major,
				.rdev_minor = stx->stx_rdev_minor,
			},
	};

	fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

void op_reply_attributes(fuse_req_t req, const struct statx *stx, double timeout)
{
	struct stat attr;

	op_stat(op_fs(req), stx, &attr);
	fuse_reply_attr(req, &attr, timeout);
}

/* An answer that waits until the kernel has dropped what it cached of the file. */
struct late_attributes {
	fuse_req_t req;
	struct statx stx;
	bool wants_statx;
	double timeout;
};

static void reply_late(void *context)
{
	struct late_attributes *late = context;

	if (late->wants_statx)
		reply_statx(late->req, &late->stx, late->timeout);
	else
		op_reply_attributes(late->req, &late->stx, late->timeout);
	free(late);
}

/* Where the pages are older than the attributes, an answer that waits for them to be dropped; else NULL. */
static struct late_attributes *be_late(fuse_req_t req, struct inode *inode, const struct statx *stx,
				       double timeout)
{
	struct timespec mtime = {stx->stx_mtime.tv_sec, stx->stx_mtime.tv_nsec};
	struct late_attributes *late = NULL;

	if (op_cache_is_old(op_fs(req), inode, -1, (off_t)stx->stx_size, &mtime, false))
		late = malloc(sizeof(*late));
	if (late != NULL)
		*late = (struct late_attributes){req, *stx, request_current()->wants_statx, timeout};
	return late;
}

void op_getattr(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi)
{
	struct fs *fs = op_fs(req);
	struct inode *inode = op_begin(req, nodeid);
	struct late_attributes *late;
	uint64_t moment;
	struct statx stx;
	double timeout;
	int result;

	(void)fi;
	if (inode == NULL)
		return;
	/* Whoever asks again is likely to go on asking. */
	moment = watch_look(fs, inode);
	result = op_statx(fs, inode, &stx);
	if (result < 0) {
		fuse_reply_err(req, -result);
		return;
	}
	timeout = watch_trust(fs, moment, inode)->attr_s;
	late = be_late(req, inode, &stx, timeout);
	if (late != NULL)
		session_forget_first(fs->session, nodeid, reply_late, late);
	else if (request_current()->wants_statx)
		reply_statx(req, &stx, timeout);
	else
		op_reply_attributes(req, &stx, timeout);
}

static int set_owner(fuse_req_t req, int fd, const struct stat *attr, int to_set)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct stat info;
	int result;
	uid_t uid = to_set & FUSE_SET_ATTR_UID ? attr->st_uid : (uid_t)-1;
	gid_t gid = to_set & FUSE_SET_ATTR_GID ? attr->st_gid : (gid_t)-1;

	if (fstat(fd, &info) < 0)
		return -errno;
	/* The kernel always says that set-id bits go here; in truth root and the file's group keep a
	 * set-group-id bit without group execution. */
	creds_keep_setid(op_fs(req), ctx->uid == 0 || op_in_group(req, info.st_gid));
	result = fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
	creds_keep_setid(op_fs(req), true);
	return result;
}

/*
 * The kernel also asks for nothing before some writes to files with set-id bits or capabilities, whoever writes:
 * what those take away the write does. So only who may change the owner is taken at his word.
 */
static int set_nothing(fuse_req_t req, int fd)
{
	struct stat info;

	if (fstat(fd, &info) < 0)
		return -errno;
	return op_is_owner(req, info.st_uid) ? set_owner(req, fd, NULL, 0) : 0;
}

/* A descriptor opened with O_PATH takes no fchmod(2); its link in /proc does. */
static int set_mode(struct fs *fs, int fd, mode_t mode)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", fd);
	return fchmodat(fs->proc_fd, number, mode & 07777, 0) < 0 ? -errno : 0;
}

static int set_size(fuse_req_t req, struct inode *inode, off_t size)
{
	CLEANUP(creds_restore) struct creds creds = {0};
	struct fs *fs = op_fs(req);
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	const struct stat *known;
	struct stat info;
	struct file *file;
	bool failed;
	int result = file_get(fs, inode, &file);

	if (result == 0)
		result = inode_fd(fs, inode, FD_WRITE, &use);
	if (result < 0)
		return result;
	known = file_change_begin(file, use.fd, &info);
	op_become_writer(req, use.fd, known, !request_current()->kill_setid, 0, &creds);
	if (ftruncate(use.fd, size) < 0)
		result = -errno;
	creds_restore(&creds);
	file_change_end(file, use.fd);
	if (result == 0)
		mapping_resized(&file->mapping, (uint64_t)size);
	fd_use_end(&use);
	/* The last byte stands for the new size. That its sync failed is told by fsync(2) and close(2): the
	 * kernel would take an error for a file that has its old size. */
	if (result == 0)
		sync_written(fs, inode, file, size == 0 ? 0 : (uint64_t)size - 1, 1, 0, &failed);
	file_drop_writing(fs, inode, file);
	return result;
}

static int set_times(int fd, const struct stat *attr, int to_set)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};

	if (to_set & FUSE_SET_ATTR_ATIME_NOW)
		times[0].tv_nsec = UTIME_NOW;
	else if (to_set & FUSE_SET_ATTR_ATIME)
		times[0] = attr->st_atim;
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		times[1].tv_nsec = UTIME_NOW;
	else if (to_set & FUSE_SET_ATTR_MTIME)
		times[1] = attr->st_mtim;
	return utimensat(fd, "", times, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

static int set_attributes(fuse_req_t req, struct inode *inode, const struct stat *attr, int to_set)
{
	struct fs *fs = op_fs(req);
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct file *file = file_peek(inode);
	struct stat info;
	int result = 0;

	/* SIZE first: its descriptor serves the others. The owner before the mode: a change of owner
	 * clears set-id bits that the same request may set. */
	if (to_set & FUSE_SET_ATTR_SIZE)
		result = set_size(req, inode, attr->st_size);
	if (result == 0)
		result = inode_fd(fs, inode, FD_PATH, &use);
	if (file != NULL)
		file_change_begin(file, use.fd, &info);
	creds_keep_setid(fs, true);
	if (result == 0 && to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		result = set_owner(req, use.fd, attr, to_set);
	if (result == 0 && op_sets_nothing(to_set))
		result = set_nothing(req, use.fd);
	if (result == 0 && to_set & FUSE_SET_ATTR_MODE)
		result = set_mode(fs, use.fd, attr->st_mode);
	if (result == 0 && to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW |
				     FUSE_SET_ATTR_MTIME_NOW))
		result = set_times(use.fd, attr, to_set);
	if (file != NULL)
		file_change_end(file, use.fd);
	return result;
}

void op_setattr(fuse_req_t req, fuse_ino_t nodeid, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct fs *fs = op_fs(req);
	struct inode *inode = op_begin(req, nodeid);
	uint64_t moment = watch_moment(fs);
	struct statx stx;
	int result;

	(void)fi;
	if (inode == NULL || !op_changes(req))
		return;
	result = set_attributes(req, inode, attr, to_set);
	sync_attributes_changed(fs);
	if (result == 0)
		result = op_statx(fs, inode, &stx);
	if (result < 0)
		fuse_reply_err(req, -result);
	else
		op_reply_attributes(req, &stx, watch_trust(fs, moment, inode)->attr_s);
}
