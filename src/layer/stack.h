/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_STACK_H
#define MEMMAPFS_STACK_H

/*
 * The layers below the one that is written: bases, which are kept layers, only read here and shared with other
 * mounts.
 *
 * An object is the same in all of them by its inode's key: of BACKING's objects that is their identity, of others
 * the id of their node, which no two layers give out. So a node is what the topmost layer that has a record says,
 * and where that says nothing, the next below. A record that a layer makes of an object takes along what the ones
 * below say of its attributes, so that it is complete; of the bytes only pages that are written get into it, and
 * its clean pages are those of the layers that it was made over.
 *
 * Of two bases neither of which was made over the other the upper one's word is taken: of a file's content as a
 * whole, of an object's attributes, of a name.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "fds.h"
#include "layer/db.h"
#include "layer/home.h"
#include "layer/pages.h"
#include "layer/store.h"

struct fs;
struct identity_key;
struct inode;
struct layer;
struct node;

#define STACK_BASES_MAX 64

struct base {
	struct home home; /* its database: protected by layer->lock */
	struct store store;
	size_t place; /* in the stack, 0 for the topmost base */
	size_t reach; /* so many bases below it it was made over */
};

/* What a base has of a node; constant from when the node is in its inode. */
struct lower {
	struct lower *next; /* further down */
	struct base *base;
	uint64_t id;	     /* there */
	uint32_t own;	     /* enum node_own, of its record */
	bool content;	     /* its pages count: clean pages above are to be looked for here */
	struct pages pages;  /* with content */
	struct fd_slot slot; /* the page file's */
};

/**
 * stack_open() - open the bases that fs->options names, and those that the lowest of them remembers; without any,
 * those that the kept layer @top remembers
 * @top:       the layer to be written; NULL: in memory. What it lies over is noted in it.
 * @ret_error: one line for the user on failure; the caller frees it
 *
 * Return: 0, or
 *   -EINVAL  a layer twice, or too many, or one that lies in BACKING
 *   -EXDEV   one belongs to another BACKING, or was made over other layers than lie below it now
 *   or as home_open_shared().
 */
int stack_open(struct fs *fs, struct home *top, char **ret_error);

/** stack_close() - let the bases go; no node refers to them any more */
void stack_close(struct layer *layer);

/**
 * stack_check_backing() - is the layer one of this BACKING?
 * @write: it is to be written: one that is new becomes so, and where BACKING is now is noted
 *
 * Return: 0, -EXDEV with @ret_error set, or as db_fact_get().
 */
int stack_check_backing(struct fs *fs, struct home *home, bool write, char **ret_error);

/**
 * stack_node_locked() - the node of an object, from the records that the layers have of it
 * @ret_row:  the topmost record; to be freed with db_row_fini()
 *
 * Locks:  layer->lock.
 * Return: 0, -ENOENT where no layer has one, -ENOMEM, -EIO or as db_node_load().
 */
int stack_node_locked(struct fs *fs, const struct identity_key *key, struct node_row *ret_row,
		      struct node **ret_node);

/** stack_row_locked() - the record that one layer has of an object. Return: as db_node_load(). */
int stack_row_locked(struct layer_db *db, const struct identity_key *key, struct node_row *ret_row);

/**
 * stack_restore_locked() - a node is what the layers say by now, after the one that is written has lost its record
 *
 * Serving is stopped. Return: 0, or as stack_node_locked(), and then the node is as it was.
 */
int stack_restore_locked(struct fs *fs, struct inode *inode, struct node *node);

/** node_new() - a node without any record, or NULL without memory */
struct node *node_new(struct fs *fs, bool has_origin);

/** node_free() - free a node and close its descriptors */
void node_free(struct fs *fs, struct node *node);

/** stack_part() - no base has anything of the node any more. Serving is stopped, or nobody knows the node. */
void stack_part(struct fs *fs, struct node *node);

/**
 * stack_entry_locked() - what the layers have under a name of a directory
 *
 * Return: 0, with a whiteout too, -ENOENT where none of them says anything of it, or as db_entry_get().
 */
int stack_entry_locked(struct fs *fs, const struct node *directory, const char *name,
		       struct db_entry *ret_entry);

/** stack_below_locked() - as stack_entry_locked(), without what the layer that is written says */
int stack_below_locked(const struct node *directory, const char *name, struct db_entry *ret_entry);

/** stack_xattrs_locked() - the database and the node in it that have an object's extended attributes, which are own */
void stack_xattrs_locked(struct fs *fs, const struct node *node, struct layer_db **ret_db, uint64_t *ret_id);

/** stack_copy_xattrs_locked() - what a base has of them into the record that has just been made. Return: 0, -errno. */
int stack_copy_xattrs_locked(struct fs *fs, const struct node *node, uint64_t id);

/** stack_copy_xattrs_of_locked() - what one layer has of them into another's record. Return: 0, -errno. */
int stack_copy_xattrs_of_locked(struct layer_db *from, uint64_t from_id, struct layer_db *to, uint64_t to_id);

/** lower_content() - the next base from this one down whose pages count, or NULL */
struct lower *lower_content(struct lower *lower);

/**
 * lower_run() - as pages_run(), of bytes that are clean in the layer above
 * @ret_lower: whose the run is, unless it is clean in all of them and BACKING's
 */
uint64_t lower_run(struct lower *lower, uint64_t offset, uint64_t end, enum page_kind *ret_kind,
		   struct lower **ret_lower);

/** lower_page_file() - a descriptor of its page file. Return: 0 or -errno. */
int lower_page_file(struct fs *fs, struct inode *inode, struct lower *lower, struct fd_use *ret_use);

/** lower_blocks() - blocks of 512 bytes that a file has below, of which BACKING has so many at most */
uint64_t lower_blocks(struct lower *lower, uint64_t backing_blocks);

#endif
