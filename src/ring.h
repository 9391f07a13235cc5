/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_RING_H
#define MEMMAPFS_RING_H

/*
 * Requests that come and are answered through io_uring, where the kernel offers it: one system call a request in
 * place of two, and a thread that sleeps on the CPU of who asks. It is the administrator who turns it on
 * (/sys/module/fuse/parameters/enable_uring); FORGET, INTERRUPT and everything before it is set up still come by
 * read(2) of the device.
 *
 * A thread has one ring with one entry, and so one request at a time: none waits behind one that blocks while
 * another thread is free. Where a handler leaves the answer to another thread, the ring's own waits for it, as only
 * that may use the ring, and a further thread is started in its place.
 *
 * See: Documentation/filesystems/fuse/fuse-io-uring.rst, fs/fuse/dev_uring.c
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct ring;
struct session;

/**
 * ring_new() - have all that the kernel must not wait for in vain, once it is told to use rings
 * @workers: threads that serve requests, shared among the CPUs' queues, at least one each; 0: as many as do well
 *
 * Return: 0, or -errno of io_uring_setup(2) or -ENOMEM: answer INIT without.
 */
int ring_new(struct session *session, unsigned workers, struct ring **ret_ring);

/**
 * ring_start() - serve; after the answer to INIT
 *
 * Threads inherit the caller's mask of signals. What cannot be started is told in the log; the device serves then.
 */
void ring_start(struct ring *ring);

/**
 * ring_reply() - answer a request that came through a ring, from any thread
 * @ring: NULL is accepted: none came
 * @iov:  struct fuse_out_header, and what follows it
 *
 * Return: the bytes of @iov, or -1 with errno ENOENT where the request did not come through a ring.
 */
ssize_t ring_reply(struct ring *ring, const struct iovec *iov, int count);

/**
 * ring_leave() - before a handler leaves its answer to another thread for long: have a thread in place of this one
 * @ring:   NULL is accepted: none is needed
 * @nodeid: the file that is waited for
 *
 * Return: may it? Where no thread can be had nobody would serve the queue, once enough wait: answer now.
 */
bool ring_leave(struct ring *ring, uint64_t nodeid);

/** ring_queues() - how many the kernel has been given; NULL is accepted: none */
unsigned ring_queues(const struct ring *ring);

/** ring_join() - end its threads, which the session says to be stopping; NULL is accepted. Idempotent. */
void ring_join(struct ring *ring);

/** ring_wake() - have threads look whether the session is stopping; NULL is accepted. Return: how many run */
unsigned ring_wake(struct ring *ring);

/** ring_free() - after ring_join() and session_abort(); NULL is accepted */
void ring_free(struct ring *ring);

#endif
