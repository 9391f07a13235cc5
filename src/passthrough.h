/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_PASSTHROUGH_H
#define MEMMAPFS_PASSTHROUGH_H

/*
 * io=passthrough: the kernel reads, writes and maps the backing file itself. All opens of an inode have to go
 * the same way for as long as there are any, and share one registration of the backing file. The daemon sees
 * no read and no write: who may have written is known by who has the file open for it.
 */

#include <stdbool.h>

struct file;
struct fs;
struct inode;

/**
 * passthrough_open() - how the kernel is to serve an open of the file; the opener is counted already
 * @writes:        the handle writes
 * @ret_backing:   the number by which the kernel knows the backing file
 *
 * Locks:  file->lock.
 * Return: false where windows serve the file: the reason is logged once, where it is one of the machine's.
 */
bool passthrough_open(struct fs *fs, struct inode *inode, struct file *file, bool writes, int *ret_backing);

/**
 * passthrough_close() - a handle of the file is gone, and no more counted
 * @writes: it wrote, through the kernel: what it wrote last is still to be synced
 *
 * Locks: file->lock.
 */
void passthrough_close(struct fs *fs, struct inode *inode, struct file *file, bool writes);

#endif
