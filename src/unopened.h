/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_UNOPENED_H
#define MEMMAPFS_UNOPENED_H

/*
 * opens=skip: the kernel tells of no open and no close of regular files. Requests come without a handle; those
 * of one file share one. Who writes is known while it writes: a file counts as open for writing from its
 * first write until it was not written for a moment, so that its backing file can be executed again.
 */

#include <stdbool.h>

struct file;
struct found;
struct fs;
struct handle;
struct inode;

/**
 * unopened_file() - the file of an inode, and the handle that all requests without one share
 *
 * Return: 0, or -ENOMEM. Both live as long as the inode.
 */
int unopened_file(struct fs *fs, struct inode *inode, struct file **ret_file, struct handle **ret_handle);

/**
 * unopened_hold() - keep a regular file that a name was just found to lead to reachable
 *
 * Whoever opens it next is not heard of, and must not find it gone because BACKING gave the name away. Nothing
 * where the kernel tells of opens. Return: 0, or -errno; -ESTALE where it is gone already.
 */
int unopened_hold(struct fs *fs, struct inode *inode);

/**
 * unopened_lookup() - as inode_lookup(), and what was found is held where the kernel tells of no opens
 *
 * A name that BACKING gives to something else meanwhile is looked up again: Linux does so only once after an ESTALE.
 */
int unopened_lookup(struct fs *fs, struct inode *directory, const char *name, struct found *ret_found);

/**
 * unopened_write() - the file is about to be written: it has a writer from here on; see unopened_written()
 *
 * Locks: fs->linger_lock and file->lock, the first time in a while.
 */
void unopened_write(struct fs *fs, struct inode *inode, struct file *file);

/** unopened_written() - it has been; lets go of what writing needs where the file lost its writer meanwhile */
void unopened_written(struct fs *fs, struct inode *inode, struct file *file);

/** unopened_may_store() - may clients store through mappings that no handle tells of? */
bool unopened_may_store(const struct fs *fs);

/** unopened_settle() - files that were not written for a moment have no writer any more */
void unopened_settle(struct fs *fs);

/** unopened_lingers() - are there files that have one? Locks: fs->linger_lock. */
bool unopened_lingers(struct fs *fs);

#endif
