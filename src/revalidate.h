/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_REVALIDATE_H
#define MEMMAPFS_REVALIDATE_H

/*
 * cache=auto for files that stay open: the kernel asks for nothing while it reads from its own cache, so
 * the daemon looks whether somebody changed an open file directly in BACKING.
 */

struct fs;

/**
 * revalidate_open_files() - have the kernel drop what it cached of open files that others changed
 *
 * From a thread that serves no request: dropping pages waits for requests that read them. One call at a time.
 */
void revalidate_open_files(struct fs *fs);

#endif
