/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_RULES_H
#define MEMMAPFS_RULES_H

/*
 * The rules file: one rule a line, a pattern of paths and the options that hold for the files it matches. Knows
 * text and options; no file and no mount.
 *
 *   # a comment
 *   *.db          sync=immediate advise=random
 *   /models/...   preload=async mlock
 *
 * A pattern without a slash is matched against a file's last name, one with a slash against its whole path below
 * the mount; a slash in front changes nothing but that. `*` stands for any number of characters but the slash,
 * `?` for one, `[...]` for one of a set (ranges as in a-z; `!` or `^` in front: one not of it), `**` for any
 * number of characters, slashes too; `**` with a slash behind it, at the beginning or after a slash, also for no
 * directory at all. A backslash takes the meaning from the character behind it; so blanks and `#` are written.
 *
 * Of the rules that match and give an option the last wins, option by option.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "options.h"

struct rules;

/**
 * rules_load() - read a rules file
 * @path:      to open
 * @mount:     the mount's options, against which conflicts are checked; borrowed for the call
 * @ret_rules: set on success only; rules_free()
 * @ret_error: one line on failure, "PATH:LINE:COLUMN: what is wrong" or "cannot read 'PATH': why"; malloc'ed,
 *             NULL without memory
 *
 * Return: 0, -EINVAL, -ENOMEM, or -errno of reading the file.
 */
int rules_load(const char *path, const struct options *mount, struct rules **ret_rules, char **ret_error);

/**
 * rules_parse() - the same for text in memory
 * @name: of the text, for errors
 */
int rules_parse(const char *text, size_t length, const char *name, const struct options *mount,
		struct rules **ret_rules, char **ret_error);

/** rules_free() - accepts NULL */
void rules_free(struct rules *rules);

/** rules_count() - how many rules there are */
size_t rules_count(const struct rules *rules);

/** rules_sync_ms() - the shortest interval at which a rule has files synced; @mount_ms: of those that name none */
uint64_t rules_sync_ms(const struct rules *rules, uint64_t mount_ms);

/** rules_idle_ms() - the shortest idle= of all rules; 0: none */
uint64_t rules_idle_ms(const struct rules *rules);

/**
 * rules_apply() - put what the rules say of a path over options
 * @path:      below the mount, without a slash in front
 * @options:   the options that PATH_OPTIONS counts are replaced
 * @ret_lines: by enum path_option: the line that decided, where one did; else untouched
 */
void rules_apply(const struct rules *rules, const char *path, struct options *options, unsigned *ret_lines);

#endif
