/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_COMMAND_H
#define MEMMAPFS_LAYER_COMMAND_H

/*
 * What memmapfsctl asks of a layer, of a running mount's or of one that nobody has mounted, in the same words:
 *
 *   info             about the whole: see report_info()
 *   status [CURSOR]  files: report_status()
 *   diff [CURSOR]    differences: report_diff()
 *   ranges CURSOR    report_ranges()
 *   discard PATHS    layer_discard()
 *   commit PATHS     layer_commit()
 *   overwrite PATHS  the same over what was changed in BACKING meanwhile
 *   progress         layer_commit_progress()
 *   checkpoint PATH  checkpoint_live(); an absolute path. {"base", "warning"}
 *
 * PATHS are separated by newlines; in a path a newline is written as \n and a backslash as \\. None: everything.
 */

#include <stdbool.h>

struct fs;

/* Who asked may have given up. */
struct layer_stop {
	bool (*gave_up)(void *context); /* NULL: never */
	void *context;
};

/**
 * layer_command() - do one of these
 * @ret_reply: malloc'ed JSON, or on failure one line that says why, or NULL
 *
 * Return: 0, -EOPNOTSUPP where there is no layer, -EINVAL for words that make no sense, or -errno of the command.
 */
int layer_command(struct fs *fs, const char *words, const struct layer_stop *stop, char **ret_reply);

#endif
