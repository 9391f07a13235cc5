/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CHECKPOINT_H
#define MEMMAPFS_CHECKPOINT_H

/*
 * A checkpoint of a kept layer: what it has becomes a base under a name of its own, and the layer goes on empty
 * over it. No page is copied: an empty layer that lies over the other is made under the new name, and then the two
 * directories exchange their names, which is one step for whoever looks, and for the disk. A crash before it
 * leaves the layer as it was, and beside it an empty one, which the next checkpoint of that name takes; a crash
 * after it leaves the layer empty over the base.
 *
 * Knows directories and databases; what a mount has to do with its inodes is in checkpoint_live.c.
 */

#include "layer/home.h"

struct fs;

/**
 * checkpoint_prepare() - make the empty layer that is to take the layer's place
 * @layer:     held to be written
 * @path:      where the checkpoint will be, and the empty layer is until then: on the file system of @layer, and
 *             nothing, an empty directory, or what an interrupted checkpoint of this layer has left
 * @holder:    as of home_open()
 * @ret_fresh: HOME_NONE after a failure; else to be ended with checkpoint_undo() or home_close()
 * @ret_error: one line for the user on failure; the caller frees it
 *
 * Return: 0, or
 *   -EEXIST  there is something else
 *   -EXDEV   it would be on another file system
 *   or as home_open() or db_fact_get()
 */
int checkpoint_prepare(const struct home *layer, const char *path, const char *holder, struct home *ret_fresh,
		       char **ret_error);

/**
 * checkpoint_exchange() - exchange the names, once all of the layer is on the disk and its log is empty
 * @generation: of @layer, as its database has it
 * @below:      what @layer lies over
 *
 * On success the paths of both are exchanged as well, and @ret_error may say that the disk could not be told.
 *
 * Return: 0, -EXDEV, or another -errno, with @ret_error set, and both as they were.
 */
int checkpoint_exchange(struct home *layer, uint64_t generation, const struct home_stack *below,
			struct home *fresh, char **ret_error);

/** checkpoint_undo() - remove the empty layer of a checkpoint that came to nothing, and close it; also HOME_NONE */
void checkpoint_undo(struct home *fresh);

/**
 * checkpoint_live() - a checkpoint of the layer of a mount, which goes on meanwhile but for the moment of it; or of
 * one that was opened without a mount
 * @ret_error: one line; on success too, where the disk could not be told
 *
 * What was written until then is synced; files stay open, and unlinked ones go on above.
 *
 * Locks:  serving is stopped, maintain_lock, commit_lock and layer->lock are taken; none may be held.
 * Blocks: for the disk.
 * Return: 0, -EOPNOTSUPP for a layer in memory, -EMFILE for one too many, or as the others.
 */
int checkpoint_live(struct fs *fs, const char *path, char **ret_error);

#endif
