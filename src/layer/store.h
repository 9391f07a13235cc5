/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_STORE_H
#define MEMMAPFS_LAYER_STORE_H

/*
 * Where a layer's page files are: sparse files named by the node's id, in a directory: of a kept layer, or of a
 * tmpfs that no path leads to. Who may not mount one (a daemon of an ordinary user) gets an anonymous memory file (memfd_create(2)) a node
 * instead, each of which keeps a descriptor for as long as the node has pages.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store_file;

struct store {
	int directory;	   /* of the page files; -1: memory files */
	bool read_only;	   /* files are opened for reading only; constant */
	_Atomic bool made; /* files were made since the last store_sync_names() */
	pthread_mutex_t lock;
	struct store_file **buckets; /* protected by lock; memory files by id */
	size_t mask;		     /* protected by lock; buckets - 1 */
	size_t count;		     /* protected by lock */
};

/** store_open_memory() - an empty store in memory. Return: 0 or -errno. */
int store_open_memory(struct store *store);

/** store_open_directory() - the store in a directory; @fd is consumed */
void store_open_directory(struct store *store, int fd);

/** store_sync_names() - put the names of files that were made onto the disk. Return: 0 or -errno. */
int store_sync_names(struct store *store);

/**
 * store_each() - the id of every page file in a directory of them, in no order
 * @fd: consumed
 *
 * Return: 0, what @call returned other than 0, or -errno of reading the directory.
 */
int store_each(int fd, int (*call)(void *context, uint64_t id), void *context);

/** store_close() - what is in memory is gone */
void store_close(struct store *store);

/**
 * store_file() - a descriptor of a node's page file, open for reading and writing
 * @create: make the file if it is not there
 *
 * Return: a descriptor that the caller closes, -ENOENT, or -errno.
 */
int store_file(struct store *store, uint64_t id, bool create);

/** store_remove() - remove a node's page file, if it has one */
void store_remove(struct store *store, uint64_t id);

#endif
