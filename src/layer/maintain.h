/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_MAINTAIN_H
#define MEMMAPFS_LAYER_MAINTAIN_H

/* What committing and discarding share: paths that they are given, and what follows for nodes and for the kernel. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layer/layer.h"

/* What a path leads to, as far as the layer knows it. */
struct maintain_place {
	uint64_t parent; /* 0: the root itself */
	char *name;	 /* malloc'ed; NULL for the root */
	uint64_t node;	 /* 0: the layer has no record of what is there */
	bool whiteout;	 /* the name was removed */
};

/** maintain_place_fini() - also as CLEANUP() */
void maintain_place_fini(struct maintain_place *place);

/**
 * maintain_find() - what a path below the mount's root leads to
 * @ret_error: one line that names the path on failure, or NULL; the caller frees it
 *
 * Locks:  layer->lock.
 * Return: 0, -ENOENT, -ENOTDIR, or as layer_lookup().
 */
int maintain_find(struct fs *fs, const char *path, struct maintain_place *ret_place, char **ret_error);

/* What the kernel has to forget once it is not waited for any more. */
struct forgetting {
	uint64_t *inodes;
	size_t inode_count;
	struct forgotten_name {
		uint64_t directory;
		char *name;
	} * names;
	size_t name_count;
};

/** forget_inode() - bytes and attributes; without memory they are trusted until they time out */
void forget_inode(struct forgetting *forgetting, const struct inode *inode);

/** forget_name() - what the name in that directory leads to */
void forget_name(struct forgetting *forgetting, const struct inode *directory, const char *name);

/** forget_run() - have the kernel do it; serving is not stopped, no lock is held. Empties the list. */
void forget_run(struct fs *fs, struct forgetting *forgetting);

/** maintain_live() - the inode of a record, if there is one in memory; with a lookup counted */
struct inode *maintain_live(struct fs *fs, const struct node_row *row);

/** maintain_save_all() - put what writing has changed of any node into its record. Return: 0 or the last -errno. */
int maintain_save_all(struct fs *fs);

/**
 * maintain_reset() - nothing of an inode's object is the layer's any more: it is BACKING's as it is
 *
 * The record is gone or goes in the same transaction; the page file is the caller's to remove. Serving is stopped.
 */
void maintain_reset(struct fs *fs, struct inode *inode);

#endif
