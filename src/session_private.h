/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_SESSION_PRIVATE_H
#define MEMMAPFS_SESSION_PRIVATE_H

/* What session.c, which serves requests, shares with notify.c, which makes some of its own. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

struct deferred;
struct fs;
struct fuse_session;
struct ring;

#define FORGET_QUEUE 256

struct session {
	struct fs *fs;
	struct fuse_session *fuse;
	int fd; /* the device; a duplicate of the library's */
	unsigned worker_count;
	pthread_t *workers;
	pthread_mutex_t workers_lock;
	bool *ended; /* by worker; protected by workers_lock: a worker that has not said so can be signalled */
	_Atomic bool stopping;
	_Atomic bool unmounted;
	_Atomic int error;
	struct protocol protocol;
	struct ring *_Atomic ring; /* NULL: all requests come by the device; never changed once set */
	pthread_mutex_t forget_lock;
	size_t forget_hand; /* protected by forget_lock; descriptor to go on from */
	pthread_mutex_t queue_lock;
	pthread_cond_t queue_filled;
	uint64_t queue[FORGET_QUEUE]; /* protected by queue_lock; nodeids whose pages are to go */
	size_t queued;		      /* protected by queue_lock */
	struct deferred *deferred;    /* protected by queue_lock; see notifier.c */
	bool entries_wanted;	      /* protected by queue_lock */
	bool notifying;		      /* protected by queue_lock; the notifier's thread takes work */
	pthread_t notifier;
};

/**
 * session_serve() - have one request handled, in the calling worker
 * @buffer:   the request, contiguous: header, arguments, names, data; changed in place
 * @length:   of it
 * @space:    memory for the reply, MAX_WRITE bytes
 * @ring:     it came through io_uring, as the reply will go
 */
void session_serve(struct session *session, unsigned char *buffer, size_t length, unsigned char *space,
		   bool ring);

/** notifier_start() - start the thread that has the kernel forget. Return: 0 or -errno of pthread_create(3). */
int notifier_start(struct session *session);

/** notifier_stop() - end it, once it has done what it was asked for; while workers serve. Idempotent. */
void notifier_stop(struct session *session);

/**
 * session_forget_entries() - have the kernel drop names whose inodes are kept by descriptor
 *
 * From a thread that is no worker.
 */
void session_forget_entries(struct session *session);

#endif
