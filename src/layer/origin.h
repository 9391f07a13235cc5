/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_ORIGIN_H
#define MEMMAPFS_LAYER_ORIGIN_H

/*
 * What a layer's nodes stand for in BACKING, and whether somebody changed it since: each node remembers the size
 * and times that its object had when the first of it was copied.
 */

#include <stdbool.h>
#include <sys/stat.h>

#include "layer/db.h"

struct fs;
struct inode;
struct node;

/* In the order in which they matter to who has copies. */
enum origin_change {
	ORIGIN_SAME,
	ORIGIN_UNKNOWN,	 /* the layer is of a time when that was not noted */
	ORIGIN_CHANGED,	 /* size, or a time that no program sets back */
	ORIGIN_REPLACED, /* it is gone, and its name leads to another object */
	ORIGIN_GONE,
};

/** origin_change_name() - "same", "unknown", "changed", "replaced", "gone" */
const char *origin_change_name(enum origin_change change);

/** origin_state() - what to remember of an object */
struct origin_state origin_state(const struct statx *stx);

/** origin_compare() - has an object changed since? @now: as it is */
enum origin_change origin_compare(const struct origin_state *before, const struct statx *now);

/**
 * origin_watch() - BACKING's object was looked at: if it has changed under copies of its pages, say so once
 * @result: 0 or the -errno of looking
 * @now:    as it is, if @result is 0
 *
 * Locks:  node->lock, for nodes with content of their own.
 */
void origin_watch(struct fs *fs, struct inode *inode, struct node *node, int result, const struct statx *now);

/**
 * origin_statx_name() - what the BACKING directory that an inode stands for has under a name
 *
 * Return: 0, -ENOENT also for directories that stand for none, or -errno of statx(2).
 */
int origin_statx_name(struct fs *fs, struct inode *directory, const char *name, struct statx *ret_stx);

#endif
