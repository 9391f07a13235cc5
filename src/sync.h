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

struct file;
struct fs;
struct handle;
struct inode;

/**
 * sync_written() - bytes of a file, or its size, were changed
 * @flags:      O_SYNC or O_DSYNC where the caller's descriptor asks for it, else 0
 * @ret_failed: a sync was tried here and failed; it is recorded for every handle
 *
 * sync=immediate, and @flags, sync them here; the other modes note them.
 *
 * Locks:  mapping->lock, fs->dirty_lock; none across the sync.
 * Blocks: only where it syncs.
 * Return: 0, or -errno of the sync, or of what kept it from being tried.
 */
int sync_written(struct fs *fs, struct inode *inode, struct file *file, uint64_t offset, uint64_t length,
		 int flags, bool *ret_failed);

/**
 * sync_error() - has a sync of the file failed that this handle has not consumed?
 * @consume: true for fsync and synchronous writes; false for close, which only reports
 *
 * Return: 0 or the failure's -errno. The caller's request holds the inode.
 */
int sync_error(struct fs *fs, struct inode *inode, struct file *file, struct handle *handle, bool consume);

/**
 * sync_names_changed() - entries of a directory were made, removed or renamed
 *
 * sync=immediate syncs the directory here, sync=periodic with the next round; a failure is logged and
 * counted. Called while the caller holds the inode.
 */
void sync_names_changed(struct fs *fs, struct inode *directory);

/**
 * sync_unseen() - somebody has the file open who writes without the daemon, or just had
 *
 * sync=periodic syncs it with each round until nobody has, and once after; sync=lazy at each close.
 */
void sync_unseen(struct fs *fs, struct inode *inode, struct file *file);

/** sync_unseen_end() - the last of those is gone; its close has been through sync_closing() */
void sync_unseen_end(struct fs *fs, struct inode *inode, struct file *file);

/** sync_attributes_changed() - modes, owners, times or extended attributes were: the last sync is for them */
void sync_attributes_changed(struct fs *fs);

/**
 * sync_file() - fsync(2) of a file
 * @datasync:   fdatasync(2) will do
 * @ret_failed: it was tried and failed: recorded for every handle, the caller's included
 *
 * Blocks: until the disk has it, and until earlier syncs of the file have said how they ended.
 * Return: 0, or -errno. Where @ret_failed is false nothing was tried, and what is dirty stays so.
 */
int sync_file(struct fs *fs, struct inode *inode, struct file *file, bool datasync, bool *ret_failed);

/**
 * sync_closing() - a descriptor of the file is being closed: sync=lazy syncs what is dirty
 *
 * Return: 0, or -errno as sync_file().
 */
int sync_closing(struct fs *fs, struct inode *inode, struct file *file);

/**
 * sync_later() - have the inode synced with the others that are dirty, whatever sync= says of its writes
 *
 * Holds a reference until then. Locks: fs->dirty_lock.
 */
void sync_later(struct fs *fs, struct inode *inode);

#define SYNC_TAKE_ALL UINT64_MAX

/**
 * sync_take() - take the dirty inodes that are due
 * @due_by_ms: CLOCK_MONOTONIC; what may wait longer stays; or SYNC_TAKE_ALL
 *
 * Return: the first, linked by dirty_next, each with a reference; NULL when nothing is dirty.
 */
struct inode *sync_take(struct fs *fs, uint64_t due_by_ms);

/** sync_is_batch() - are these, as sync_take() returns them, so many that sync_begin_all() is worth its while? */
bool sync_is_batch(const struct inode *first);

/**
 * sync_begin_all() - start the write-back of inodes that are about to be synced one by one
 * @first: as sync_take() returns them, which they stay
 *
 * Blocks: while the disk's queue is full, not for what is written.
 */
void sync_begin_all(struct fs *fs, struct inode *first);

/** sync_begin_batch() - the same of fs->batch */
void sync_begin_batch(struct fs *fs);

/** sync_fetch() - have the kernel hand over what clients stored through mappings; a failure is logged */
void sync_fetch(struct fs *fs);

/** sync_mounts() - syncfs(2) of BACKING and of what is mounted below it. Return: 0 or the last -errno. */
int sync_mounts(struct fs *fs);

/**
 * sync_inode() - put what is dirty of an inode onto the disk
 * @inode: taken by sync_take(); the reference stays the caller's. Read dirty_next before
 *
 * A failure is remembered for the file's handles, logged with the range and counted; the range is not
 * tried again. What cannot be opened is put back and tried again.
 *
 * Blocks: until the disk has it.
 * Return: 0 or the last failure's -errno.
 */
int sync_inode(struct fs *fs, struct inode *inode);

/** sync_waiting() - inodes that are known to be dirty and not being synced. Locks: fs->dirty_lock. */
size_t sync_waiting(struct fs *fs);

/**
 * sync_all() - sync everything, here and now: every dirty inode, and where a mode keeps no track of what
 * is dirty the file systems of BACKING
 * @running: the loop may be syncing files of its own: BACKING is synced as a whole, for them as well
 *
 * Return: 0 or the last failure's -errno.
 */
int sync_all(struct fs *fs, bool running);

#endif
