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
	taken->mode = taken->stx.stx_mode;
	tx->count++;
	*ret_node = taken;
	return 0;
}

/* What a change sets of a node's attributes, and no more: what writing sets it sets at the same time. */
static void put_attributes(struct node_stat *to, const struct node_stat *from, uint32_t set, bool mode)
{
	if (mode)
		to->stx_mode = from->stx_mode;
	if (set & OWN_ATTRIBUTES) {
		to->stx_uid = from->stx_uid;
		to->stx_gid = from->stx_gid;
		to->stx_nlink = from->stx_nlink;
		to->stx_atime = from->stx_atime;
		to->stx_ctime = from->stx_ctime;
	}
	if (set & OWN_MTIME)
		to->stx_mtime = from->stx_mtime;
}

static void apply(struct tx_node *taken)
{
	struct node_stat stx = node_stat_of(&taken->stx);
	struct node *node = taken->node;

	taken->before = node->stx;
	taken->own = atomic_load(&node->own);
	/* Nobody writes a file whose attributes are not the layer's yet. */
	taken->sets_mode = stx.stx_mode != taken->mode || !(taken->own & OWN_ATTRIBUTES);
	put_attributes(&node->stx, &stx, taken->set, taken->sets_mode);
	atomic_fetch_or(&node->own, taken->set);
	atomic_fetch_add(&node->version, 1);
}

static void undo(struct tx_node *taken)
{
	struct node *node = taken->node;

	pthread_rwlock_wrlock(&node->lock);
	put_attributes(&node->stx, &taken->before, taken->set, taken->sets_mode);
	atomic_store(&node->own, taken->own);
	pthread_rwlock_unlock(&node->lock);
}

static int write_node(struct tx *tx, struct tx_node *taken)
{
	struct node *node = taken->node;
	struct node_row row = {.id = atomic_load(&node->id)};

	if (taken->set == 0)
		return 0;
	pthread_rwlock_wrlock(&node->lock);
	apply(taken);
	row.own = atomic_load(&node->own);
	row.stx = node_stat_statx(&node->stx);
	row.clean = node->pages.clean;
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
		if (tx->nodes[i].set != 0)
			undo(&tx->nodes[i]);
	}
	pthread_mutex_unlock(&tx->fs->layer->lock);
	return result;
}
