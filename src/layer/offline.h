/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_OFFLINE_H
#define MEMMAPFS_LAYER_OFFLINE_H

struct fs;

/**
 * offline_open() - open a kept layer that nobody has mounted, over the BACKING it was last mounted over
 * @path:      the layer's directory
 * @ret_fs:    nothing is mounted, no request will come; release with offline_close()
 * @ret_error: one line for the user on failure, or NULL; the caller frees it
 *
 * The layer is held as by a mount: no other can have it meanwhile.
 *
 * Return: 0, or
 *   -ENOTDIR  there is no layer in the directory
 *   or as fs_open() and keep_open()
 */
int offline_open(const char *path, struct fs **ret_fs, char **ret_error);

/** offline_close() - accepts NULL */
void offline_close(struct fs *fs);

#endif
