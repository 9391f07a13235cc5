/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_INODE_H
#define MEMMAPFS_INODE_H

/*
 * Backing objects that the kernel, or the daemon itself, holds on to: found by key (device, inode
 * number, birth time) when a name is looked up and by nodeid when a request comes. A nodeid is a
 * stable 64-bit id, never an address. In mode=cow objects that were made on the mount are inodes as well.
 *
 * An inode lives as long as the kernel's lookup count or its references are above zero. A request's
 * nodeid is held by the kernel until the reply, so handlers borrow the inode without a reference.
 * Whatever outlives the reply takes one.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fds.h"
#include "identity.h"

struct file;
struct fs;
struct mark;
struct node;

struct inode {
	struct inode *key_next;		/* protected by the key shard's lock */
	struct inode *id_next;		/* protected by the id shard's lock */
	struct identity_key key;	/* constant */
	_Atomic uint64_t nodeid;	/* constant once published; 0 before */
	uint64_t lookups;		/* protected by the key shard's lock; the kernel's count */
	_Atomic uint32_t refs;		/* raised under the id shard's lock, or by who holds one */
	mode_t type;			/* S_IFMT bits; constant */
	_Atomic bool sticky;		/* its descriptors must not be closed: no name may lead back to it */
	_Atomic bool write_only;	/* the daemon may open it for writing but not for reading */
	bool indexed;			/* protected by the key shard's lock; in the key table */
	_Atomic bool covered;		/* the directory that this very mount covers: shown empty */
	_Atomic bool queued;		/* on fs->dirty, or taken off it and not looked at yet */
	_Atomic bool names_dirty;	/* of a directory: entries changed and are not synced */
	bool syncing, overdue;		/* loop thread only; being synced, and due again already */
	struct identity_handle *handle; /* constant; NULL: the path descriptor is all there is */
	struct fd_slot slots[FD_KINDS];
	_Atomic(struct file *) file; /* set once, by the first open; see file.h */
	_Atomic(struct node *) node; /* mode=cow: set once; see layer/layer.h */
	_Atomic(struct mark *) mark; /* set once; see watch_look() */
	struct inode *dirty_next;    /* protected by fs->dirty_lock while queued */
	uint64_t dirty_since_ms;     /* protected by fs->dirty_lock while queued; CLOCK_MONOTONIC */
};

#define INODE_SHARDS 64

struct inode_shard {
	pthread_mutex_t lock;
	struct inode **buckets; /* protected by lock */
	size_t mask;		/* protected by lock; buckets - 1 */
	size_t count;		/* protected by lock */
};

struct inode_table {
	struct inode_shard by_key[INODE_SHARDS];
	struct inode_shard by_id[INODE_SHARDS];
	_Atomic uint64_t next_id; /* for objects whose handle makes no id */
	_Atomic size_t count;
	_Atomic size_t peak; /* the highest count seen since fs_trim_memory() last gave memory back */
};

/* What a name led to. */
struct found {
	struct inode *inode;
	struct statx stx;
};

/** inode_table_init() - an empty table. Return: 0 or -ENOMEM. */
int inode_table_init(struct inode_table *table);

/** inode_table_fini() - free every inode, whoever holds it; no request is running */
void inode_table_fini(struct fs *fs);

/**
 * inode_root() - make the inode of BACKING's root, nodeid 1
 * @fd: O_PATH descriptor of the root; consumed
 *
 * Return: 0, -ENOMEM, or -errno of statx(2).
 */
int inode_root(struct fs *fs, int fd);

/**
 * inode_find() - the inode of a request
 * @nodeid: held by the kernel for the length of the request
 *
 * Return: borrowed; NULL for a nodeid that is not in the table.
 */
struct inode *inode_find(struct fs *fs, uint64_t nodeid);

/** inode_hold_id() - the same for who has no request: with a reference */
struct inode *inode_hold_id(struct fs *fs, uint64_t nodeid);

/* A name that others replace between two system calls is looked up so often. */
#define REPLACED_TRIES 10

