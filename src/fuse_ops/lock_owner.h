/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_FUSE_OPS_LOCK_OWNER_H
#define MEMMAPFS_FUSE_OPS_LOCK_OWNER_H

/*
 * Whose locks there are. A flock(2) lock belongs to a handle, a fcntl(2) lock to an owner (a process) of an inode: each
 * gets an open file description of its own, and a fcntl lock becomes an OFD lock on it. Closing the description
 * releases whatever was not unlocked.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct file;
struct fs;
struct inode;
struct lock_owner;
struct open_file;

/** lock_owner_open() - a description to lock with, which the caller closes. Return: it, or -errno. */
int lock_owner_open(struct fs *fs, struct inode *inode);

/** lock_owner_is_known() - has it set a lock before? Locks: file->lock. */
bool lock_owner_is_known(struct file *file, uint64_t id);

/**
 * lock_owner_get() - the owner's record, made if there is none; counted as waiting, so that it stays until lock_owner_put()
 * @pid: who locks, as the request names it
 *
 * Locks:  file->lock.
 * Return: 0, -ENOMEM, or -errno of opening the file.
 */
int lock_owner_get(const struct open_file *open, uint64_t id, uint32_t pid, struct lock_owner **ret_owner);

/** lock_owner_put() - frees it where it has been released meanwhile. Locks: file->lock. */
void lock_owner_put(struct file *file, struct lock_owner *owner);

/**
 * lock_owners_silent() - does another owner hold locks through a handle whose close(2) the daemon hears of only by RELEASE?
 *
 * Locks: file->lock.
 */
bool lock_owners_silent(struct file *file, const struct lock_owner *asking);

/**
 * lock_owner_holder() - whose lock is in the way?
 * @asking: the owner whom it is in the way of
 * @pid:    as fcntl(2) has it: of an OFD lock it does not say
 *
 * Locks:  file->lock.
 * Return: with only one other owner on this mount, it is that one's; 0: not known.
 */
pid_t lock_owner_holder(struct file *file, uint64_t asking, pid_t pid);

#endif
