/* SPDX-License-Identifier: MIT */
#include "layer/backing.h"

#include <fcntl.h>
#include <sys/mount.h>

#include "util.h"

int backing_open(const char *path)
{
	struct mount_attr attributes = {
		.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOATIME,
		.attr_clr = MOUNT_ATTR__ATIME,
		.propagation = MS_PRIVATE,
	};
	CLEANUP(close_fd)
	int clone = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

	if (clone >= 0 &&
	    mount_setattr(clone, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof(attributes)) == 0)
		return openat(clone, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int backing_open_writable(const char *path)
{
	struct mount_attr attributes = {.propagation = MS_PRIVATE};
	CLEANUP(close_fd)
	int clone = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

	if (clone >= 0 &&
	    mount_setattr(clone, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof(attributes)) == 0)
		return openat(clone, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}
