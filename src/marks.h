/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_MARKS_H
#define MEMMAPFS_MARKS_H

/*
 * Which inode an event is about that names its object by file handle, where no privilege opens such a handle: a
 * hash table of those whose changes are asked for. Knows numbers only; several inodes may have one hash.
 */

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct mark {
	struct mark *next; /* protected by marks->lock */
	uint64_t hash;	   /* constant; of the object's file handle */
	uint64_t nodeid;   /* constant */
	uint64_t number;   /* counts marks in the order in which they began to work; of who adds it */
};

struct marks {
	pthread_mutex_t lock;
	struct mark **buckets; /* protected by lock */
	size_t mask;	       /* protected by lock; buckets - 1 */
	size_t count;	       /* protected by lock */
};

/** marks_init() - an empty table. Return: 0 or -ENOMEM. */
int marks_init(struct marks *marks);

/** marks_fini() - frees every mark that is in the table; accepts one that was never set up */
void marks_fini(struct marks *marks);

/** marks_add() - a new mark. Locks: marks->lock. Return: NULL without memory; see marks_remove(). */
struct mark *marks_add(struct marks *marks, uint64_t hash, uint64_t nodeid);

/**
 * marks_remove() - frees the mark
 * @last:    called where no other mark has its hash, before anybody can add one; may be NULL
 *
 * Locks:  marks->lock, also while @last runs.
 */
void marks_remove(struct marks *marks, struct mark *mark, void (*last)(void *context), void *context);

/**
 * marks_find() - the nodeids that a hash stands for
 * @ret_nodeids: room for @max of them
 *
 * Locks:  marks->lock.
 * Return: how many were put there.
 */
size_t marks_find(struct marks *marks, uint64_t hash, uint64_t *ret_nodeids, size_t max);

/** marks_count() - Locks: marks->lock. */
size_t marks_count(struct marks *marks);

#endif
