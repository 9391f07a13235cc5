/* SPDX-License-Identifier: MIT */
/* Extended attributes, BACKING's own and the daemon's reserved ones. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "fuse_ops/ops.h"
#include "sync.h"

/* The xattr calls take no O_PATH descriptor, but they do take its link in /proc. */
struct link {
	struct fd_use use;
	char path[32];
};

static void link_end(struct link *link)
{
	fd_use_end(&link->use);
}

static int link_to(struct fs *fs, struct inode *inode, struct link *ret_link)
{
	int result;

	ret_link->use = FD_USE_NONE;
	result = inode_fd(fs, inode, FD_PATH, &ret_link->use);
	snprintf(ret_link->path, sizeof(ret_link->path), "/proc/self/fd/%d", ret_link->use.fd);
	return result;
}

void op_reply_value(fuse_req_t req, const char *value, ssize_t length, size_t size)
{
	if (length < 0)
		fuse_reply_err(req, (int)-length);
	else if (size == 0)
		fuse_reply_xattr(req, (size_t)length);
	else if ((size_t)length > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, value, (size_t)length);
}

/*
 * The kernel asks for ACLs before it lets anybody but the owner in, and takes it for a failure that BACKING has
 * no ACLs: there just is none.
 */
static ssize_t without_acls(const char *name, ssize_t error)
{
	return error == -EOPNOTSUPP && strncmp(name, "system.posix_acl_", 17) == 0 ? -ENODATA : error;
}

void op_getxattr(fuse_req_t req, fuse_ino_t nodeid, const char *name, size_t size)
{
	CLEANUP(link_end) struct link link = {.use = FD_USE_NONE};
	CLEANUP(free_pointer) char *reserved = NULL;
	struct request *request = request_current();
	struct inode *inode = op_begin(req, nodeid);
	ssize_t length;

	if (inode == NULL)
		return;
	if (control_is_reserved(name)) {
		length = control_attribute(op_fs(req), inode, name, &reserved);
		op_reply_value(req, reserved, length, size);
		return;
	}
	length = link_to(op_fs(req), inode, &link);
	if (length == 0) {
		length = getxattr(link.path, name, request->space, MIN(size, request->space_size));
		if (length < 0)
			length = without_acls(name, -errno);
	}
	link_end(&link);
	op_reply_value(req, (char *)request->space, length, size);
}

ssize_t op_without_reserved(char *list, ssize_t length)
{
	ssize_t kept = 0;

	for (ssize_t at = 0, next; at < length; at = next) {
		size_t size = strlen(list + at) + 1;

		next = at + (ssize_t)size;
		if (control_is_reserved(list + at))
			continue;
		memmove(list + kept, list + at, size);
		kept += (ssize_t)size;
	}
	return kept;
}

void op_listxattr(fuse_req_t req, fuse_ino_t nodeid, size_t size)
{
	CLEANUP(link_end) struct link link = {.use = FD_USE_NONE};
	struct request *request = request_current();
	struct inode *inode = op_begin(req, nodeid);
	ssize_t length;

	if (inode == NULL)
		return;
	length = link_to(op_fs(req), inode, &link);
	if (length == 0) {
		length = listxattr(link.path, (char *)request->space, request->space_size);
		length = length < 0 ? -errno : op_without_reserved((char *)request->space, length);
	}
	link_end(&link);
	op_reply_value(req, (char *)request->space, length, size);
}

/* The set-group-id bit goes when somebody outside the file's group sets its ACL. */
static int clear_setgid(const struct link *link)
{
	struct stat info;

	if (stat(link->path, &info) < 0)
		return -errno;
	if (!(info.st_mode & S_ISGID) || !S_ISREG(info.st_mode))
		return 0;
	return chmod(link->path, info.st_mode & 07777 & ~(mode_t)S_ISGID) < 0 ? -errno : 0;
}

void op_setxattr(fuse_req_t req, fuse_ino_t nodeid, const char *name, const char *value, size_t size,
		 int flags)
{
	CLEANUP(link_end) struct link link = {.use = FD_USE_NONE};
	CLEANUP(creds_restore) struct creds creds = {0};
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct fs *fs = op_fs(req);
	struct inode *inode = op_begin(req, nodeid);
	int result;

	if (inode == NULL)
		return;
	if (control_is_reserved(name)) {
		control_set_attribute(req, inode, name, value, size);
		return;
	}
	if (!op_changes(req))
		return;
	/* An access ACL is a mode as well. */
	creds_keep_setid(fs, true);
	result = link_to(fs, inode, &link);
	/* Attributes of other file systems' own permissions: who may set them is theirs to judge. */
	if (result == 0 && strncmp(name, "system.", 7) == 0 && strncmp(name, "system.posix_acl_", 17) != 0)
		result = creds_become(fs, ctx->uid, ctx->gid, 0, request_current(), &creds);
	sync_attributes_changed(op_fs(req));
	if (result == 0 && setxattr(link.path, name, value, size, flags) < 0)
		result = -errno;
	creds_restore(&creds);
	if (result == 0 && request_current()->acl_kill_setgid)
		result = clear_setgid(&link);
	link_end(&link);
	fuse_reply_err(req, -result);
}

void op_removexattr(fuse_req_t req, fuse_ino_t nodeid, const char *name)
{
	CLEANUP(link_end) struct link link = {.use = FD_USE_NONE};
	struct inode *inode = op_begin(req, nodeid);
	int result;

	if (inode == NULL || !op_changes(req))
		return;
	if (control_is_reserved(name)) {
		fuse_reply_err(req, EPERM);
		return;
	}
	result = link_to(op_fs(req), inode, &link);
	sync_attributes_changed(op_fs(req));
	if (result == 0 && removexattr(link.path, name) < 0)
		result = -errno;
	link_end(&link);
	fuse_reply_err(req, -result);
}
