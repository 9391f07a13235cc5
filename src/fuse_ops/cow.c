/* SPDX-License-Identifier: MIT */
/* The table of mode=cow, and attributes there. */
#include "fuse_ops/cow.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>

#include "file.h"
#include "layer/keep.h"
#include "layer/layer.h"
#include "layer/xattrs.h"
#include "sync.h"

static void cow_fsyncdir(fuse_req_t req, fuse_ino_t nodeid, int datasync, struct fuse_file_info *fi)
{
	struct fs *fs = op_fs(req);

	(void)nodeid;
	(void)datasync;
	(void)fi;
	fuse_reply_err(req, fs->options.fsync == FSYNC_HONOR ? -keep_commit(fs) : 0);
}

const struct fuse_lowlevel_ops *cow_ops_table(void)
{
	static const struct fuse_lowlevel_ops table = {
		.init = op_init,
		.lookup = cow_lookup,
		.forget = op_forget,
		.forget_multi = op_forget_multi,
		.getattr = op_getattr,
		.setattr = cow_setattr,
		.readlink = cow_readlink,
		.statfs = cow_statfs,
		.mknod = cow_mknod,
		.mkdir = cow_mkdir,
		.symlink = cow_symlink,
		.link = cow_link,
		.create = cow_create,
		.unlink = cow_unlink,
		.rmdir = cow_rmdir,
		.rename = cow_rename,
		.open = cow_open,
		.flush = op_flush,
		.release = cow_release,
		.fsync = op_fsync,
		.read = cow_read,
		.write = cow_write,
		.fallocate = cow_fallocate,
		.lseek = cow_lseek,
		.opendir = cow_opendir,
		.readdir = cow_readdir,
		.readdirplus = cow_readdirplus,
		.releasedir = op_releasedir,
		.fsyncdir = cow_fsyncdir,
		.setxattr = cow_setxattr,
		.getxattr = cow_getxattr,
		.listxattr = cow_listxattr,
		.removexattr = cow_removexattr,
		.ioctl = op_ioctl,
	};

	return &table;
}

struct content_writer cow_writer(fuse_req_t req, struct inode *inode, bool kill_setid)
{
	struct content_writer writer = {.kill_setid = kill_setid};
	struct statx stx;

	/* Only where something may go does it matter who that is. */
	if (kill_setid && layer_statx(op_fs(req), inode, &stx) == 0 && (stx.stx_mode & (S_ISUID | S_ISGID))) {
		writer.keeps_setgid = op_in_group(req, stx.stx_gid);
		writer.loses = true;
	}
	return writer;
}

static int set_size(fuse_req_t req, struct inode *inode, uint64_t size)
{
	struct content_writer writer = cow_writer(req, inode, request_current()->kill_setid);
	struct fs *fs = op_fs(req);
	struct node *node;
	struct file *file;
	bool failed;
	int result = file_get(fs, inode, &file);

	if (result == 0)
		result = content_own(fs, inode, &node);
	if (result == 0)
		result = content_resize(fs, inode, node, size, &writer);
	if (result < 0)
		return result;
	/* The last byte stands for the new size. That its sync failed is told by fsync(2) and close(2): the
	 * kernel would take an error for a file that has its old size. */
	sync_written(fs, inode, file, size == 0 ? 0 : size - 1, 1, 0, &failed);
	/* There may be nobody to close it. */
	return cow_note(fs, inode, node);
}

static struct statx_timestamp time_of(const struct timespec *time)
{
	return (struct statx_timestamp){.tv_sec = time->tv_sec, .tv_nsec = (uint32_t)time->tv_nsec};
}

static int set_others(fuse_req_t req, struct inode *inode, const struct stat *attr, int to_set)
{
	struct attribute_change change = {
		.mode_set = to_set & FUSE_SET_ATTR_MODE,
		.uid_set = to_set & FUSE_SET_ATTR_UID,
		.gid_set = to_set & FUSE_SET_ATTR_GID,
		.atime_set = to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW),
		.mtime_set = to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW),
		.mode = attr->st_mode,
		.uid = attr->st_uid,
		.gid = attr->st_gid,
		.atime = to_set & FUSE_SET_ATTR_ATIME_NOW ? layer_now() : time_of(&attr->st_atim),
		.mtime = to_set & FUSE_SET_ATTR_MTIME_NOW ? layer_now() : time_of(&attr->st_mtim),
	};
	bool nothing = op_sets_nothing(to_set);
	struct statx stx;
	int result;

	if (!nothing && !change.mode_set && !change.uid_set && !change.gid_set && !change.atime_set &&
	    !change.mtime_set)
		return 0;
	if (nothing || change.uid_set || change.gid_set) {
		result = layer_statx(op_fs(req), inode, &stx);
		if (result < 0)
			return result;
		change.keeps_setgid = fuse_req_ctx(req)->uid == 0 || op_in_group(req, stx.stx_gid);
	}
	if (nothing) {
		/* As in the other modes. */
		if (!op_is_owner(req, stx.stx_uid))
			return 0;
		change.uid_set = true;
		change.uid = stx.stx_uid;
	}
	result = layer_change(op_fs(req), inode, &change);
	if (result == 0)
		sync_names_changed(op_fs(req), inode);
	return result;
}

