/* SPDX-License-Identifier: MIT */
/* The ioctls that mean something on any file: attributes of chattr(1), project ids, and memmapfsctl's. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#include "control_protocol.h"
#include "fuse_ops/ops.h"

union file_attributes {
	unsigned flags;
	long version;
	struct fsxattr fsx;
};

static bool is_known(unsigned command)
{
	return command == FS_IOC_GETFLAGS || command == FS_IOC_SETFLAGS || command == FS_IOC_FSGETXATTR ||
	       command == FS_IOC_FSSETXATTR || command == FS_IOC_GETVERSION;
}

static bool is_change(unsigned command)
{
	return command == FS_IOC_SETFLAGS || command == FS_IOC_FSSETXATTR;
}

void op_ioctl(fuse_req_t req, fuse_ino_t nodeid, unsigned command, void *arg, struct fuse_file_info *fi,
	      unsigned flags, const void *in, size_t in_size, size_t out_size)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct inode *inode = op_begin(req, nodeid);
	union file_attributes value = {0};
	int result;

	(void)arg;
	if (inode == NULL)
		return;
	if (command == CONTROL_IOCTL && !(flags & FUSE_IOCTL_UNRESTRICTED)) {
		control_ioctl(req, inode, fi, in, in_size, out_size);
		return;
	}
	if (!is_known(command) || (flags & FUSE_IOCTL_UNRESTRICTED) || in_size > sizeof(value) ||
	    out_size > sizeof(value)) {
		fuse_reply_err(req, ENOTTY);
		return;
	}
	if (is_change(command) && !op_changes(req))
		return;
	if (is_change(command) && op_fs(req)->layer != NULL) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	if (in_size > 0)
		memcpy(&value, in, in_size);
	result = S_ISREG(inode->type) || S_ISDIR(inode->type) ? inode_fd(op_fs(req), inode, FD_READ, &use)
							      : -ENOTTY;
	if (result == 0 && ioctl(use.fd, command, &value) < 0)
		result = -errno;
	fd_use_end(&use);
	if (result < 0)
		fuse_reply_err(req, -result);
	else
		fuse_reply_ioctl(req, 0, &value, out_size);
}