/**
 * inode_lookup() - look a name up in a directory and count one lookup of the kernel
 * @directory: where; borrowed
 * @name:      one path component, or "." and ".." for a client of exported file handles
 * @ret_found: set on success only
 *
 * Return: 0, or -ENOENT, -ESTALE, -ENFILE (no descriptors left and none could be freed), -ENOMEM,
 * or -errno of statx(2).
 */
int inode_lookup(struct fs *fs, struct inode *directory, const char *name, struct found *ret_found);

/** inode_lookup_fd() - as inode_lookup(), for an object that is open; @fd is borrowed */
int inode_lookup_fd(struct fs *fs, int fd, struct found *ret_found);

/** inode_lookup_id() - as inode_lookup(), by the nodeid of a file handle from an earlier run */
int inode_lookup_id(struct fs *fs, uint64_t nodeid, struct found *ret_found);

/**
 * inode_forget() - take back lookups of the kernel; the inode may be gone afterwards
 *
 * Unknown nodeids are ignored.
 */
void inode_forget(struct fs *fs, uint64_t nodeid, uint64_t lookups);

/** inode_is_looked_up() - does the kernel know the inode at this moment? Locks: the key shard's. */
bool inode_is_looked_up(struct fs *fs, struct inode *inode);

/** inode_ref() - hold the inode beyond the request; the caller borrows or holds it already */
void inode_ref(struct inode *inode);

/** inode_unref() - give a reference back; the inode may be gone afterwards */
void inode_unref(struct fs *fs, struct inode *inode);

/**
 * inode_fd() - a descriptor of the inode, from the cache or opened now
 * @kind:    FD_PATH is served by any kind; FD_READ by one open for writing too where it can be read
 * @ret_use: set on success only; end with fd_use_end()
 *
 * Return: 0, or -errno of open(2) or open_by_handle_at(2).
 */
int inode_fd(struct fs *fs, struct inode *inode, enum fd_kind kind, struct fd_use *ret_use);

/**
 * inode_open() - an open file description of the caller's own, for locks
 * @flags: of open(2); O_CLOEXEC is added
 *
 * Return: a descriptor that the caller closes, or -errno.
 */
int inode_open(struct fs *fs, struct inode *inode, int flags);

/**
 * inode_hold() - have a path descriptor in the inode's slot, whatever others it has
 *
 * Return: 0, or -errno of opening it.
 */
int inode_hold(struct fs *fs, struct inode *inode);

/**
 * inode_keep() - keep the object reachable though its last name is about to go
 *
 * Return: 0, or -errno of opening it.
 */
int inode_keep(struct fs *fs, struct inode *inode);

/**
 * inode_known() - the inode of a name, or of an open object for an empty one, if the kernel knows it
 *
 * Return: with a reference, or NULL.
 */
struct inode *inode_known(struct fs *fs, int directory_fd, const char *name);

/**
 * inode_hold_files() - the inodes of one shard by id that have a file: opened at some time
 * @ret_inodes: malloc'ed array, each with a reference; NULL without memory
 *
 * Locks:  shard->lock.
 * Return: how many.
 */
size_t inode_hold_files(struct inode_shard *shard, struct inode ***ret_inodes);

/**
 * inode_ids() - the nodeids of all inodes of one shard by id
 * @ret_ids: malloc'ed; NULL without memory
 *
 * Locks:  shard->lock.
 * Return: how many.
 */
size_t inode_ids(struct inode_shard *shard, uint64_t **ret_ids);

/** inode_name() - the path of an inode for messages: malloc'ed, never NULL except without memory */
char *inode_name(struct fs *fs, struct inode *inode);

/**
 * inode_each_file() - call a function for every inode that has a file; it is referenced meanwhile
 *
 * Locks:  the id shards', one at a time; none while the function runs.
 */
void inode_each_file(struct fs *fs, void (*call)(struct fs *fs, struct inode *inode));

/** inode_number() - the inode number shown to clients: distinct also across mounts below BACKING */
uint64_t inode_number(const struct fs *fs, uint64_t dev, uint64_t ino);

/** inode_slot_keeps() - may this descriptor not be closed? For the descriptor cache. */
bool inode_slot_keeps(const void *inode, enum fd_kind kind);

#endif
