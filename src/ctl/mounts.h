/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CTL_MOUNTS_H
#define MEMMAPFS_CTL_MOUNTS_H

/* This machine's mounts of memmapfs-fuse, as the kernel lists them. Asks no daemon. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct mount {
	char *backing;
	char *point;
	bool read_only;
	uid_t user; /* who mounted */
};

/**
 * mounts_read() - all mounts that this process sees, in the order they were made
 * @file:       /proc/self/mountinfo, or one like it
 * @ret_mounts: malloc'ed array; release with mounts_free()
 *
 * A mount with subtype= of its own is not recognised.
 *
 * Return: 0 or -errno.
 */
int mounts_read(const char *file, struct mount **ret_mounts, size_t *ret_count);

/** mounts_free() - accepts NULL */
void mounts_free(struct mount *mounts, size_t count);

#endif
