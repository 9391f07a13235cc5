/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_HANDLE_H
#define MEMMAPFS_HANDLE_H

/*
 * Open handles: what the kernel calls fh. A number, never an address; numbers are found without a
 * lock, as the kernel keeps a handle open for as long as a request of it runs.
 */

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inode;

struct handle {
	uint64_t id;
	struct inode *inode;	     /* holds a reference */
	int flags;		     /* of open(2) */
	_Atomic uint64_t error_seen; /* sequence of the file's last error that this handle consumed */
	bool unseen;		     /* of a file: the kernel serves it without the daemon; set likewise */
	bool direct;		     /* of a file: the kernel caches nothing; set before the reply to OPEN */
	bool silent;   /* of a file: close(2) sends no FLUSH, the last one RELEASE; set likewise */
	bool parallel; /* of a file: several of its writes may come at once; likewise */
	_Atomic uint64_t write_end; /* where its last synchronous write ended, if it may go on; else 0 */
	_Atomic int flock_fd;	    /* an open file description for flock(2), or -1; made when first locked */
	/* directories */
	pthread_mutex_t lock;
	int fd;		 /* constant; -1 for files */
	char *entries;	 /* protected by lock; raw getdents64(2) records */
	size_t length;	 /* protected by lock */
	size_t position; /* protected by lock; of the next record */
	int64_t offset;	 /* protected by lock; the directory offset that position stands for */
};

/** flags_write() - do these flags of open(2) ask for writing? */
static inline bool flags_write(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

/** handle_writes() - was it opened for writing? */
static inline bool handle_writes(const struct handle *handle)
{
	return flags_write(handle->flags);
}

#define HANDLE_CHUNK 1024
#define HANDLE_CHUNKS 65536

struct handle_table {
	pthread_mutex_t lock;
	_Atomic(struct handle *) *_Atomic chunks[HANDLE_CHUNKS]; /* set once each */
	uint64_t used;						 /* protected by lock; ids ever given out */
	uint64_t *unused;    /* protected by lock; a stack of ids given back */
	size_t unused_count; /* protected by lock */
	size_t unused_size;  /* protected by lock */
	_Atomic size_t count;
};

/** handle_table_init() - @table is zeroed memory, most of which stays untouched */
int handle_table_init(struct handle_table *table);

/** handle_table_fini() - free every handle; no request is running */
void handle_table_fini(struct handle_table *table);

/**
 * handle_new() - a handle with an id of its own
 * @inode: the caller's reference, consumed on success
 *
 * Return: 0, -ENOMEM, or -ENFILE after 2^26 handles open at once.
 */
int handle_new(struct handle_table *table, struct inode *inode, int flags, struct handle **ret_handle);

/** handle_find() - the handle of an id, or NULL */
struct handle *handle_find(struct handle_table *table, uint64_t id);

/**
 * handle_table_next() - the inode of the next open handle, with a reference
 * @after:     id to go on from; 0 to begin
 * @reference: takes the reference, while the handle cannot go away
 *
 * Locks:  table->lock.
 * Return: the id to go on from, or 0 past the last.
 */
uint64_t handle_table_next(struct handle_table *table, uint64_t after, void (*reference)(struct inode *inode),
			   struct inode **ret_inode);

/** handle_free() - give the id back; closes its descriptors; the reference on the inode is the caller's */
void handle_free(struct handle_table *table, struct handle *handle);

#endif
