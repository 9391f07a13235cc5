/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CTL_WALK_H
#define MEMMAPFS_CTL_WALK_H

/*
 * The regular files at and below paths: what commands that take PATH... work on. Others may change the tree
 * meanwhile, and the command be root's: what a path leads to is looked up from the directory that the user has
 * named, without links and without other mounts, when it is found and again when it is opened.
 */

#include <stddef.h>
#include <stdint.h>

#include "ctl/client.h"

struct walk_file {
	char *path;	   /* as to be told: what the user has written, and what is below it */
	const char *below; /* the latter, inside of @path; "": it is what the user has written */
	char *const *root; /* what the user has written; the caller's */
	uint64_t size;	   /* bytes, as it was found */
};

struct walk {
	struct walk_file *files; /* in the order of the paths, sorted by name below each */
	size_t count;
	uint64_t bytes;
	size_t failures; /* directories and files that could not be looked at; said */
	struct client root;
	char *const *opened; /* what @root is of */
};
#define WALK_NONE ((struct walk){.root = CLIENT_NONE})

/**
 * walk_paths() - collect the files
 * @paths: each on a mount of memmapfs-fuse; symbolic links are followed there and nowhere below. Borrowed as long
 *         as the walk
 *
 * What is mounted below another mount's directory is left alone.
 *
 * Return: 0, or -errno after having said why.
 */
int walk_paths(char *const *paths, int count, struct walk *ret_walk);

/**
 * walk_open() - open one of the files, if it is one still
 * @ret_client: its path is borrowed from the walk
 *
 * Return: 0, or -errno after having said why.
 */
int walk_open(struct walk *walk, const struct walk_file *file, struct client *ret_client);

/** walk_fini() - also as CLEANUP() */
void walk_fini(struct walk *walk);

#endif
