/* SPDX-License-Identifier: MIT */
/*
 * The reserved attributes user.memmapfs.*: what the daemon tells about itself and about a file. They never
 * reach BACKING and no list shows them.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "file.h"
#include "fuse_ops/ops.h"
#include "stats.h"

#define PREFIX "user.memmapfs."

bool control_is_reserved(const char *name)
{
	return strncmp(name, PREFIX, strlen(PREFIX)) == 0;
}

ssize_t control_get(struct fs *fs, struct inode *inode, const char *name, char **ret_value)
{
	char *text;

	if (strcmp(name, PREFIX "stats") == 0 && inode == fs->root)
		text = stats_mount(fs);
	else if (strcmp(name, PREFIX "file") == 0 && S_ISREG(inode->type))
		text = stats_file(fs, inode);
	else
		return -ENODATA;
	if (text == NULL)
		return -ENOMEM;
	*ret_value = text;
	return (ssize_t)strlen(text);
}

static int may_reset(struct fs *fs, uid_t uid)
{
	struct statx stx;
	int result = op_statx(fs, fs->root, &stx);

	if (result < 0)
		return result;
	return uid == 0 || uid == stx.stx_uid ? 0 : -EPERM;
}

int control_set(struct fs *fs, struct inode *inode, const char *name, const char *value, size_t size,
		uid_t uid)
{
	static const char reset[] = "reset";
	int result;

	if (strcmp(name, PREFIX "stats") != 0 || inode != fs->root)
		return strcmp(name, PREFIX "file") == 0 ? -EPERM : -EOPNOTSUPP;
	if (size != strlen(reset) || memcmp(value, reset, size) != 0)
		return -EINVAL;
	result = may_reset(fs, uid);
	if (result == 0)
		stats_reset(fs);
	return result;
}
