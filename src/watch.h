/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_WATCH_H
#define MEMMAPFS_WATCH_H

/*
 * watch=auto: what others change directly in BACKING is heard of, and the kernel told to forget what it cached of
 * it. While that works the kernel may trust attributes and names for long.
 *
 * Root hears of everything in BACKING's file system. Others hear of what they ask for, object by object: of a
 * directory's names once one is looked up there, and of an object's content and attributes once the kernel asks
 * for them again. What was looked at before that is trusted for a short time only, which "moments" are for.
 */

#include <stdbool.h>
#include <stddef.h>
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

struct watch_counts {
	uint64_t events;    /* of others, that concerned the mount */
	uint64_t overflows; /* how often some were lost */
	size_t objects;	    /* asked for one by one at this moment */
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

/**
 * watch_ignore_writes() - have the kernel make no events of writes to a file, or make them again
 * @inode: borrowed
 *
 * For those whose events would not be heeded. Where it fails they come, and cost what events cost; or stay away until
 * the kernel forgets the object, except for the one of a close.
 */
void watch_ignore_writes(struct fs *fs, struct inode *inode, bool ignored);

/** watch_is_whole() - is every change heard of, and was from the first request on? */
bool watch_is_whole(const struct fs *fs);

/** watch_covers() - is every change of this object heard of, and was before anybody looked at it? */
bool watch_covers(const struct fs *fs, const struct inode *inode);

/**
 * watch_look() - have changes of an object, and of the names in a directory, heard of from here on where it can be
 * @inode: borrowed
 *
 * Costs two system calls the first time, and where it fails: which it does where the daemon's user may not read the
 * object, and where the kernel's limit is reached, which is said once.
 *
 * Return: the moment, as watch_moment(). Whoever looks at the object afterwards sees it as it was then, or hears of it.
 */
uint64_t watch_look(struct fs *fs, struct inode *inode);

/** watch_moment() - the moment before somebody looks at an object, for watch_trust() */
uint64_t watch_moment(const struct fs *fs);

/**
 * watch_trust() - how long the kernel may trust an object's attributes, or what it is told of the names in it
 * @moment: before the object, or the names, were looked at
 */
const struct trust *watch_trust(const struct fs *fs, uint64_t moment, const struct inode *inode);

/**
 * watch_trust_name() - how long it may trust that a name leads to an object
 * @moment:    before the name was looked up
 * @directory: where; NULL: it was found in another way
 * @inode:     what it leads to
 */
const struct trust *watch_trust_name(const struct fs *fs, uint64_t moment, const struct inode *directory,
				     const struct inode *inode);

/** watch_forget() - the inode is about to be freed, its descriptors still open. Locks: marks->lock. */
void watch_forget(struct fs *fs, struct inode *inode);

/** watch_count() - figures for the statistics; all 0 where nothing is heard of */
void watch_count(const struct fs *fs, struct watch_counts *ret_counts);

#endif
