/* SPDX-License-Identifier: MIT */
#include "revalidate.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "file.h"
#include "fs.h"
#include "policy.h"
#include "session.h"

/* Under opens=skip at least so many files are looked at in each round, where there are as many. */
#define LOOKS 1024

static void revalidate(struct fs *fs, struct inode *inode, uint32_t round)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct file *file = file_peek(inode);

	/* A directory, or a file that another of its handles led to. */
	if (file == NULL || file->checked == round || file_policy(file)->cache != CACHE_AUTO)
		return;
	file->checked = round;
	if (inode_fd(fs, inode, FD_PATH, &use) == 0 && file_recheck(file, use.fd))
		session_forget_content(fs->session, inode->nodeid);
}

/* Files that are gone in BACKING keep their bytes on the disk for as long as the daemon keeps them reachable. */
struct gone {
	uint64_t nodeids[LOOKS];
	size_t count;
};

static void revalidate_unopened(struct fs *fs, struct inode *inode, struct gone *gone)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct file *file = file_peek(inode);
	struct stat info;

	if (!S_ISREG(inode->type) || inode_fd(fs, inode, FD_PATH, &use) < 0)
		return;
	if (fstat(use.fd, &info) == 0 && info.st_nlink == 0 && gone->count < LOOKS)
		gone->nodeids[gone->count++] = inode->nodeid;
	if (file != NULL && file_policy(file)->cache == CACHE_AUTO && file_is_seen(file) &&
	    file_cache_settle(file, use.fd, false))
		session_forget_content(fs->session, inode->nodeid);
}

/* Which files are open nobody knows: a part of those that were looked up, in turn. */
static void revalidate_some(struct fs *fs)
{
	struct gone gone = {.count = 0};

	for (size_t looked = 0, shards = 0; looked < LOOKS && shards < INODE_SHARDS; shards++) {
		uint64_t *ids;
		size_t count = inode_ids(&fs->inodes.by_id[fs->look_round++ % INODE_SHARDS], &ids);

		for (size_t i = 0; i < count; i++) {
			struct inode *inode = inode_hold_id(fs, ids[i]);

			if (inode == NULL)
				continue;
			revalidate_unopened(fs, inode, &gone);
			inode_unref(fs, inode);
		}
		free(ids);
		looked += count;
	}
	/* The kernel lets go of those that nobody uses. */
	session_prune(fs->session, gone.nodeids, gone.count);
}

/* Where the kernel collects writes it alone says what the files it has cached are like. */
static bool is_cached(struct fs *fs)
{
	return (fs->options.cache == CACHE_AUTO || fs->policies.rules_path != NULL) && !fs->options.writeback;
}

bool revalidate_is_wanted(struct fs *fs)
{
	return atomic_load(&fs->locked.count) > 0 ||
	       (is_cached(fs) && (atomic_load(&fs->handle_table.count) > 0 || atomic_load(&fs->skips_opens)));
}

void revalidate_files(struct fs *fs)
{
	struct inode *inode;
	uint32_t round;
	uint64_t id = 0;

	locked_look(fs);
	if (!is_cached(fs))
		return;
	if (atomic_load(&fs->skips_opens)) {
		revalidate_some(fs);
		return;
	}
	round = ++fs->look_round;
	while ((id = handle_table_next(&fs->handle_table, id, inode_ref, &inode)) != 0) {
		revalidate(fs, inode, round);
		inode_unref(fs, inode);
	}
}
