/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_DISCARD_H
#define MEMMAPFS_LAYER_DISCARD_H

#include <stddef.h>

struct fs;

/**
 * layer_discard() - throw away what the layer has of some objects, or all of it
 * @paths: below the mount's root; none: everything
 * @ret_reply: malloc'ed; {"objects", "bytes"} that went, or one line that says why nothing did, or NULL
 *
 * An object goes with all of its names and, if it is a directory, with all that is below it in the layer. What was
 * moved is back where it was, with what took its place gone; what was made is gone, for those who have it open
 * too once they close it. All of it or nothing, on the disk too.
 *
 * Locks:  stops serving, then layer->lock.
 * Blocks: until nobody is served, and for the disk.
 * Return: 0, -EBUSY while another command changes the layer or after a commit was interrupted, -EROFS, as maintain_find(), or -errno of the database.
 */
int layer_discard(struct fs *fs, char *const *paths, size_t count, char **ret_reply);

#endif
