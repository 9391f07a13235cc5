/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LOCKED_H
#define MEMMAPFS_LOCKED_H

/*
 * The files that somebody locked by a command (control.h). What is locked of a file, and that it is, mapping/lock.h
 * knows; here each of them has a reference on its inode, so that it stays locked while nobody has it open and the
 * kernel forgets it. The reference goes with the last locked range, with the file's last name once nobody has it
 * open, and with the mount.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct file;
struct fs;
struct inode;

struct locked_files {
	pthread_mutex_t lock;
	struct inode **inodes; /* protected by lock; each with a reference */
	size_t capacity;       /* protected by lock; of inodes */
	size_t next;	       /* protected by lock; where locked_look() goes on */
	_Atomic size_t count;  /* of inodes; written under lock */
	size_t max;	       /* constant while serving */
};

/** locked_init() - none yet. @max: how many there may be */
void locked_init(struct locked_files *locked, size_t max);

/** locked_fini() - no thread uses it any more; the inodes are the table's to free */
void locked_fini(struct locked_files *locked);

/**
 * locked_hold() - have a file that is about to be locked, or has been, outlive the kernel's interest in it
 *
 * Once for each file, however often it is called. To be followed by locked_settle() once the locks are in place,
 * or are not.
 *
 * Locks:  locked_files.lock.
 * Return: 0, -ENOLCK where there are as many as there may be, or -ENOMEM.
 */
int locked_hold(struct fs *fs, struct inode *inode, struct file *file);

/**
 * locked_settle() - let the file go if nothing of it is to be locked any more
 *
 * The caller holds the inode. Locks: locked_files.lock.
 */
void locked_settle(struct fs *fs, struct inode *inode, struct file *file);

/** locked_is_held() - does a file have a reference here? Accepts NULL; takes no lock. */
bool locked_is_held(const struct file *file);

/**
 * locked_forgotten() - the kernel has forgotten an inode that is held here: unlock it if it has no name either
 *
 * The caller's reference is consumed.
 */
void locked_forgotten(struct fs *fs, struct inode *inode);

/**
 * locked_look() - unlock those that lost their last name in BACKING and nobody has open; some of them, in turn
 *
 * Blocks: for a look at each.
 */
void locked_look(struct fs *fs);

#endif
