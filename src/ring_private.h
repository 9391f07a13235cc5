/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_RING_PRIVATE_H
#define MEMMAPFS_RING_PRIVATE_H

/* What ring.c, which has all rings, shares with ring_worker.c, which serves one. */

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "protocol.h"
#include "uring.h"

struct session;

struct ring_worker {
	struct ring *ring;
	struct ring_worker *next; /* never changed once the worker is in the list */
	unsigned queue;
	bool bound;	    /* to the queue's CPU */
	unsigned small_run; /* requests since the last large read */
	struct uring uring;
	unsigned char
		*memory; /* FRONT_SIZE, the payload, and as much for replies of requests that carry one */
	struct iovec entry[2];	 /* headers and payload, as the kernel knows them */
	uint64_t commit_id;	 /* of the request that is being served */
	_Atomic uint64_t unique; /* the same, as replies name it; 0: none, or it has been answered */
	sem_t late;		 /* posted once the answer is in the following */
	struct fuse_out_header late_header;
	unsigned char *late_bytes; /* malloc'ed */
	size_t late_length;
	pthread_t thread; /* valid once started */
	bool started;	  /* protected by the ring's lock */
	uint64_t behind;  /* it takes the place of one that waits for something about this file; or 0 */
	bool left;	  /* its place has been taken, before it waits: it does not count as serving */
	bool registered;  /* it has served a request */
	bool said;	  /* that io_uring_enter(2) fails */
	bool usable;	  /* protected by the ring's lock: the thread may use io_uring */
	bool ended;	  /* protected by the ring's lock; a worker that has not said so can be signalled */
};

struct ring {
	struct session *session;
	unsigned queue_count;
	unsigned wanted; /* threads for each queue that do not wait for a late answer */
	cpu_set_t cpus;	 /* those that the process may use */
	bool joined;
	bool given_up;		/* protected by lock: it is not to be told */
	bool going;		/* protected by lock: the kernel has been told, threads may register */
	pthread_cond_t changed; /* a worker has become usable or has ended, or going has changed */
	_Atomic(struct ring_worker *) workers; /* grows at its head */
	pthread_mutex_t lock;
	_Atomic uint64_t kicks; /* made, see ring_kick() */
	unsigned *serving;	/* by queue; protected by lock: threads that do not wait for a late answer */
};

/**
 * ring_worker_new() - a worker with a ring of its own, in the list; its thread is not started
 * @queue: the CPU whose requests it is to serve
 *
 * Return: 0, -ENOMEM or -errno of io_uring_setup(2).
 */
int ring_worker_new(struct ring *ring, unsigned queue, struct ring_worker **ret_worker);

/**
 * ring_worker_start() - start its thread, which registers once the ring is going
 * @behind: the file that another waits for, whose place it takes; 0: it takes nobody's place
 *
 * Locks: takes the ring's. Return: 0, -ESHUTDOWN at the session's end, -EALREADY, -errno of pthread_create(3).
 */
int ring_worker_start(struct ring_worker *worker, uint64_t behind);

/** ring_worker_free() - after its thread has been joined, or never started */
void ring_worker_free(struct ring_worker *worker);

/**
 * ring_fill_queue() - start a thread for a queue that has fewer than it should
 * @behind: as above
 *
 * Return: has the queue what it should have?
 */
bool ring_fill_queue(struct ring *ring, unsigned queue, uint64_t behind);

/**
 * ring_kick() - have the kernel hand over what waits in a queue; see ring_kick.c
 * @queue:  the CPU that the calling thread is bound to
 * @nodeid: a file that is known to the kernel; another is looked for where it is not, or is not a regular file
 *
 * For an entry that was registered while the ring is going. Does not wait for the request that it makes.
 */
void ring_kick(struct ring *ring, unsigned queue, uint64_t nodeid);

#endif
