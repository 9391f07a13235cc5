/* SPDX-License-Identifier: MIT */
/*
 * Happy path: while nobody is served what is not in the database yet gets there,
 * the log is emptied, the directories exchange their names. From then on the old layer is a base. Each node that
 * had a record in it has one below and none in the layer, which is empty; nothing else of it changes, so clients
 * notice nothing but the pause.
 *
 * Failure modes: whatever fails before the exchange leaves the layer as it was, a bit more synced. After it
 * nothing can fail: what the change needs in memory has been made before.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs.h"
#include "layer/checkpoint.h"
#include "layer/keep.h"
#include "layer/layer.h"
#include "layer/serve.h"
#include "layer/stack.h"
#include "log.h"
#include "util.h"

/* Nodes that have a record in the layer, each with what it will have below. */
struct turning {
	struct inode **inodes; /* each with a reference */
	struct lower **lowers;
	size_t count, size;
	struct base *base;
	struct layer_db *shared;
	struct home fresh;
};

static void turning_end(struct fs *fs, struct turning *turning)
{
	/* They may be the last references. */
	LAYER_SERVE_SCOPE(fs);
	for (size_t i = 0; i < turning->count; i++) {
		inode_unref(fs, turning->inodes[i]);
		free(turning->lowers[i]);
	}
	free(turning->inodes);
	free(turning->lowers);
	free(turning->base);
}

static int collect_node(struct turning *turning, struct inode *inode)
{
	struct node *node = layer_peek(inode);
	struct lower *lower;

	if (node == NULL || atomic_load(&node->id) == 0)
		return 0;
	if (turning->count == turning->size) {
		size_t size = MAX(turning->size * 2, 256);
		struct inode **inodes = reallocarray(turning->inodes, size, sizeof(inodes[0]));
		struct lower **lowers;

		if (inodes == NULL)
			return -ENOMEM;
		turning->inodes = inodes;
		lowers = reallocarray(turning->lowers, size, sizeof(struct lower *));
		if (lowers == NULL)
			return -ENOMEM;
		turning->lowers = lowers;
		turning->size = size;
	}
	lower = calloc(1, sizeof(*lower));
	if (lower == NULL)
		return -ENOMEM;
	inode_ref(inode);
	turning->inodes[turning->count] = inode;
	turning->lowers[turning->count++] = lower;
	return 0;
}

/* No node can be made meanwhile, and none can get a record: layer->lock is held. */
static int collect_nodes(struct fs *fs, struct turning *turning)
{
	int result = 0;

	for (int i = 0; i < INODE_SHARDS && result == 0; i++) {
		uint64_t *ids;
		size_t count = inode_ids(&fs->inodes.by_id[i], &ids);

		result = ids == NULL ? -ENOMEM : 0;
		for (size_t k = 0; k < count && result == 0; k++) {
			struct inode *inode = inode_hold_id(fs, ids[k]);

			if (inode == NULL)
				continue;
			result = collect_node(turning, inode);
			inode_unref(fs, inode);
		}
		free(ids);
	}
	return result;
}

static int save_nodes(struct fs *fs, struct turning *turning)
{
	int result = 0;

	for (size_t i = 0; i < turning->count && result == 0; i++)
		result = layer_save(fs, turning->inodes[i], layer_peek(turning->inodes[i]));
	return result;
}

/* What the node has in the layer it has below from now on. */
static void turn_node(struct fs *fs, struct node *node, struct base *base, struct lower *lower)
{
	pthread_rwlock_wrlock(&node->lock);
	lower->base = base;
	lower->id = atomic_load(&node->id);
	lower->own = atomic_fetch_and(&node->own, OWN_ALL) & OWN_ALL;
	lower->content = lower->own & OWN_CONTENT;
	lower->pages = node->pages;
	lower->next = node->lower;
	node->pages = (struct pages){.clean = lower->content ? node->stx.stx_size : 0};
	node->lower = lower;
	atomic_store(&node->id, 0);
	node->loose = false;
	layer_leave_page_file(fs, node);
	pthread_rwlock_unlock(&node->lock);
}

