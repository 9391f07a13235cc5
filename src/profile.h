/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_PROFILE_H
#define MEMMAPFS_PROFILE_H

/*
 * A profile: which ranges of which files of a tree were in memory, as a JSON file. Knows no mount: the tool
 * and the daemon (-o profile=) both read it.
 *
 *	{"memmapfs_profile": 1, "files": [{"path": "a/b", "size": 8192, "mtime_ns": 1, "ranges": [[0, 4096]]}]}
 *
 * Paths are relative to the tree. One that is not UTF-8 stands as "path_hex", two digits a byte.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/** profile_new() - an empty profile; a JSON object, or NULL without memory */
json_t *profile_new(void);

/**
 * profile_add() - note one file
 * @path:   relative to the tree
 * @ranges: array of [offset, length]; consumed
 *
 * Return: 0 or -ENOMEM.
 */
int profile_add(json_t *profile, const char *path, const struct stat *info, json_t *ranges);

/**
 * profile_write() - replace @file by the profile, in one step: it is the old one or the new one
 *
 * Return: 0 or -errno.
 */
int profile_write(const json_t *profile, const char *file);

/**
 * profile_read() - read and check a whole profile
 * @ret_error: on failure one malloc'ed line without the file's name, or NULL
 *
 * Ranges are ascending and inside the size that was noted; paths lead nowhere but below the tree.
 *
 * Return: 0, or -EINVAL, or -errno of opening it.
 */
int profile_read(const char *file, json_t **ret_profile, char **ret_error);

/** profile_path() - the path of one entry of "files": malloc'ed, or NULL */
char *profile_path(const json_t *entry);

/** profile_is_current() - is this still the file that was noted? */
bool profile_is_current(const json_t *entry, const struct stat *info);

/** profile_bytes() - how many bytes the ranges of an entry, or of all entries of a profile, hold */
uint64_t profile_bytes(const json_t *entry_or_profile);

/**
 * profile_open() - open one regular file below a tree, and nothing else: no link and no ".." leads out
 * @root: directory, O_PATH will do; borrowed
 *
 * Return: a descriptor for reading, or -errno. See: openat2(2)
 */
int profile_open(int root, const char *path);

#endif
