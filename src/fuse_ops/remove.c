/* SPDX-License-Identifier: MIT */
/*
 * Names that go. An inode found again by its file handle only would be lost with its last name while
 * somebody still has it open or stands in it: it is held by a descriptor from before the name goes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "fuse_ops/ops.h"
#include "sync.h"

/* Keeps what @name leads to reachable, if the kernel knows it; the reference is the caller's. */
static int keep_named(struct fs *fs, int directory_fd, const char *name, struct inode **ret_kept)
{
	*ret_kept = inode_known(fs, directory_fd, name);
	return *ret_kept != NULL && (*ret_kept)->handle != NULL ? inode_keep(fs, *ret_kept) : 0;
}

static void remove_name(fuse_req_t req, fuse_ino_t parent, const char *name, int flags)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct fs *fs = op_fs(req);
	struct inode *directory = op_begin(req, parent);
	struct inode *kept = NULL;
	int result;

	if (directory == NULL || !op_changes(req))
		return;
	result = atomic_load(&directory->covered) ? -EBUSY : inode_fd(fs, directory, FD_PATH, &use);
	if (result == 0)
		result = keep_named(fs, use.fd, name, &kept);
	if (result == 0 && unlinkat(use.fd, name, flags) < 0)
		result = -errno;
	fd_use_end(&use);
	if (result == 0)
		sync_names_changed(fs, directory);
	fuse_reply_err(req, -result);
	if (kept != NULL)
		inode_unref(fs, kept);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, 0);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, AT_REMOVEDIR);
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	       const char *new_name, unsigned flags)
{
	CLEANUP(fd_use_end) struct fd_use from = FD_USE_NONE;
	CLEANUP(fd_use_end) struct fd_use to = FD_USE_NONE;
	struct fs *fs = op_fs(req);
	struct inode *directory = op_begin(req, parent);
	struct inode *target, *kept = NULL;
	int result;

	if (directory == NULL || !op_changes(req))
		return;
	target = inode_find(fs, new_parent);
	if (target == NULL)
		result = -ESTALE;
	else if (atomic_load(&directory->covered) || atomic_load(&target->covered))
		result = -EBUSY;
	else
		result = inode_fd(fs, directory, FD_PATH, &from);
	if (result == 0)
		result = inode_fd(fs, target, FD_PATH, &to);
	if (result == 0 && !(flags & (RENAME_NOREPLACE | RENAME_EXCHANGE)))
		result = keep_named(fs, to.fd, new_name, &kept);
	if (result == 0) {
		if (renameat2(from.fd, name, to.fd, new_name, flags) < 0)
			result = -errno;
	}
	fd_use_end(&from);
	fd_use_end(&to);
	if (result == 0) {
		sync_names_changed(fs, target);
		if (directory != target)
			sync_names_changed(fs, directory);
	}
	fuse_reply_err(req, -result);
	if (kept != NULL)
		inode_unref(fs, kept);
}
