/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_H
#define MEMMAPFS_LAYER_H

/*
 * mode=cow: what programs change on the mount, kept apart from BACKING, which is only read; but see commit.h.
 *
 * The layer is a set of nodes. A node stands for one object: for one of BACKING, recognized by its identity
 * (device, inode number, birth time) and never by its path, or for one that was made on the mount. It has as
 * much of the object as was changed: attributes, extended attributes, content (size and pages), each from the
 * first change on; what it has not is BACKING's as it is now. So all names of an object lead to one node,
 * inode numbers stay, and nothing is copied for a change of names or attributes.
 *
 * Names: a directory's node has entries, each a name with a node or a whiteout. What it has no entry for is
 * looked for in the BACKING directory that it stands for, wherever it has been moved since. When an object of
 * BACKING is first changed its name gets an entry as well, so that its node is found though BACKING puts
 * another object there.
 *
 * Records of all this are rows of a database (db.h), bytes are pages of files in a store (store.h), and
 * which page is whose is said by two compressed sets (pages.h). In memory, beside the database, every inode
 * that the kernel knows has a struct node, so that reading, writing and asking attributes need no query.
 *
 * Below a layer there may be others, only read (stack.h).
 *
 * A kept layer (keep.h) is the same with the database and the page files in a directory. A record never names a
 * page that is not on the disk: what writing changes of a node goes into its record only when its page file has
 * been synced, and what is no data any more is given back only when the record that says so is on the disk.
 *
 * Locks: layer->lock, then node->lock, then place_lock; see fs.h. Changes of names and attributes are made
 * with layer->lock held, in one transaction each; reading and writing take node->lock only. What writing
 * changes of a node, its pages, size and times, is put into its record when its last writer closes, or for a
 * kept layer when it is synced.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fds.h"
#include "inode.h"
#include "layer/db.h"
#include "layer/home.h"
#include "layer/ids.h"
#include "layer/pages.h"
#include "layer/store.h"
#include "mapping/cache.h"
#include "mapping/paging.h"

/* The device of objects that were made on the mount, as statx(2) has it: no driver's. */
#define LAYER_DEV_MAJOR 0xfffu
#define LAYER_DEV_MINOR 0xfffffu

/* The record of the root: the first of every layer. */
#define LAYER_ROOT UINT64_C(1)

/* What of a node is the layer's and no longer BACKING's. */
enum node_own {
	OWN_ATTRIBUTES = 1, /* mode, owner, link count, access and change time */
	OWN_MTIME = 2,
	OWN_CONTENT = 4, /* of a regular file: its size and pages; mtime with it */
	OWN_XATTRS = 8,
	OWN_ALL = 15,
	/* Not of the node but of its record: what the bases say of the object, a commit has put into BACKING. */
	OWN_ALONE = 16,
};

/* What of struct statx a node keeps: every inode that the kernel knows has a node, and statx's own has twice this. */
struct node_stat {
	uint64_t stx_size;
	struct packed_time stx_atime, stx_mtime, stx_ctime, stx_btime;
	uint32_t stx_uid, stx_gid, stx_nlink, stx_rdev_major, stx_rdev_minor;
	uint16_t stx_mode;
};

/** node_stat_of() - what a node keeps of attributes */
struct node_stat node_stat_of(const struct statx *stx);

/** node_stat_statx() - the same as attributes, with nothing but these */
struct statx node_stat_statx(const struct node_stat *stat);

/* What every changed file costs in memory: fields lie by size. */
struct node {
	/* Of id and own, committing and discarding take away while nobody is served; see serve.h. */
	_Atomic uint64_t id; /* 0: the layer has no record of it; written under layer->lock */
	/*
	 * Grows with each change of content and attributes; written under lock. What was changed, forgotten and made
	 * anew begins above all that it ever was.
	 */
	_Atomic uint64_t version;
	char *target;	     /* of a symbolic link made on the mount; constant */
	struct lower *lower; /* what the bases have of it, topmost first; constant while being served */
	pthread_rwlock_t lock;
	struct node_stat stx;	    /* protected by lock; as far as it is own, else what BACKING last was */
	struct pages pages;	    /* protected by lock; of a file with OWN_CONTENT */
	struct origin_state before; /* protected by lock; as in struct node_row */
	struct inode *parent; /* protected by layer->place_lock; where it was last found; holds a reference */
	char *name;	      /* protected by layer->place_lock; there */
	struct fd_slot slot;  /* the page file's */
	_Atomic(struct mapping *) windows; /* of the page file; set once, by the first read of several runs */
	uint32_t saved; /* protected by lock; lower half of the version that the record has content of */
	_Atomic uint32_t own; /* enum node_own; bits are only ever added, under layer->lock */
	bool has_origin;      /* it stands for an object of BACKING; constant while being served */
	bool capability; /* protected by lock; it may have security.capability, which a write takes away */
	bool unsaved; /* protected by lock; content differs from the record's, until the record is written */
	bool loose;   /* protected by lock; its page file may have pages that are no data */
	int followed; /* protected by layer->lock; its object's, for a commit, see commit_follow(); or -1 */
	_Atomic bool told; /* that BACKING's object changed under the layer's copies */
};

