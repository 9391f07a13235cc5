/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_STATS_H
#define MEMMAPFS_STATS_H

/* Counters and state as JSON, for user.memmapfs.stats and user.memmapfs.file. */

struct fs;
struct inode;

/** stats_mount() - the statistics object of the mount: malloc'ed text, NULL without memory */
char *stats_mount(struct fs *fs);

/** stats_file() - policy, windows, residency and errors of one regular file: malloc'ed text, or NULL */
char *stats_file(struct fs *fs, struct inode *inode);

/** stats_explain() - path and policy of one regular file, option by option with its origin; as above */
char *stats_explain(struct fs *fs, struct inode *inode);

/** stats_reset() - set the counters to zero; what is a state (windows, inodes, dirty bytes) stays */
void stats_reset(struct fs *fs);

#endif
