/* SPDX-License-Identifier: MIT */
/* mode=cow: names. The kernel has checked the caller; objects get its ids as records, not by becoming it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fuse_ops/cow.h"
#include "layer/layer.h"
#include "layer/names.h"
#include "sync.h"

void cow_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = op_fs(req);
	struct inode *directory = op_begin(req, parent);
	struct fuse_entry_param entry = {0};
	struct found found;
	int result;

	if (directory == NULL)
		return;
	result = layer_lookup(fs, directory, name, &found);
	if (result == 0) {
		op_fill_entry(fs, NULL, &found, &entry);
		if (fuse_reply_entry(req, &entry) < 0)
			inode_forget(fs, entry.ino, 1);
	} else if (result == -ENOENT && fs->trust[0].negative_s > 0) {
		entry.entry_timeout = fs->trust[0].negative_s;
		fuse_reply_entry(req, &entry);
	} else {
		fuse_reply_err(req, -result);
	}
}

/* Answers with the entry that was made. */
static void reply_found(fuse_req_t req, int result, struct inode *directory, const struct found *found)
{
	struct fs *fs = op_fs(req);
	struct fuse_entry_param entry;

	if (result < 0) {
		fuse_reply_err(req, -result);
		return;
	}
	sync_names_changed(fs, directory);
	op_fill_entry(fs, NULL, found, &entry);
	if (fuse_reply_entry(req, &entry) < 0)
		inode_forget(fs, entry.ino, 1);
}

/* Where the daemon may not act as others, everything is its user's, as it would be in BACKING. */
static struct making making_of(fuse_req_t req, mode_t mode)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	bool privileged = op_fs(req)->privileged;

	return (struct making){
		.mode = mode,
		.umask = ctx->umask,
		.uid = privileged ? ctx->uid : geteuid(),
		.gid = privileged ? ctx->gid : getegid(),
	};
}

static void make(fuse_req_t req, fuse_ino_t parent, const char *name, const struct making *making)
{
	struct inode *directory = op_begin(req, parent);
	struct found found;

	if (directory == NULL || !op_changes(req))
		return;
	reply_found(req, layer_make(op_fs(req), directory, name, making, &found), directory, &found);
}

void cow_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct making making = making_of(req, mode);

	making.rdev = rdev;
	make(req, parent, name, &making);
}

void cow_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct making making = making_of(req, S_IFDIR | (mode & 07777));

	make(req, parent, name, &making);
}

void cow_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct making making = making_of(req, S_IFLNK | 0777);

	making.target = target;
	make(req, parent, name, &making);
}

void cow_link(fuse_req_t req, fuse_ino_t nodeid, fuse_ino_t parent, const char *name)
{
	struct fs *fs = op_fs(req);
	struct inode *inode = op_begin(req, nodeid), *directory;
	struct found found;
	int result;

	if (inode == NULL || !op_changes(req))
		return;
	directory = inode_find(fs, parent);
	result = directory == NULL ? -ESTALE : layer_link(fs, inode, directory, name, &found);
	reply_found(req, result, directory, &found);
}

/* Another client may have made it between the kernel's look-up and this. */
static int make_or_find(fuse_req_t req, struct inode *directory, const char *name, mode_t mode, int flags,
			struct found *ret_found, bool *ret_created)
{
	struct making making = making_of(req, S_IFREG | (mode & 07777));
	struct fs *fs = op_fs(req);
	int result =
		layer_make(fs, directory, request_current()->anonymous ? NULL : name, &making, ret_found);

	*ret_created = result == 0;
	if (result != -EEXIST || (flags & O_EXCL))
		return result;
	result = layer_lookup(fs, directory, name, ret_found);
	if (result < 0 || S_ISREG(ret_found->inode->type))
		return result;
	inode_forget(fs, ret_found->inode->nodeid, 1);
	/* The kernel looks again and does what is right for the object. */
	return -ESTALE;
}

void cow_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fs *fs = op_fs(req);
	struct inode *directory = op_begin(req, parent);
	struct fuse_entry_param entry;
	struct found found;
	bool created;
	int result;

	if (directory == NULL || !op_changes(req))
		return;
	result = make_or_find(req, directory, name, mode, fi->flags, &found, &created);
	if (result < 0) {
		fuse_reply_err(req, -result);
		return;
	}
	/* Whether the caller may open what is there nobody has checked: the kernel does, when it looks again. */
	if (created)
		sync_names_changed(fs, directory);
	result = created ? cow_open_handle(req, found.inode, true, fi) : -ESTALE;
	if (result < 0) {
		inode_forget(fs, found.inode->nodeid, 1);
		fuse_reply_err(req, -result);
		return;
	}
	op_fill_entry(fs, NULL, &found, &entry);
	if (fuse_reply_create(req, &entry, fi) < 0) {
		cow_close_handle(fs, fi->fh);
		inode_forget(fs, entry.ino, 1);
	}
}

static void remove_name(fuse_req_t req, fuse_ino_t parent, const char *name, bool is_directory)
{
	struct inode *directory = op_begin(req, parent);
	int result;

	if (directory == NULL || !op_changes(req))
		return;
	result = layer_remove(op_fs(req), directory, name, is_directory);
	if (result == 0)
		sync_names_changed(op_fs(req), directory);
	fuse_reply_err(req, -result);
}

void cow_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, false);
}

void cow_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, true);
}

void cow_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		const char *new_name, unsigned flags)
{
	struct fs *fs = op_fs(req);
	struct inode *directory = op_begin(req, parent), *target;
	struct making whiteout = making_of(req, S_IFCHR);
	int result;

	if (directory == NULL || !op_changes(req))
		return;
	target = inode_find(fs, new_parent);
	result = target == NULL ? -ESTALE
				: layer_rename(fs, directory, name, target, new_name, flags, &whiteout);
	if (result == 0)
		sync_names_changed(fs, target);
	fuse_reply_err(req, -result);
}

void cow_readlink(fuse_req_t req, fuse_ino_t nodeid)
{
	struct inode *inode = op_begin(req, nodeid);
	struct node *node;
	int result;

	if (inode == NULL)
		return;
	result = layer_node(op_fs(req), inode, &node);
	if (result < 0)
		fuse_reply_err(req, -result);
	else if (node->has_origin)
		op_readlink(req, nodeid);
	else
		fuse_reply_readlink(req, node->target == NULL ? "" : node->target);
}
