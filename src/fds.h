/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_FDS_H
#define MEMMAPFS_FDS_H

/*
 * The bounded cache of backing descriptors. Each inode has a slot for every kind of descriptor; a slot
 * is filled on demand, counted while in use and emptied by a clock sweep when the cache is full. Using
 * a filled slot takes no lock. Knows slots and numbers; how to open an inode is inode.c's business.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fd_kind {
	FD_PATH,  /* O_PATH */
	FD_READ,  /* O_RDONLY */
	FD_WRITE, /* O_RDWR, or O_WRONLY where reading is not allowed */
	FD_KINDS,
	FD_LAYER = FD_KINDS, /* mode=cow: the page file of a layer's node, in a slot of the node's own */
};

/* descriptor + 1 in the low half; users and flags in the high half; 0 is empty */
struct fd_slot {
	_Atomic uint64_t state;
};

struct fd_owner {
	struct fd_slot *slot;
	void *object; /* handed to keeps() */
	enum fd_kind kind;
};

struct fd_cache {
	size_t limit;	 /* descriptors the cache may hold; constant */
	size_t capacity; /* entries of owners; constant */
	/* May this slot not be emptied? Constant; called with lock held, takes no lock. */
	bool (*keeps)(const void *object, enum fd_kind kind);

	pthread_mutex_t lock;
	struct fd_owner *owners; /* protected by lock; indexed by descriptor */
	size_t hand;		 /* protected by lock; where the sweep goes on */
	_Atomic size_t count;	 /* written under lock */
};

/* A descriptor in use. fd is -1 when there is none. */
struct fd_use {
	struct fd_cache *cache;
	struct fd_slot *slot; /* NULL: the descriptor is this use's own and is closed at its end */
	int fd;
};
#define FD_USE_NONE ((struct fd_use){.fd = -1})

/**
 * fd_cache_init() - an empty cache
 * @limit:    descriptors it may hold
 * @capacity: highest descriptor number + 1 that it can be asked to keep
 *
 * Return: 0 or -ENOMEM.
 */
int fd_cache_init(struct fd_cache *cache, size_t limit, size_t capacity,
		  bool (*keeps)(const void *object, enum fd_kind kind));

/** fd_cache_fini() - free the cache; every slot has been closed */
void fd_cache_fini(struct fd_cache *cache);

/** fd_slot_peek() - the slot's descriptor, or -1; for keeps(), while the cache's lock is held */
int fd_slot_peek(const struct fd_slot *slot);

/** fd_slot_use() - use the slot's descriptor if it has one. Takes no lock. */
bool fd_slot_use(struct fd_cache *cache, struct fd_slot *slot, struct fd_use *ret_use);

/**
 * fd_slot_fill() - put a descriptor into a slot and use it
 * @fd: consumed; closed where the slot got one in the meantime, which is used instead
 *
 * Descriptors over the limit are closed, least recently used first, where they may be. A descriptor
 * that cannot be kept is used all the same and closed with the use.
 *
 * Locks: cache->lock.
 */
void fd_slot_fill(struct fd_cache *cache, struct fd_slot *slot, void *object, enum fd_kind kind, int fd,
		  struct fd_use *ret_use);

/** fd_use_end() - end a use; accepts FD_USE_NONE and a use that has ended. For CLEANUP(). */
void fd_use_end(struct fd_use *use);

/**
 * fd_slot_renew() - what a slot's descriptor refers to becomes what @fd refers to, for who uses it, too
 * @fd: of the same file; stays the caller's
 *
 * Does nothing where the slot has none. Return: 0 or -errno of dup3(2).
 */
int fd_slot_renew(struct fd_cache *cache, struct fd_slot *slot, int fd);

/** fd_slot_close() - empty a slot, at the latest when its last use ends. Locks: cache->lock. */
void fd_slot_close(struct fd_cache *cache, struct fd_slot *slot);

/**
 * fd_cache_relieve() - was @error a lack of descriptors, and could some be closed? Then try again.
 */
bool fd_cache_relieve(struct fd_cache *cache, int error);

/** fd_cache_shrink() - close up to @wanted unused descriptors; returns how many. Locks: cache->lock. */
size_t fd_cache_shrink(struct fd_cache *cache, size_t wanted);

#endif