/* The thread that looks for strays; see sweep.h. */
struct layer_sweep {
	pthread_t thread;
	bool started;
	_Atomic bool stop;
};

/* How far a commit is. */
struct layer_progress {
	_Atomic bool running;
	_Atomic uint64_t done, all; /* bytes */
};

struct layer {
	pthread_rwlock_t serving; /* see serve.h */
	pthread_mutex_t lock;	  /* recursive */
	struct layer_db *db;	  /* protected by lock */
	uint64_t next_id;	  /* protected by lock */
	_Atomic size_t origins;	  /* nodes with a record that stand for objects of BACKING */
	pthread_mutex_t place_lock;
	struct store store;
	struct paging page_paging; /* of page files: the mount's idle=, and nothing else; constant */
	struct base **bases;	   /* below this one, topmost first; constant while being served */
	size_t base_count;
	struct identity_key covered; /* what the mount covers; constant */
	uint64_t max;		     /* bytes of pages; 0: no limit; constant */
	_Atomic uint64_t page_count; /* data pages of all nodes */
	/* kept layers */
	bool kept;	     /* constant */
	bool opened;	     /* a kept one, to its end; constant */
	struct home home;    /* its directory, without the database; HOME_NONE in memory; as bases */
	uint64_t generation; /* protected by lock; as the database has it */
	bool counting;	     /* protected by lock; the next change is of a new generation */
	int writable;	     /* constant; BACKING's root, through which a commit writes; -1: none */
	pthread_mutex_t maintain_lock; /* held while the layer is committed or discarded from */
	struct ids sought;	       /* protected by lock; nodes that subject_try_places() is looking for */
	unsigned seeking;	       /* protected by lock; how deep */
	struct layer_progress progress;
	char stage[40];	 /* constant; see keep_commit_stage() and commit_is_stage() */
	bool stage_left; /* protected by maintain_lock; a commit has begun to use it, and not ended */
	_Atomic uint64_t
		forgotten; /* nodes that went from memory after they were changed: where versions begin */
	pthread_mutex_t commit_lock;	/* taken before lock; held until what is committed is on the disk */
	_Atomic bool failed;		/* the database has lost changes: nothing more is committed */
	struct layer_removal *removals; /* protected by lock; page files that go once the record says so */
	bool unsynced; /* protected by commit_lock; the database's log has commits that may not be on the disk */
	bool strays; /* protected by lock; there may be page files of neither a record nor removals */
	struct layer_sweep sweep;
};

/**
 * layer_open() - the layer that fs->options asks for, over fs->root: an empty one in memory, or a kept one
 * @ret_error: one line for the user on failure, or NULL; the caller frees it
 *
 * Return: 0, -ENOMEM, -EIO, or for a kept one as keep_open().
 */
int layer_open(struct fs *fs, char **ret_error);

/** layer_close() - what is in memory is gone; inodes may be freed after it. Accepts a file system without one. */
void layer_close(struct fs *fs);

/** layer_dev() - LAYER_DEV_MAJOR and LAYER_DEV_MINOR as one number */
uint64_t layer_dev(void);

/**
 * layer_node() - the node of an inode, made by the first who asks
 *
 * Locks:  layer->lock, for the first.
 * Return: 0, -ENOMEM, -EIO, or -ESTALE for an object of the layer without a record.
 */
int layer_node(struct fs *fs, struct inode *inode, struct node **ret_node);

/** layer_peek() - the node of an inode if it has one already, else NULL */
struct node *layer_peek(struct inode *inode);

/**
 * layer_adopt() - an inode stands for another object of BACKING from here on, which has a name in a directory
 * @handle: of that object; NULL: none; copied
 *
 * Serving is stopped. Return: 0, -ENOMEM, or -errno of opening it.
 */
int layer_adopt(struct fs *fs, struct inode *inode, int directory, const char *name, const struct statx *stx,
		const struct identity_handle *handle);

/** layer_forget() - free an inode's node with it. Locks: layer->lock, for nodes without a name. */
void layer_forget(struct fs *fs, struct inode *inode);

/**
 * layer_record_locked() - give a node a record, and its name an entry
 *
 * Return: 0, or -errno of statx(2) or of the database.
 */
