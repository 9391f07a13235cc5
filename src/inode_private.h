/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_INODE_PRIVATE_H
#define MEMMAPFS_INODE_PRIVATE_H

/* What inode.c, which keeps the table, offers lookup.c, which fills it. */

#include "inode.h"

#define STATX_WANTED (STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID)

/** inode_new() - an inode that is in no table yet, or NULL without memory */
struct inode *inode_new(struct fs *fs, const struct statx *stx);

/** inode_free() - free an inode that is in no table; closes its descriptors */
void inode_free(struct fs *fs, struct inode *inode);

/**
 * inode_count_lookup() - count a lookup of the inode with this key, if the table has it
 *
 * Locks:  the key shard's.
 * Return: false when it has not.
 */
bool inode_count_lookup(struct fs *fs, const struct identity_key *key, struct inode **ret_inode);

/**
 * inode_publish() - put an inode into the table, with an id and one lookup
 * @fresh: consumed; freed where the table has the object already
 *
 * Locks:  the key shard's, then the id shard's.
 * Return: the inode that is in the table, with one lookup counted.
 */
struct inode *inode_publish(struct fs *fs, struct inode *fresh);

/**
 * inode_become() - the inode stands for another object from here on; its nodeid stays
 * @handle: consumed; NULL: none
 *
 * Nobody uses inodes meanwhile. Locks: the key shards'.
 */
void inode_become(struct fs *fs, struct inode *inode, const struct identity_key *key,
		  struct identity_handle *handle);

#endif
