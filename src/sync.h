/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_SYNC_H
#define MEMMAPFS_SYNC_H

/*
 * From "these bytes were written" to "they are on disk": the list of dirty inodes, and syncing one of
 * them. When that is done, and in which thread, is the loop's business.
 */

#include <stddef.h>
#include <stdint.h>

struct fs;
struct file;
struct inode;

/**
 * sync_note_write() - bytes of a file were written and are not synced
 *
 * Locks:  mapping->lock, fs->dirty_lock.
 * Return: 0 or -ENOMEM: then the caller has to sync them itself.
 */
int sync_note_write(struct fs *fs, struct inode *inode, struct file *file, uint64_t offset, uint64_t length);

/** sync_forget_bytes() - so many of the bytes taken from a file's dirty extents are dealt with */
void sync_forget_bytes(struct fs *fs, uint64_t bytes);

/**
 * sync_take() - take the list of dirty inodes
 *
 * Return: the first, linked by dirty_next, each with a reference; NULL when nothing is dirty.
 */
struct inode *sync_take(struct fs *fs);

/**
 * sync_inode() - put what is dirty of an inode onto the disk
 * @inode: taken by sync_take(); the reference stays the caller's. Read dirty_next before
 *
 * A failure is remembered for the file's handles, logged with the range and counted; the range is not
 * tried again.
 *
 * Blocks: until the disk has it.
 * Return: 0 or the first failure's -errno.
 */
int sync_inode(struct fs *fs, struct inode *inode);

/** sync_all() - sync every dirty inode, here and now. Return: 0 or the last failure's -errno. */
int sync_all(struct fs *fs);

#endif