int layer_record_locked(struct fs *fs, struct inode *inode, struct node *node);

/**
 * layer_save() - put what writing has changed of a node into its record
 *
 * Of a kept layer's nodes the page file is synced first.
 *
 * Locks: layer->lock, node->lock; of a kept layer's neither while the disk is waited for.
 * Return: 0, -ENOMEM, or -errno of the sync or the database: then it is still to be done.
 */
int layer_save(struct fs *fs, struct inode *inode, struct node *node);

/**
 * layer_inode_locked() - the inode of a record, with one lookup counted; as inode_lookup() without ret->stx
 * @entry: what db_entry_get() said
 */
int layer_inode_locked(struct fs *fs, const struct db_entry *entry, struct inode **ret_inode);

/** layer_place_set() - note where an inode was found, or with NULL that it has no name that is known */
void layer_place_set(struct fs *fs, struct inode *inode, struct inode *parent, const char *name);

/** layer_parent() - the directory that an inode was last found in, or the root for itself; with a reference, or NULL */
struct inode *layer_parent(struct fs *fs, struct inode *inode);

/** layer_path() - the path of an inode by the names it was found under, below BACKING's path; malloc'ed or NULL */
char *layer_path(struct fs *fs, struct inode *inode);

/**
 * layer_statx() - attributes as the mount shows them
 *
 * Return: 0, or -errno of statx(2) for an object of BACKING without a record.
 */
int layer_statx(struct fs *fs, struct inode *inode, struct statx *ret_stx);

/** layer_backing_statx() - attributes of the BACKING object that an inode stands for. Return: 0 or -errno. */
int layer_backing_statx(struct fs *fs, struct inode *inode, struct statx *ret_stx);

/** layer_charge() - count data pages in. Return: 0, or -ENOSPC at layer_max, or without room on the disk. */
int layer_charge(struct fs *fs, uint64_t pages);

/** layer_discharge() - count data pages out */
void layer_discharge(struct layer *layer, uint64_t pages);

/** layer_room() - bytes that pages in memory may still take: what layer_max leaves, or memory and swap */
uint64_t layer_room(const struct layer *layer);

/** layer_now() - the time a change gets: the kernel's coarse clock, as of its own file systems */
struct statx_timestamp layer_now(void);

/** layer_open_pages() - the page file of an object of the layer, to look at. Return: a descriptor, or -errno. */
int layer_open_pages(struct fs *fs, struct inode *inode);

/** layer_page_windows() - the windows of a node's page file, made by the first who asks; NULL without memory */
struct mapping *layer_page_windows(struct fs *fs, struct node *node);

/** layer_leave_page_file() - the node's page file is another's, or nobody's, from here on */
void layer_leave_page_file(struct fs *fs, struct node *node);

/** layer_page_file() - a descriptor of a node's page file, by its slot. Return: 0, -ENOENT, or -errno. */
int layer_page_file(struct fs *fs, struct inode *inode, struct node *node, bool create,
		    struct fd_use *ret_use);

/*
 * One change of names and attributes: all of it, or nothing. First tx_node() takes every node in that the change
 * is about and hands out copies of their attributes, to be edited; then tx_change() begins the change proper, of
 * entries and records; tx_end() writes the attributes. What tx_node() had to note of a node stays noted even
 * where the change comes to nothing: it changes nothing that anybody sees.
 */
#define TX_NODES 8
struct tx_node {
	struct inode *inode; /* borrowed */
	struct node *node;
	struct statx stx;
	uint32_t set; /* enum node_own that the change sets: OWN_ATTRIBUTES or OWN_MTIME */
	/* As it was taken: a write, which holds no layer->lock, may take set-id bits away meanwhile. */
	uint16_t mode;
	/* Of tx_end(): what it has changed. */
	bool sets_mode;
	uint32_t own;
	struct node_stat before;
};

struct tx {
	struct fs *fs;
	bool changing;
	size_t count;
	struct tx_node nodes[TX_NODES];
};

/** tx_begin() - Locks: layer->lock, until tx_end() */
void tx_begin(struct fs *fs, struct tx *ret_tx);

/** tx_node() - take a node into the change, with a record; the same twice is one. Return: 0 or -errno. */
int tx_node(struct tx *tx, struct inode *inode, struct tx_node **ret_node);

/** tx_touch() - a change of now: of the object's attributes, and with OWN_MTIME of its content or names */
void tx_touch(struct tx_node *taken, uint32_t set);

/** tx_change() - from here on records change. Return: 0 or -errno. */
int tx_change(struct tx *tx);

/** tx_end() - write the change if @result is 0, else undo it. Return: @result, or why it cannot be kept. */
int tx_end(struct tx *tx, int result);

#endif
