/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CTL_WALK_H
#define MEMMAPFS_CTL_WALK_H

/* The regular files at and below paths: what commands that take PATH... work on. */

#include <stddef.h>
#include <stdint.h>

struct walk_file {
	char *path;
	uint64_t size;
};

struct walk {
	struct walk_file *files; /* in the order of the paths, sorted by name below each */
	size_t count;
	uint64_t bytes;
	size_t failures; /* directories and files that could not be looked at; said */
};

/**
 * walk_paths() - collect the files
 * @paths: each on a mount of memmapfs-fuse; symbolic links are followed there and nowhere below
 *
 * What is mounted below another mount's directory is left alone.
 *
 * Return: 0, or -errno after having said why.
 */
int walk_paths(char **paths, int count, struct walk *ret_walk);

/** walk_fini() - also as CLEANUP() */
void walk_fini(struct walk *walk);

#endif
