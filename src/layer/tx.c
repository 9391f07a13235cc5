/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "fs.h"
#include "layer/layer.h"

void tx_begin(struct fs *fs, struct tx *ret_tx)
{
	ret_tx->fs = fs;
	ret_tx->changing = false;
	ret_tx->count = 0;
	pthread_mutex_lock(&fs->layer->lock);
}

int tx_change(struct tx *tx)
{
	int result = db_begin(tx->fs->layer->db);

	tx->changing = result == 0;
	return result;
}

void tx_touch(struct tx_node *taken, uint32_t set)
{
	taken->stx.stx_ctime = layer_now();
	if (set & OWN_MTIME)
		taken->stx.stx_mtime = taken->stx.stx_ctime;
	taken->set |= set | OWN_ATTRIBUTES;
}

int tx_node(struct tx *tx, struct inode *inode, struct tx_node **ret_node)
{
	struct tx_node *taken;
	int result;

	for (size_t i = 0; i < tx->count; i++) {
		if (tx->nodes[i].inode == inode) {
			*ret_node = &tx->nodes[i];
			return 0;
		}
	}
	if (tx->count == TX_NODES)
		return -EIO;
	taken = &tx->nodes[tx->count];
	*taken = (struct tx_node){.inode = inode};
	result = layer_node(tx->fs, inode, &taken->node);
	if (result == 0)
		result = layer_record_locked(tx->fs, inode, taken->node);
	if (result == 0)
		result = layer_statx(tx->fs, inode, &taken->stx);
	if (result < 0)
		return result;
	tx->count++;
	*ret_node = taken;
	return 0;
}

/* What else of a node is written at the same time stays as it is. */
static void apply(struct tx_node *taken)
{
	struct node_stat *stx = &taken->node->stx;

	if (taken->set & OWN_ATTRIBUTES) {
		stx->stx_mode = taken->stx.stx_mode;
		stx->stx_uid = taken->stx.stx_uid;
		stx->stx_gid = taken->stx.stx_gid;
		stx->stx_nlink = taken->stx.stx_nlink;
		stx->stx_atime = packed_time(taken->stx.stx_atime);
		stx->stx_ctime = packed_time(taken->stx.stx_ctime);
	}
	if (taken->set & OWN_MTIME)
		stx->stx_mtime = packed_time(taken->stx.stx_mtime);
	atomic_fetch_or(&taken->node->own, taken->set);
	atomic_fetch_add(&taken->node->version, 1);
}

static int write_node(struct tx *tx, struct tx_node *taken)
{
	struct node *node = taken->node;
	struct node_row row = {.id = atomic_load(&node->id)};
	struct node_stat before;
	uint32_t own;

	if (taken->set == 0)
		return 0;
	pthread_rwlock_wrlock(&node->lock);
	before = node->stx;
	own = atomic_load(&node->own);
	apply(taken);
	row.own = atomic_load(&node->own);
	row.stx = node_stat_statx(&node->stx);
	row.clean = node->pages.clean;
	/* Kept for undoing. */
	taken->stx = node_stat_statx(&before);
	taken->set = own;
	pthread_rwlock_unlock(&node->lock);
	return db_node_update(tx->fs->layer->db, &row, DB_ATTRIBUTES);
}

int tx_end(struct tx *tx, int result)
{
	size_t written = 0;

	while (written < tx->count && result == 0)
		result = write_node(tx, &tx->nodes[written++]);
	if (tx->changing)
		result = db_end(tx->fs->layer->db, result);
	/* Only a database without memory or disk gets here after something was written. */
	for (size_t i = 0; i < written && result < 0; i++) {
		struct tx_node *taken = &tx->nodes[i];

		pthread_rwlock_wrlock(&taken->node->lock);
		taken->node->stx = node_stat_of(&taken->stx);
		atomic_store(&taken->node->own, taken->set);
		pthread_rwlock_unlock(&taken->node->lock);
	}
	pthread_mutex_unlock(&tx->fs->layer->lock);
	return result;
}
