/* SPDX-License-Identifier: MIT */
/* Going through all inodes, for what has to reach each of them. */
#include "fs.h"
#include "inode.h"
#include "util.h"

size_t inode_hold_files(struct inode_shard *shard, struct inode ***ret_inodes)
{
	size_t count = 0;

	LOCK_SCOPE(&shard->lock);
	*ret_inodes = malloc((shard->count + 1) * sizeof(**ret_inodes));
	for (size_t i = 0; *ret_inodes != NULL && i <= shard->mask; i++) {
		for (struct inode *inode = shard->buckets[i]; inode != NULL; inode = inode->id_next) {
			if (atomic_load(&inode->file) == NULL)
				continue;
			inode_ref(inode);
			(*ret_inodes)[count++] = inode;
		}
	}
	return count;
}

size_t inode_ids(struct inode_shard *shard, uint64_t **ret_ids)
{
	size_t count = 0;

	LOCK_SCOPE(&shard->lock);
	*ret_ids = malloc((shard->count + 1) * sizeof(**ret_ids));
	for (size_t i = 0; *ret_ids != NULL && i <= shard->mask; i++) {
		for (struct inode *inode = shard->buckets[i]; inode != NULL; inode = inode->id_next)
			(*ret_ids)[count++] = inode->nodeid;
	}
	return count;
}

void inode_each_file(struct fs *fs, void (*call)(struct fs *fs, struct inode *inode))
{
	for (int i = 0; i < INODE_SHARDS; i++) {
		struct inode **inodes;
		size_t count = inode_hold_files(&fs->inodes.by_id[i], &inodes);

		for (size_t k = 0; k < count; k++) {
			call(fs, inodes[k]);
			inode_unref(fs, inodes[k]);
		}
		free(inodes);
	}
}
