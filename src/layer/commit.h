/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_COMMIT_H
#define MEMMAPFS_LAYER_COMMIT_H

#include <stdbool.h>
#include <stddef.h>

struct fs;
struct inode;
struct layer_stop;

/**
 * layer_commit() - write what the layer has of some objects, or all of it, into BACKING
 * @paths:     below the mount's root; none: everything
 * @force:     also over what somebody changed in BACKING since
 * @ret_reply: malloc'ed; {"objects", "names", "bytes"}, or one line that says what is in the way, or NULL
 *
 * An object is committed with all of its names, and a directory with all that is below it in the layer. New
 * directories above a path, and what BACKING has in the way and the layer elsewhere, come along.
 *
 * Locks:  stops serving for moments; maintain_lock throughout.
 * Blocks: for as long as it takes to write.
 * Return: 0, or
 *   -EBUSY   another command changes the layer
 *   -EROFS   the mount, or BACKING, is read-only
 *   -ESTALE  somebody changed in BACKING what would be written over; nothing was
 *   -EINTR   the caller gave up; the next commit of a kept layer takes up where this one ended
 *   or as maintain_find(), or -errno of writing to BACKING
 */
int layer_commit(struct fs *fs, char *const *paths, size_t count, bool force, const struct layer_stop *stop,
		 char **ret_reply);

/** layer_commit_progress() - {"done", "all"} in bytes of the commit that runs, zeros where none does */
int layer_commit_progress(struct fs *fs, char **ret_reply);

/** commit_is_stage() - is this BACKING's directory in which a commit prepares things? No listing shows it. */
bool commit_is_stage(const struct fs *fs, const struct inode *directory, const char *name);

#endif
