/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LISTING_H
#define MEMMAPFS_LISTING_H

/*
 * What memmapfsctl's pictures are made of: the busiest files of the mount, and which parts of one file are in
 * memory. Answers are JSON of bounded length; what a caller may see is checked here.
 */

#include <sys/types.h>

struct fs;
struct inode;
struct mapping_stop;

/**
 * listing_files() - the files of the mount that come first by one measure
 * @value:     "MEASURE[:COUNT]", MEASURE one of io, mapped, resident, dirty, locked
 * @uid:       who asks; anybody but root, the owner of the mount's root and the daemon's own user is told
 *             of their own files only
 * @ret_reply: malloc'ed; on success {"files", "rows": [{"path", "open", "rate", "read_bytes",
 *             "written_bytes", "mapped", "resident", "dirty", "locked"}]}, with as many rows as an answer
 *             holds; on failure the reason, or NULL
 *
 * Files count from their first open to when the kernel forgets them. The rate is in bytes a second.
 *
 * Blocks: with "resident" for as long as asking the kernel of every file takes.
 * Return: 0, or -EINVAL, -ENOMEM.
 */
int listing_files(struct fs *fs, const char *value, uid_t uid, char **ret_reply);

/**
 * listing_residency() - how much of each of some equal parts of a file is in BACKING's page cache
 * @value:     "OFFSET:BYTES:COUNT": COUNT parts of BYTES each, a multiple of the page size
 * @ret_reply: malloc'ed; on success {"parts": [[cached, dirty, locked], ...]}, in pages; on failure the
 *             reason, or NULL
 *
 * Return: 0, -EINVAL, -ENOMEM, or as residency_count() of mapping/residency.h.
 */
int listing_residency(struct fs *fs, struct inode *inode, const char *value, char **ret_reply);

/**
 * listing_runs() - the runs of a file's pages that are in BACKING's page cache
 * @value:     "OFFSET:LENGTH"
 * @ret_reply: malloc'ed; on success {"next", "runs": [[offset, length], ...]} in bytes; when the answer
 *             was full, next is where to go on; on failure the reason, or NULL
 * @stop:      asked again and again
 *
 * Return: as listing_residency(), or -EINTR when stopped.
 */
int listing_runs(struct fs *fs, struct inode *inode, const char *value, const struct mapping_stop *stop,
		 char **ret_reply);

#endif