void cow_setattr(fuse_req_t req, fuse_ino_t nodeid, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct fs *fs = op_fs(req);
	struct inode *inode = op_begin(req, nodeid);
	struct statx stx;
	int result = 0;

	(void)fi;
	if (inode == NULL || !op_changes(req))
		return;
	/* The size first: what it does to times and set-id bits the rest of the request may set otherwise. */
	if (to_set & FUSE_SET_ATTR_SIZE)
		result = S_ISREG(inode->type) ? set_size(req, inode, (uint64_t)attr->st_size) : -EINVAL;
	if (result == 0)
		result = set_others(req, inode, attr, to_set);
	if (result == 0)
		result = layer_statx(fs, inode, &stx);
	if (result < 0)
		fuse_reply_err(req, -result);
	else
		op_reply_attributes(req, &stx, fs->trust[0].attr_s);
}

void cow_statfs(fuse_req_t req, fuse_ino_t nodeid)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct fs *fs = op_fs(req);
	uint64_t room = layer_room(fs->layer);
	struct statvfs info;
	int result = inode_fd(fs, fs->root, FD_PATH, &use);

	(void)nodeid;
	if (result == 0 && fstatvfs(fs->layer->kept ? fs->layer->home.directory : use.fd, &info) < 0)
		result = -errno;
	if (result < 0) {
		fuse_reply_err(req, -result);
		return;
	}
	/* A kept layer: of the file system that it is on. */
	if (fs->layer->kept) {
		fuse_reply_statfs(req, &info);
		return;
	}
	/* What BACKING has in use, the layer's pages, and what is free for the layer. */
	info.f_blocks = info.f_blocks - info.f_bfree +
			(atomic_load(&fs->layer->page_count) * LAYER_PAGE + room) / info.f_frsize;
	info.f_bfree = info.f_bavail = room / info.f_frsize;
	fuse_reply_statfs(req, &info);
}

void cow_getxattr(fuse_req_t req, fuse_ino_t nodeid, const char *name, size_t size)
{
	CLEANUP(free_pointer) void *value = NULL;
	struct inode *inode = op_begin(req, nodeid);
	ssize_t length;

	if (inode == NULL)
		return;
	if (control_is_reserved(name))
		length = control_attribute(op_fs(req), inode, name, (char **)&value);
	else
		length = layer_xattr_get(op_fs(req), inode, name, &value);
	op_reply_value(req, value, length, size);
}

void cow_listxattr(fuse_req_t req, fuse_ino_t nodeid, size_t size)
{
	CLEANUP(free_pointer) char *list = NULL;
	struct inode *inode = op_begin(req, nodeid);
	ssize_t length;

	if (inode == NULL)
		return;
	length = layer_xattr_list(op_fs(req), inode, &list);
	op_reply_value(req, list, length < 0 ? length : op_without_reserved(list, length), size);
}

/* Sets an attribute, or removes it, and answers. */
static void set_xattr(fuse_req_t req, struct inode *inode, const char *name, const char *value, size_t size,
		      int flags)
{
	int result = layer_xattr_set(op_fs(req), inode, name, value, size, flags,
				     request_current()->acl_kill_setgid);

	if (result == 0)
		sync_names_changed(op_fs(req), inode);
	fuse_reply_err(req, -result);
}

void cow_setxattr(fuse_req_t req, fuse_ino_t nodeid, const char *name, const char *value, size_t size,
		  int flags)
{
	struct inode *inode = op_begin(req, nodeid);

	if (inode == NULL)
		return;
	if (control_is_reserved(name)) {
		control_set_attribute(req, inode, name, value, size);
		return;
	}
	if (!op_changes(req))
		return;
	set_xattr(req, inode, name, value == NULL ? "" : value, size, flags);
}

void cow_removexattr(fuse_req_t req, fuse_ino_t nodeid, const char *name)
{
	struct inode *inode = op_begin(req, nodeid);

	if (inode == NULL || !op_changes(req))
		return;
	if (control_is_reserved(name))
		fuse_reply_err(req, EPERM);
	else
		set_xattr(req, inode, name, NULL, 0, 0);
}
