/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "inode.h"
#include "util.h"

int inode_shard_files(struct inode_table *table, unsigned number, struct inode ***ret_inodes,
		      size_t *ret_count)
{
	struct inode_shard *shard = &table->by_id[number];
	struct inode **inodes;
	size_t count = 0;

	LOCK_SCOPE(&shard->lock);
	inodes = malloc((shard->count + 1) * sizeof(struct inode *));
	if (inodes == NULL)
		return -ENOMEM;
	for (size_t i = 0; i <= shard->mask; i++) {
		for (struct inode *inode = shard->buckets[i]; inode != NULL; inode = inode->id_next) {
			if (atomic_load(&inode->file) == NULL)
				continue;
			inode_ref(inode);
			inodes[count++] = inode;
		}
	}
	*ret_inodes = inodes;
	*ret_count = count;
	return 0;
}
