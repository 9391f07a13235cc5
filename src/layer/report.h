/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_REPORT_H
#define MEMMAPFS_LAYER_REPORT_H

/*
 * What is in a layer, as JSON of bounded length: an answer has as many rows as fit, and "next", from where the next
 * one goes on; null after the last row.
 */

struct fs;

/**
 * report_info() - the layer as a whole
 * @ret_reply: {"directory" or null, "bases": how many there are below it, "base": the topmost of them or null, "backing",
 *             "format", "bytes", "max", "interrupted": a commit was}; malloc'ed
 *
 * Return: 0 or -ENOMEM.
 */
int report_info(struct fs *fs, char **ret_reply);

/**
 * report_status() - regular files that the layer has content of, and all others whose origin somebody changed
 * @cursor: "" or the last answer's "next"
 * @ret_reply: rows {"path" or null, "new", "size", "pages", "bytes", "base"}; "base" is what has become of the
 *             origin, as origin_change_name(), null for what was made in the layer. On failure the reason, or NULL
 *
 * Locks:  layer->lock.
 * Return: 0, -EINVAL, -ENOMEM, or -errno of the database.
 */
int report_status(struct fs *fs, const char *cursor, char **ret_reply);

/**
 * report_diff() - names and objects that differ from BACKING's
 * @cursor: "", or the last answer's "next"
 * @ret_reply: rows {"path", "change", "type", ...}: "change" is "added", "removed", "replaced" (another object
 *             has the name) or "changed"; with "from", where an added object is in BACKING; "attributes", which of
 *             "mode", "owner", "mtime", "xattrs" and "content" differ; and for content "size" and "old_size",
 *             "bytes" in "ranges" [offset, length] that are the layer's, and where these did not fit "more", the
 *             argument of report_ranges()
 *
 * Locks:  layer->lock.
 * Return: as report_status().
 */
int report_diff(struct fs *fs, const char *cursor, char **ret_reply);

/** report_ranges() - {"ranges", "next"} of one file, for "more" of report_diff(). Return: likewise. */
int report_ranges(struct fs *fs, const char *cursor, char **ret_reply);

#endif