/* The names are exchanged: the rest follows. */
static void turn(struct fs *fs, struct turning *turning)
{
	struct layer *layer = fs->layer;
	struct base *base = turning->base;
	struct home *fresh = &turning->fresh;

	turning->base = NULL;
	base->reach = layer->base_count;
	base->home = layer->home;
	base->home.generation = layer->generation;
	base->home.db = turning->shared;
	store_open_directory(&base->store, layer->store.directory);
	base->store.read_only = true;
	for (size_t i = 0; i < turning->count; i++) {
		turn_node(fs, layer_peek(turning->inodes[i]), base, turning->lowers[i]);
		turning->lowers[i] = NULL;
	}
	memmove(layer->bases + 1, layer->bases, layer->base_count * sizeof(struct base *));
	layer->bases[0] = base;
	layer->base_count++;
	for (size_t i = 0; i < layer->base_count; i++)
		layer->bases[i]->place = i;
	db_close(layer->db);
	layer->db = fresh->db;
	fresh->db = NULL;
	layer->store.directory = fresh->pages;
	fresh->pages = -1;
	layer->home = *fresh;
	*fresh = HOME_NONE;
	layer->next_id = layer->home.first;
	layer->strays = false;
	layer->generation = 0;
	layer->counting = true;
	atomic_store(&layer->origins, 0);
	atomic_store(&layer->page_count, 0);
}

static int turn_locked(struct fs *fs, struct turning *turning, char **ret_error)
{
	CLEANUP(home_stack_fini) struct home_stack below = {0};
	struct layer *layer = fs->layer;
	int result;

	if (layer->base_count == STACK_BASES_MAX)
		return home_refuse(ret_error, -EMFILE, "layer '%s' lies over %d others already",
				   layer->home.path, STACK_BASES_MAX);
	turning->base = calloc(1, sizeof(*turning->base));
	result = turning->base == NULL ? -ENOMEM : collect_nodes(fs, turning);
	if (result == 0)
		result = save_nodes(fs, turning);
	if (result == 0)
		result = home_stack_read(layer->db, &below);
	if (result == 0)
		result = keep_settle_locked(fs);
	if (result == 0)
		result = home_open_reader(&layer->home, &turning->shared, ret_error);
	if (result == 0) {
		layer->home.db = layer->db;
		result = checkpoint_exchange(&layer->home, layer->generation, &below, &turning->fresh,
					     ret_error);
		layer->home.db = NULL;
	}
	if (result < 0)
		keep_unsettle_locked(fs);
	else
		turn(fs, turning);
	return result;
}

/* The checkpoint is one that others may read as well. */
static void share(struct fs *fs)
{
	CLEANUP(free_pointer) char *holder = NULL, *error = NULL;

	if (asprintf(&holder, "process %d, which reads it for '%s'", (int)getpid(), fs->mount_path) < 0)
		holder = NULL;
	else if (home_share(&fs->layer->bases[0]->home, holder, &error) < 0)
		log_error("%s, while '%s' reads it", error == NULL ? "out of memory" : error, fs->mount_path);
}

int checkpoint_live(struct fs *fs, const char *path, char **ret_error)
{
	struct layer *layer = fs->layer;
	CLEANUP(free_pointer) char *holder = keep_holder(fs);
	struct turning turning = {.fresh = HOME_NONE};
	int result;

	if (layer == NULL || !layer->kept)
		return home_refuse(ret_error, -EOPNOTSUPP,
				   layer == NULL ? "this mount has no layer: it needs mode=cow"
						 : "the layer of this mount is in memory: it needs layer=");
	if (holder == NULL)
		return -ENOMEM;
	if (pthread_mutex_trylock(&layer->maintain_lock) != 0)
		return home_refuse(ret_error, -EBUSY, "layer '%s' is being changed by another command",
				   layer->home.path);
	if (keep_commit_noted(fs, NULL, NULL) > 0) {
		pthread_mutex_unlock(&layer->maintain_lock);
		return home_refuse(ret_error, -EBUSY,
				   "a commit of layer '%s' was interrupted: repeat it first",
				   layer->home.path);
	}
	layer_stop_begin(fs);
	pthread_mutex_lock(&layer->commit_lock);
	pthread_mutex_lock(&layer->lock);
	result = checkpoint_prepare(&layer->home, path, holder, &turning.fresh, ret_error);
	if (result == 0)
		result = turn_locked(fs, &turning, ret_error);
	if (result == 0)
		share(fs);
	pthread_mutex_unlock(&layer->lock);
	pthread_mutex_unlock(&layer->commit_lock);
	layer_stop_end(fs);
	pthread_mutex_unlock(&layer->maintain_lock);
	if (result < 0) {
		db_close(turning.shared);
		checkpoint_undo(&turning.fresh);
	} else if (*ret_error != NULL) {
		log_error("%s", *ret_error);
	}
	turning_end(fs, &turning);
	return result;
}
