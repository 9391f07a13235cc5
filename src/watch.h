/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_WATCH_H
#define MEMMAPFS_WATCH_H

/*
 * watch=auto: what others change directly in BACKING is heard of, and the kernel told to forget what it cached of
 * it. While that works the kernel may trust attributes and names for long.
 */

#include <stdbool.h>
#include <stdint.h>

struct fs;
struct inode;
struct watch;

/* How long the kernel may trust what it is told, in seconds. */
struct trust {
	double attr_s;
	double entry_s;
	double negative_s;
};

/**
 * watch_open() - begin to hear of changes, where that is wanted and can be had; says in the log where it cannot
 *
 * While the process still has the privileges that it was started with, and before the first request.
 * fs->watch stays NULL where nothing is heard of.
 */
void watch_open(struct fs *fs);

/**
 * watch_settle() - decide how long the kernel may trust what it is told; while INIT is answered
 * @minor: of the protocol that the kernel speaks
 */
void watch_settle(struct fs *fs, unsigned minor);

/** watch_start() - start the thread that listens; workers serve. Return: 0, or -errno of pthread_create(3). */
int watch_start(struct fs *fs);

/** watch_stop() - end it, while workers still serve; idempotent */
void watch_stop(struct fs *fs);

/** watch_close() - release everything; the thread has ended */
void watch_close(struct fs *fs);

/** watch_covers() - are changes of this object heard of? */
bool watch_covers(const struct fs *fs, const struct inode *inode);

/** watch_trust() - how long the kernel may trust what it is told of an object, or of the names in it */
const struct trust *watch_trust(const struct fs *fs, const struct inode *inode);

/** watch_counts() - events of others that concerned the mount so far, and how often some were lost */
void watch_counts(const struct fs *fs, uint64_t *ret_events, uint64_t *ret_overflows);

#endif
