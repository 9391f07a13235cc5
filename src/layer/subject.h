/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_SUBJECT_H
#define MEMMAPFS_LAYER_SUBJECT_H

/*
 * One node of a layer, for those who go through all of them: its inode, what the layer has of it at this moment,
 * which may be ahead of its record, and its names.
 */

#include "layer/layer.h"
#include "layer/origin.h"

struct subject {
	struct fs *fs;
	uint64_t id;
	bool has_origin;
	uint32_t own;		    /* enum node_own */
	struct statx stx;	    /* as far as it is own */
	struct pages pages;	    /* a copy */
	struct origin_state before; /* of its origin */
	mode_t type;
	struct inode
		*inode; /* with a lookup counted; NULL: only a path led to it, and it does not any more */
};

/** subject_open() - Locks: layer->lock. Return: 0, -ENOENT, or -errno; end with subject_close(). */
int subject_open(struct fs *fs, uint64_t id, struct subject *ret_subject);

/** subject_change() - what has become of its origin in BACKING. Locks: layer->lock. */
enum origin_change subject_change(const struct subject *subject);

/**
 * subject_look_below() - what a directory, whose inode is there, shows under a name without the layer that is written
 * @ret_type: S_IFMT bits
 *
 * Locks:  layer->lock.
 * Return: 0, or -ENOENT for nothing that can be seen.
 */
int subject_look_below(const struct subject *directory, const char *name, struct identity_key *ret_key,
		       mode_t *ret_type);

/** subject_close() - accepts a zeroed one; also as CLEANUP() */
void subject_close(struct subject *subject);

/**
 * subject_path() - the path of a node by its first name, below the mount's root; malloc'ed, "" for the root
 *
 * Of one without a name that the layer knows, where its object is in BACKING. NULL where that is nowhere either.
 *
 * Locks: layer->lock.
 */
char *subject_path(struct fs *fs, uint64_t id);

/** subject_name_path() - the path of an entry of a directory; malloc'ed or NULL. Locks: layer->lock. */
char *subject_name_path(struct fs *fs, uint64_t parent, const char *name);

/** subject_origin_path() - where an inode's object is in BACKING, below its root; malloc'ed or NULL */
char *subject_origin_path(struct fs *fs, struct inode *inode);

/**
 * subject_try_places() - look for an object of BACKING where the layer has it, and where it moved it from
 * @key:     of the object there
 * @attempt: is called with each directory and name until it returns anything but -ESTALE
 *
 * Where no handle leads to it, and a commit may have moved it.
 *
 * Locks:  layer->lock.
 * Return: what @attempt returned last, or -ESTALE.
 */
int subject_try_places(struct fs *fs, uint64_t id, const struct identity_key *key,
		       int (*attempt)(void *context, struct inode *directory, const char *name),
		       void *context);

#endif
