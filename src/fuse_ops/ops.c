/* SPDX-License-Identifier: MIT */
#include "fuse_ops/ops.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "file.h"
#include "handle.h"
#include "log.h"
#include "session.h"
#include "straight.h"
#include "unopened.h"

#define MAX_BACKGROUND 64

static void want(struct fuse_conn_info *conn, unsigned capability, bool wanted)
{
	if (wanted)
		conn->want |= capability & conn->capable;
	else
		conn->want &= ~capability;
}

/* Answered with ENOSYS, an OPEN is the last one; a kernel that does not say so takes that for an error. */
static void decide_opens(struct fs *fs, const struct fuse_conn_info *conn)
{
	bool can = conn->capable & FUSE_CAP_NO_OPEN_SUPPORT;

	if (fs->options.opens == OPENS_SKIP && !can)
		log_warning("opens=skip: this kernel tells of every open all the same");
	atomic_store(&fs->skips_opens, fs->options.opens == OPENS_SKIP && can);
	/* The kernel then keeps listings, and takes a directory's times for a sign that they are right: of use where
	 * it trusts them for long, as it asks for names and attributes together only where it has no listing. A
	 * file system in memory may number entries anew between two requests. */
	atomic_store(&fs->skips_opendirs, watch_is_whole(fs) && fs->medium == MEDIUM_DISK &&
						  fs->options.cache != CACHE_NONE &&
						  (conn->capable & FUSE_CAP_NO_OPENDIR_SUPPORT));
}

void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs *fs = userdata;

	decide_opens(fs, conn);
	watch_settle(fs, conn->proto_minor);

	/* Nodeids of a layer in memory mean nothing to the next daemon; and its locks are nobody else's. */
	want(conn, FUSE_CAP_EXPORT_SUPPORT, fs->layer == NULL);
	want(conn, FUSE_CAP_DONT_MASK, true);
	want(conn, FUSE_CAP_POSIX_ACL, true);
	/* A forwarded lock would never be released for want of RELEASE and FLUSH. */
	want(conn, FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS,
	     fs->layer == NULL && !atomic_load(&fs->skips_opens));
	want(conn, FUSE_CAP_IOCTL_DIR, true);
	/* Where a symbolic link leads never changes. */
	want(conn, FUSE_CAP_CACHE_SYMLINKS, true);
	want(conn, FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE, false);
	/* The kernel would drop what it cached whenever mtime moves, for the mount's own writes as well, and
	 * with it what another process has written and not sent yet; see file_cache_judge(). */
	want(conn, FUSE_CAP_AUTO_INVAL_DATA, false);
	/* Truncating in OPEN lets dirty mapped pages be written back between our truncation and the kernel's
	 * own of its cache: what was cut off would come back. A SETATTR holds write-back off. */
	want(conn, FUSE_CAP_ATOMIC_O_TRUNC, false);
	/* The pieces of a large O_DIRECT append would come in any order. */
	want(conn, FUSE_CAP_ASYNC_DIO, false);
	want(conn, FUSE_CAP_WRITEBACK_CACHE, fs->options.writeback);
	/* always: a new size alone drops nothing. */
	want(conn, FUSE_CAP_EXPLICIT_INVAL_DATA, fs->options.cache == CACHE_ALWAYS);
	/* The library wants to hear of it here too. */
	conn->max_read = fs->options.max_read;
	conn->max_readahead = (unsigned)MIN(straight_readahead(fs->options.readahead), UINT32_MAX);
	conn->max_background = MAX_BACKGROUND;
	conn->time_gran = 1;
}

