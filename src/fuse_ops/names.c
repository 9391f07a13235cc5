/* SPDX-License-Identifier: MIT */
/* Finding names and forgetting inodes; what is read of an object by its name alone. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "creds.h"
#include "fuse_ops/ops.h"

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = op_fs(req);
	struct inode *directory = inode_find(fs, parent);
	struct fuse_entry_param entry = {0};
	struct found found;
	int result;

	if (directory != NULL)
		result = inode_lookup(fs, directory, name, &found);
	else if (strcmp(name, ".") == 0)
		result = inode_lookup_id(fs, parent, &found);
	else
		result = -ESTALE;
	/* An exported file handle leads to what still has a name, not to what is merely open. */
	if (result == 0 && strcmp(name, ".") == 0 && found.stx.stx_nlink == 0) {
		inode_forget(fs, found.inode->nodeid, 1);
		result = -ESTALE;
	}
	if (result == 0) {
		op_fill_entry(fs, &found, &entry);
		if (fuse_reply_entry(req, &entry) < 0)
			inode_forget(fs, entry.ino, 1);
	} else if (result == -ENOENT && fs->options.negative_timeout_s > 0) {
		entry.entry_timeout = fs->options.negative_timeout_s;
		fuse_reply_entry(req, &entry);
	} else {
		fuse_reply_err(req, -result);
	}
}

void op_forget(fuse_req_t req, fuse_ino_t nodeid, uint64_t lookups)
{
	struct fs *fs = op_fs(req);
	size_t before = atomic_load(&fs->inodes.count);

	inode_forget(fs, nodeid, lookups);
	fuse_reply_none(req);
	fs_trim_memory(fs, before);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct fs *fs = op_fs(req);
	size_t before = atomic_load(&fs->inodes.count);

	for (size_t i = 0; i < count; i++)
		inode_forget(fs, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
	fs_trim_memory(fs, before);
}

void op_readlink(fuse_req_t req, fuse_ino_t nodeid)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct inode *inode = op_begin(req, nodeid);
	char target[PATH_MAX + 1];
	ssize_t length;
	int result;

	if (inode == NULL)
		return;
	result = inode_fd(op_fs(req), inode, FD_PATH, &use);
	if (result == 0) {
		length = readlinkat(use.fd, "", target, PATH_MAX);
		if (length < 0)
			result = -errno;
		else
			target[length] = '\0';
	}
	fd_use_end(&use);
	if (result < 0)
		fuse_reply_err(req, -result);
	else
		fuse_reply_readlink(req, target);
}

void op_access(fuse_req_t req, fuse_ino_t nodeid, int mask)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	CLEANUP(creds_restore) struct creds creds = {0};
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct inode *inode = op_begin(req, nodeid);
	char number[16];
	int result;

	if (inode == NULL)
		return;
	if ((mask & W_OK) && !op_changes(req))
		return;
	result = inode_fd(op_fs(req), inode, FD_PATH, &use);
	if (result == 0)
		result = creds_become(op_fs(req), ctx->uid, ctx->gid, 0, request_current(), &creds);
	if (result == 0) {
		snprintf(number, sizeof(number), "%d", use.fd);
		if (faccessat(op_fs(req)->proc_fd, number, mask, AT_EACCESS) < 0)
			result = -errno;
	}
	creds_restore(&creds);
	fd_use_end(&use);
	fuse_reply_err(req, -result);
}

void op_statfs(fuse_req_t req, fuse_ino_t nodeid)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct inode *inode = op_begin(req, nodeid);
	struct statvfs info;
	int result;

	if (inode == NULL)
		return;
	result = inode_fd(op_fs(req), inode, FD_PATH, &use);
	if (result == 0 && fstatvfs(use.fd, &info) < 0)
		result = -errno;
	fd_use_end(&use);
	if (result < 0)
		fuse_reply_err(req, -result);
	else
		fuse_reply_statfs(req, &info);
}
