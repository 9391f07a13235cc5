/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_BACKING_H
#define MEMMAPFS_LAYER_BACKING_H

/**
 * backing_open() - open BACKING so that nothing can be changed there
 *
 * Through a clone of its mounts that nothing else sees, read-only and without access times. Who may not clone
 * mounts (a daemon of an ordinary user) gets the directory itself; that nothing is written there is then up to
 * the daemon, and where a file is not its own the kernel may move access times.
 *
 * Return: a descriptor of the directory, or -1 with errno set.
 *
 * See: open_tree(2), mount_setattr(2)
 */
int backing_open(const char *path);

/**
 * backing_open_writable() - open BACKING so that it can be written: for committing a layer, and nothing else
 *
 * Through a clone as well, which keeps nobody from unmounting it, where the daemon may make one.
 *
 * Return: a descriptor of the directory, or -1 with errno set.
 */
int backing_open_writable(const char *path);

#endif
