/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_GLOB_H
#define MEMMAPFS_GLOB_H

/*
 * Patterns of paths, as rules.h describes them, compiled once and matched in time that grows with the
 * pattern's length times the path's, whatever the pattern. Knows text only.
 */

#include <stdbool.h>
#include <stddef.h>

struct glob;

/**
 * glob_new() - compile a pattern
 * @pattern:  borrowed
 * @ret_glob: set on success only
 * @ret_at:   on -EINVAL: offset of the character that is wrong
 * @ret_why:  on -EINVAL: what is wrong, static
 *
 * Return: 0, -EINVAL or -ENOMEM.
 */
int glob_new(const char *pattern, struct glob **ret_glob, size_t *ret_at, const char **ret_why);

/** glob_free() - accepts NULL */
void glob_free(struct glob *glob);

/** glob_matches() - @path is below the mount, without a slash in front. Takes no memory. */
bool glob_matches(const struct glob *glob, const char *path);

#endif