const struct fuse_lowlevel_ops *ops_table(void)
{
	static const struct fuse_lowlevel_ops table = {
		.init = op_init,
		.lookup = op_lookup,
		.forget = op_forget,
		.forget_multi = op_forget_multi,
		.getattr = op_getattr,
		.setattr = op_setattr,
		.readlink = op_readlink,
		.access = op_access,
		.statfs = op_statfs,
		.mknod = op_mknod,
		.mkdir = op_mkdir,
		.symlink = op_symlink,
		.link = op_link,
		.create = op_create,
		.unlink = op_unlink,
		.rmdir = op_rmdir,
		.rename = op_rename,
		.open = op_open,
		.flush = op_flush,
		.release = op_release,
		.fsync = op_fsync,
		.read = op_read,
		.write = op_write,
		.fallocate = op_fallocate,
		.lseek = op_lseek,
		.copy_file_range = op_copy_file_range,
		.opendir = op_opendir,
		.readdir = op_readdir,
		.readdirplus = op_readdirplus,
		.releasedir = op_releasedir,
		.fsyncdir = op_fsyncdir,
		.setxattr = op_setxattr,
		.getxattr = op_getxattr,
		.listxattr = op_listxattr,
		.removexattr = op_removexattr,
		.getlk = op_getlk,
		.setlk = op_setlk,
		.flock = op_flock,
		.ioctl = op_ioctl,
	};

	return &table;
}

struct inode *op_begin(fuse_req_t req, fuse_ino_t nodeid)
{
	struct inode *inode = inode_find(op_fs(req), nodeid);

	if (inode == NULL)
		fuse_reply_err(req, ESTALE);
	return inode;
}

bool op_changes(fuse_req_t req)
{
	if (!op_fs(req)->read_only)
		return true;
	fuse_reply_err(req, EROFS);
	return false;
}

bool op_begin_open(fuse_req_t req, fuse_ino_t nodeid, const struct fuse_file_info *fi,
		   struct open_file *ret_open)
{
	ret_open->fs = op_fs(req);
	ret_open->inode = op_begin(req, nodeid);
	if (ret_open->inode == NULL)
		return false;
	if (fi->fh == 0 && atomic_load_explicit(&ret_open->fs->skips_opens, memory_order_relaxed)) {
		int result = S_ISREG(ret_open->inode->type)
				     ? unopened_file(ret_open->fs, ret_open->inode, &ret_open->file,
						     &ret_open->handle)
				     : -EBADF;

		if (result < 0)
			fuse_reply_err(req, -result);
		return result == 0;
	}
	ret_open->file = file_peek(ret_open->inode);
	ret_open->handle = handle_find(&ret_open->fs->handle_table, fi->fh);
	if (ret_open->file != NULL && ret_open->handle != NULL && ret_open->handle->inode == ret_open->inode)
		return true;
	fuse_reply_err(req, EBADF);
	return false;
}

void op_begin_write(const struct open_file *open)
{
	if (atomic_load_explicit(&open->fs->skips_opens, memory_order_relaxed))
		unopened_write(open->fs, open->inode, open->file);
}

void op_end_write(const struct open_file *open)
{
	if (atomic_load_explicit(&open->fs->skips_opens, memory_order_relaxed))
		unopened_written(open->fs, open->inode, open->file);
}

bool op_cache_is_old(struct fs *fs, struct inode *inode, int fd, off_t size, const struct timespec *mtime,
		     bool reads)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct file *file = file_peek(inode);
	bool sure = watch_covers(fs, inode);

	/* Where the kernel collects writes it alone says what the file is like. */
	if (!atomic_load_explicit(&fs->skips_opens, memory_order_relaxed) || file == NULL ||
	    fs->options.writeback || file_policy(file)->cache != CACHE_AUTO ||
	    !file_cache_suspect(file, size, mtime, reads, sure))
		return false;
	if (fd < 0 && inode_fd(fs, inode, FD_PATH, &use) < 0)
		return false;
	return file_cache_settle(file, fd < 0 ? use.fd : fd, sure);
}

void op_stat(struct fs *fs, const struct statx *stx, struct stat *ret_stat)
{
	identity_stat(stx, ret_stat);
	ret_stat->st_ino = inode_number(fs, ret_stat->st_dev, stx->stx_ino);
}

