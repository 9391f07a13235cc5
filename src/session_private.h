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

struct fs;
struct fuse_session;

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
	pthread_mutex_t forget_lock;
	size_t forget_hand; /* protected by forget_lock; descriptor to go on from */
	pthread_mutex_t queue_lock;
	uint64_t queue[FORGET_QUEUE]; /* protected by queue_lock; nodeids whose pages are to go */
	size_t queued;		      /* protected by queue_lock */
	_Atomic bool entries_wanted;
};

#endif
