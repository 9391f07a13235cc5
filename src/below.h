/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_BELOW_H
#define MEMMAPFS_BELOW_H

/* Opening what is below a directory and nothing else, whatever others put there meanwhile. Knows libc only. */

#include <linux/openat2.h>
#include <stdint.h>

/**
 * open_below() - open(2) for a path that no symbolic link and no ".." leads away from
 * @root:    directory, O_PATH will do; borrowed
 * @path:    relative to it; "" for the directory itself
 * @flags:   of open(2) without O_CREAT, O_CLOEXEC among them. A link at the path's end is refused as well, but for
 *           O_PATH | O_NOFOLLOW, which opens the link itself
 * @resolve: more of openat2(2): RESOLVE_NO_XDEV, to enter no other mount, or 0
 *
 * Return: a descriptor, or -errno of openat2(2), of which
 *   -ELOOP  a symbolic link is in the way
 *   -EXDEV  the path leads out of @root, or, where that was asked for, to another mount
 */
int open_below(int root, const char *path, int flags, uint64_t resolve);

#endif
