/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_XATTRS_H
#define MEMMAPFS_LAYER_XATTRS_H

/*
 * Attributes of a layer's objects: mode, owner, times, extended attributes, ACLs. Who may change them the
 * kernel has judged.
 *
 * Changes take layer->lock. -ENOSPC, -ENOMEM and -EIO may come of any of them, from the database.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

struct fs;
struct inode;
struct tx;
struct tx_node;

/* What chmod(2), chown(2) and utimensat(2) change. */
struct attribute_change {
	bool mode_set, uid_set, gid_set, atime_set, mtime_set;
	mode_t mode; /* permissions and set-id bits */
	uid_t uid;
	gid_t gid;
	struct statx_timestamp atime, mtime;
	bool keeps_setgid; /* a change of owner leaves a set-group-id bit without group execution */
};

/** layer_change() - change attributes of an object. Return: 0 or -errno of statx(2) of BACKING's. */
int layer_change(struct fs *fs, struct inode *inode, const struct attribute_change *change);

/** mode_after_write() - the mode that a file has once somebody who may not keep set-id bits changed it */
mode_t mode_after_write(mode_t mode, bool keeps_setgid);

/**
 * layer_xattr_get() - the value of an extended attribute, malloc'ed
 *
 * Return: its length, -ENODATA, or -errno of getxattr(2).
 */
ssize_t layer_xattr_get(struct fs *fs, struct inode *inode, const char *name, void **ret_value);

/** layer_xattr_list() - the names, each with a zero behind it, malloc'ed. Return: their length or -errno. */
ssize_t layer_xattr_list(struct fs *fs, struct inode *inode, char **ret_list);

/**
 * layer_xattr_set() - set an extended attribute; an access ACL sets the mode as well
 * @value:       NULL removes it
 * @flags:       of setxattr(2)
 * @kill_setgid: an ACL is set by somebody outside the file's group
 *
 * Return: 0, -EEXIST, -ENODATA, -EINVAL for what is no ACL, -EOPNOTSUPP for names only BACKING could know.
 */
int layer_xattr_set(struct fs *fs, struct inode *inode, const char *name, const void *value, size_t size,
		    int flags, bool kill_setgid);

#endif
