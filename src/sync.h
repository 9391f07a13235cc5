/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_SYNC_H
#define MEMMAPFS_SYNC_H

/*
 * From "these bytes were written" to "they are on disk": what each sync= mode does at a write, at a change
 * of names and at a close; the list of dirty inodes; and syncing one of them. When a round of the list is
 * due, and in which thread, is the loop's business.
 *
 * A failed sync is told to whoever may ask at that moment: a sync that returns 0 while another one of the
 * same file is about to report a failure would hide it, as the kernel tells each failure once. So every
 * sync is on a list until it has recorded how it ended, and whoever answers a client waits for the ones
 * that began before.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fs;
struct file;
struct inode;

/**
 * sync_written() - bytes of a file, or its size, were changed
 * @now: the caller's descriptor asks for it (O_DSYNC, O_SYNC)
 *
 * sync=immediate, and @now, sync them here; the other modes note them.
 *
 * Locks:  mapping->lock, fs->dirty_lock; none across the sync.
 * Blocks: only where it syncs.
 * Return: 0, or -errno of the sync, which is then recorded for every handle.
 */
int sync_written(struct fs *fs, struct inode *inode, struct file *file, uint64_t offset, uint64_t length,
		 bool now);

/** sync_is_immediate() - does a write on such a descriptor wait for the disk? @flags: of open(2) */
bool sync_is_immediate(const struct fs *fs, int flags);

/**
 * sync_names_changed() - entries of a directory were made, removed or renamed
 *
 * sync=immediate syncs the directory here, sync=periodic with the next round; a failure is logged and
 * counted. Called while the caller holds the inode.
 */
void sync_names_changed(struct fs *fs, struct inode *directory);

/**
 * sync_file() - fsync(2) of a file
 * @datasync: fdatasync(2) will do
 *
 * Blocks: until the disk has it, and until earlier syncs of the file have said how they ended.
 * Return: 0, or -errno. A failed fsync(2) is recorded for every handle, the caller's included.
 */
int sync_file(struct fs *fs, struct inode *inode, struct file *file, bool datasync);

/**
 * sync_closing() - a descriptor of the file is being closed: sync=lazy syncs what is dirty
 *
 * Whether that failed, file_error_check() tells.
 */
void sync_closing(struct fs *fs, struct inode *inode, struct file *file);

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
 * Return: 0 or the last failure's -errno.
 */
int sync_inode(struct fs *fs, struct inode *inode);

/**
 * sync_all() - sync everything, here and now: every dirty inode, then the file systems of BACKING, which
 * have what nobody kept track of
 *
 * Return: 0 or the last failure's -errno.
 */
int sync_all(struct fs *fs);

#endif
