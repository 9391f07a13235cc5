/* SPDX-License-Identifier: MIT */
/* Finding names and forgetting inodes; what is read of an object by its name alone. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "creds.h"
#include "fuse_ops/ops.h"
#include "session.h"
#include "unopened.h"

/* An answer that waits until the kernel has dropped what it cached of the file. */
struct late_entry {
	fuse_req_t req;
	struct fuse_entry_param entry;
};

static void reply_entry(fuse_req_t req, const struct fuse_entry_param *entry)
{
	struct fs *fs = op_fs(req);

	if (fuse_reply_entry(req, entry) < 0)
		inode_forget(fs, entry->ino, 1);
}

static void reply_late_entry(void *context)
{
	struct late_entry *late = context;

	reply_entry(late->req, &late->entry);
	free(late);
}

static bool is_old(struct fs *fs, const struct found *found)
{
	struct timespec mtime = {found->stx.stx_mtime.tv_sec, found->stx.stx_mtime.tv_nsec};

	return op_cache_is_old(fs, found->inode, -1, (off_t)found->stx.stx_size, &mtime, false);
}

/* The size and times that the kernel is told now would pass for those of the pages it has. */
static void reply_found(fuse_req_t req, const struct sight *sight, const struct found *found)
{
	struct fs *fs = op_fs(req);
	struct fuse_entry_param entry;
	struct late_entry *late;

	op_fill_entry(fs, sight, found, &entry);
	late = is_old(fs, found) ? malloc(sizeof(*late)) : NULL;
	if (late == NULL) {
		reply_entry(req, &entry);
		return;
	}
	*late = (struct late_entry){req, entry};
	session_forget_first(fs->session, entry.ino, reply_late_entry, late);
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = op_fs(req);
	struct inode *directory = inode_find(fs, parent);
	struct sight sight = {NULL, watch_moment(fs)};
	struct fuse_entry_param entry = {0};
	struct found found;
	int result;

	if (directory != NULL)
		sight = op_sight(fs, directory);
	if (directory != NULL)
		result = unopened_lookup(fs, directory, name, &found);
	else if (strcmp(name, ".") == 0)
		result = inode_lookup_id(fs, parent, &found);
	else
		result = -ESTALE;
	/* An exported file handle leads to what still has a name, not to what is merely open. */
	if (result == 0 && strcmp(name, ".") == 0 &&
	    (found.stx.stx_nlink == 0 || unopened_hold(fs, found.inode) == -ESTALE)) {
		inode_forget(fs, found.inode->nodeid, 1);
		result = -ESTALE;
	}
	if (result == 0) {
		reply_found(req, &sight, &found);
	} else if (result == -ENOENT && directory != NULL &&
		   watch_trust(fs, sight.moment, directory)->negative_s > 0) {
		entry.entry_timeout = watch_trust(fs, sight.moment, directory)->negative_s;
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

int op_may(fuse_req_t req, struct inode *inode, int mask)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	CLEANUP(creds_restore) struct creds creds = {0};
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	char number[16];
	int result = inode_fd(op_fs(req), inode, FD_PATH, &use);

	if (result == 0)
		result = creds_become(op_fs(req), ctx->uid, ctx->gid, 0, request_current(), &creds);
	if (result == 0) {
		snprintf(number, sizeof(number), "%d", use.fd);
		if (faccessat(op_fs(req)->proc_fd, number, mask, AT_EACCESS) < 0)
			result = -errno;
	}
	return result;
}

void op_access(fuse_req_t req, fuse_ino_t nodeid, int mask)
{
	struct inode *inode = op_begin(req, nodeid);

	if (inode == NULL || ((mask & W_OK) && !op_changes(req)))
		return;
	fuse_reply_err(req, -op_may(req, inode, mask));
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