struct sight op_sight(struct fs *fs, struct inode *directory)
{
	return (struct sight){directory, watch_look(fs, directory)};
}

void op_fill_entry(struct fs *fs, const struct sight *sight, const struct found *found,
		   struct fuse_entry_param *ret_entry)
{
	static const struct sight none;

	if (sight == NULL)
		sight = &none;
	*ret_entry = (struct fuse_entry_param){
		.ino = found->inode->nodeid,
		.attr_timeout = watch_trust(fs, sight->moment, found->inode)->attr_s,
		.entry_timeout = watch_trust_name(fs, sight->moment, sight->directory, found->inode)->entry_s,
	};
	op_stat(fs, &found->stx, &ret_entry->attr);
}

static bool is_in(gid_t gid, const gid_t *groups, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (groups[i] == gid)
			return true;
	}
	return false;
}

/* Of the thread that asks. (The library's fuse_req_getgroups() reads past the end of its buffer in 3.14.) */
static bool process_in_group(pid_t thread, gid_t gid)
{
	CLEANUP(free_pointer) char *line = NULL;
	char path[64], *at = NULL, *end;
	size_t size = 0;
	bool found = false;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", thread, thread);
	status = fopen(path, "re");
	if (status == NULL)
		return false;
	while (at == NULL && getline(&line, &size, status) > 0) {
		if (strncmp(line, "Groups:", 7) == 0)
			at = line + 7;
	}
	for (; at != NULL && !found; at = end) {
		unsigned long group = strtoul(at, &end, 10);

		if (end == at)
			break;
		found = group == gid;
	}
	fclose(status);
	return found;
}

bool op_in_group(fuse_req_t req, gid_t gid)
{
	const struct request *request = request_current();
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return ctx->gid == gid || is_in(gid, request->groups, request->group_count) ||
	       process_in_group(ctx->pid, gid);
}

bool op_sets_nothing(int to_set)
{
	return !(to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID | FUSE_SET_ATTR_SIZE |
			   FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME |
			   FUSE_SET_ATTR_MTIME_NOW));
}

/* creds_become() gives the thread the groups that the request has: let it have the one that decides. */
static void learn_group(fuse_req_t req, gid_t gid)
{
	struct request *request = request_current();

	if (request->group_count < REQUEST_GROUPS_MAX && !is_in(gid, request->groups, request->group_count) &&
	    op_in_group(req, gid))
		request->groups[request->group_count++] = gid;
}

bool op_become_writer(fuse_req_t req, int fd, const struct stat *known, bool keeps, uint64_t length,
		      struct creds *ret_creds)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct stat info = {0};
	bool decided_by_groups, loses;

	*ret_creds = (struct creds){0};
	if (known != NULL)
		info = *known;
	if (keeps || (known == NULL && fstat(fd, &info) < 0)) {
		creds_keep_setid(op_fs(req), keeps);
		return false;
	}
	loses = info.st_mode & (S_ISUID | S_ISGID);
	/* A set-group-id bit without group execution stays where the caller is in the file's group. */
	decided_by_groups = (info.st_mode & (S_ISGID | S_IXGRP)) == S_ISGID;
	if (decided_by_groups)
		learn_group(req, info.st_gid);
	if ((decided_by_groups || (ctx->uid != 0 && reserve_near(&op_fs(req)->reserve, fd, length))) &&
	    creds_become(op_fs(req), ctx->uid, ctx->gid, 0, request_current(), ret_creds) == 0 &&
	    ret_creds->changed)
		return loses;
	creds_keep_setid(op_fs(req), false);
	return loses;
}

bool op_is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

void op_setid_lost(const struct fs *fs, const struct inode *inode)
{
	/* Of attributes alone, which waits for nobody: pages may be locked for the very request. */
	session_forget_attributes(fs->session, inode->nodeid);
}
