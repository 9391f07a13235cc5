/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_PAGER_H
#define MEMMAPFS_PAGER_H

/*
 * From policies to pages: gives files their policy, and does in the background what their windows wait for. When
 * that is done, and in which thread, is the loop's business.
 */

#include <stddef.h>
#include <stdint.h>

#include "fds.h"
#include "mapping/cache.h"

struct file;
struct fs;
struct inode;

/** pager_init() - have the windows tell when there is something to do; before the first file */
void pager_init(struct fs *fs);

/**
 * pager_apply() - give a file the policy that its path has now
 *
 * Where it has no name any more it keeps what it has.
 */
void pager_apply(struct fs *fs, struct inode *inode, struct file *file);

/** pager_apply_all() - the same for every file there is: the rules have changed */
void pager_apply_all(struct fs *fs);

/**
 * pager_map() - the file was opened, and no request will ask for its bytes: map what its policy is to act on
 *
 * Nothing where the policy asks for nothing. Blocks: where it has pages read while somebody waits.
 */
void pager_map(struct fs *fs, struct inode *inode, struct file *file);

/** pager_descriptor() - a descriptor of the inode was opened for reading or writing: give it its advice */
void pager_descriptor(struct inode *inode, int fd);

/** pager_descriptors() - the file's standing advice has changed: give it to the descriptors that are open */
void pager_descriptors(struct fs *fs, struct inode *inode, const struct file *file);

/**
 * pager_source() - what mapping/ has to know of a file to work on it
 * @use:        end with pager_source_end()
 * @ret_source: borrows the descriptor
 *
 * Return: 0, or -errno of opening the file.
 */
int pager_source(struct fs *fs, struct inode *inode, struct file *file, struct fd_use *use,
		 struct window_source *ret_source);

/** pager_source_end() - the work is done; no mapping that only a writer may have stays behind */
void pager_source_end(struct fs *fs, struct inode *inode, struct file *file, struct fd_use *use);

/** pager_written() - bytes up to @end were written: what grew of a file with locked pages is to be locked, too */
void pager_written(struct file *file, uint64_t end);

/** pager_take() - an inode with work to be done, with a reference, or NULL. Locks: fs->work_lock. */
struct inode *pager_take(struct fs *fs);

/** pager_work() - do it; the reference is consumed. Blocks: for as long as the disk takes. */
void pager_work(struct fs *fs, struct inode *inode);

/** pager_idle() - deal with windows that nobody touched for as long as their policy says */
void pager_idle(struct fs *fs);

/** pager_idle_interval_ms() - how often pager_idle() is to be called now; 0: not at all */
uint64_t pager_idle_interval_ms(struct fs *fs);

/** pager_reload() - read the rules again and apply them; says in the log what came of it */
void pager_reload(struct fs *fs);

#endif
