/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_POLICY_H
#define MEMMAPFS_POLICY_H

/*
 * What holds for one file: the mount's options, and over them what the rules say of its path. Files with the same
 * policy from the same rules share one struct, which is immutable and lives as long as the mount: whoever
 * has a pointer may read it without a lock, whatever the rules become.
 */

#include <pthread.h>

#include "mapping/paging.h"
#include "options.h"

struct fs;
struct inode;
struct rules;

struct policy {
	enum sync_mode sync;
	uint64_t sync_interval_ms;
	enum write_mode writes;
	enum cache_mode cache;
	struct paging paging;
	/* By enum path_option: the line of the rules file that it comes from, or 0: the mount's options. */
	unsigned lines[PATH_OPTIONS];
	const struct policy *next; /* constant once it is in the table */
};

struct policy_table {
	pthread_mutex_t lock;
	const struct policy *first; /* protected by lock; all that were made, never freed before the end */
	struct rules *rules;	    /* protected by lock; NULL: none */
	struct policy mount;	    /* of files that no rule speaks of; constant */
	char *rules_path;	    /* canonical; NULL without rules; constant */
};

/**
 * policy_table_init() - the mount's own policy, from its options
 * @rules:      consumed; NULL for none
 * @rules_path: consumed; NULL without rules
 */
void policy_table_init(struct policy_table *table, const struct options *options, struct rules *rules,
		       char *rules_path);

/** policy_table_fini() - release everything; no file is left */
void policy_table_fini(struct policy_table *table);

/**
 * policy_of_inode() - what the rules say of a file now
 * @ret_known: set to false where the file has no name that lies in the mount: then it is the mount's policy
 *
 * Return: never NULL; without memory the mount's.
 */
const struct policy *policy_of_inode(struct fs *fs, struct inode *inode, bool *ret_known);

/**
 * policy_options() - the mount's options with a policy's put over them, for showing
 * @ret_options: borrows the strings of the mount's; do not release
 */
void policy_options(const struct fs *fs, const struct policy *policy, struct options *ret_options);

/** policy_path() - the path of a file below the mount, without a slash in front: malloc'ed, or NULL */
char *policy_path(struct fs *fs, struct inode *inode);

/** policy_rule() - where one option comes from: "FILE:LINE" or "mount options"; malloc'ed, or NULL */
char *policy_rule(const struct fs *fs, const struct policy *policy, enum path_option option);

/** policy_last_rule() - the last rule that had a say in it, as policy_rule() */
char *policy_last_rule(const struct fs *fs, const struct policy *policy);

/** policy_sync_ms() - the shortest sync_interval= of sync=periodic, of the mount and its rules; 0: none */
uint64_t policy_sync_ms(struct fs *fs);

/** policy_idle_ms() - the shortest idle= of the mount and its rules; 0: none */
uint64_t policy_idle_ms(struct fs *fs);

/**
 * policy_reload() - read the rules file again; files keep their policy until they are asked about anew
 * @ret_count: rules that are in force now
 * @ret_error: one line for the user on failure, when the old rules stay; malloc'ed, NULL without memory
 *
 * Return: 0, -EINVAL or another -errno.
 */
int policy_reload(struct fs *fs, size_t *ret_count, char **ret_error);

#endif
