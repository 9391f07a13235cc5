/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_NAMES_H
#define MEMMAPFS_LAYER_NAMES_H

/*
 * Names of a layer: finding, making, moving and removing them, and listing a directory as it is with BACKING's
 * names under the layer's. Who may do what the kernel has judged; of one directory it lets no two change names
 * at once.
 *
 * Every call takes layer->lock. -ENOSPC, -ENOMEM and -EIO may come of any of them, from the database.
 */

#include <stdint.h>
#include <sys/types.h>

#include "inode.h"

struct fs;

/* What is made. */
struct making {
	mode_t mode; /* type and permissions asked for */
	mode_t umask;
	uid_t uid;
	gid_t gid;
	dev_t rdev;
	const char *target; /* of a symbolic link, else NULL */
};

/**
 * layer_lookup() - look a name up in a directory and count one lookup of the kernel
 *
 * Return: 0, -ENOENT, -ENAMETOOLONG, or as inode_lookup().
 */
int layer_lookup(struct fs *fs, struct inode *directory, const char *name, struct found *ret_found);

/**
 * layer_make() - make an object, and count one lookup of it
 * @name: NULL: an object without one, as of O_TMPFILE, which takes from the directory what it would
 *
 * Return: 0, -EEXIST, -ENAMETOOLONG, -EBUSY for the directory that the mount covers, or -ENOENT for one that is
 * gone.
 */
int layer_make(struct fs *fs, struct inode *directory, const char *name, const struct making *making,
	       struct found *ret_found);

/** layer_link() - one more name for an object, and count one lookup. Return: as layer_make(). */
int layer_link(struct fs *fs, struct inode *inode, struct inode *directory, const char *name,
	       struct found *ret_found);

/** layer_remove() - remove a name. Return: 0, -ENOENT, -ENOTDIR, -EISDIR, -ENOTEMPTY, -EBUSY. */
int layer_remove(struct fs *fs, struct inode *directory, const char *name, bool is_directory);

/**
 * layer_rename() - rename(2)
 * @flags:    of renameat2(2)
 * @whiteout: what RENAME_WHITEOUT leaves under the old name
 *
 * Return: 0, -ENOENT, -EEXIST, -ENOTEMPTY, -EISDIR, -ENOTDIR, -EBUSY, or -EINVAL for flags unknown.
 */
int layer_rename(struct fs *fs, struct inode *directory, const char *name, struct inode *new_directory,
		 const char *new_name, unsigned flags, const struct making *whiteout);

/* A name of a listing; borrowed for the call. A call that returns other than 0 ends the listing. */
typedef int layer_list_call(void *context, const char *name, uint64_t ino, mode_t type);

/**
 * layer_list() - every name of a directory but "." and ".."
 *
 * Return: 0, what @call returned, -ENOMEM, or -errno of reading BACKING's directory.
 */
int layer_list(struct fs *fs, struct inode *directory, layer_list_call *call, void *context);

#endif
