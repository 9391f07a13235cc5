/* SPDX-License-Identifier: MIT */
#include "layer/layer.h"
#include "layer/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>

#include "below.h"
#include "fs.h"
#include "inode_private.h"
#include "layer/backing.h"
#include "layer/keep.h"
#include "layer/origin.h"
#include "layer/stack.h"
#include "layer/subject.h"
#include "layer/sweep.h"
#include "log.h"
#include "util.h"

int layer_open(struct fs *fs, char **ret_error)
{
	struct layer *layer = calloc(1, sizeof(*layer));
	pthread_mutexattr_t recursive;
	pthread_rwlockattr_t fair;
	struct statx covered;
	struct node *root;
	int result;

	if (layer == NULL)
		return -ENOMEM;
	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&layer->lock, &recursive);
	pthread_mutexattr_destroy(&recursive);
	pthread_mutex_init(&layer->place_lock, NULL);
	pthread_mutex_init(&layer->maintain_lock, NULL);
	pthread_rwlockattr_init(&fair);
	pthread_rwlockattr_setkind_np(&fair, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&layer->serving, &fair);
	pthread_rwlockattr_destroy(&fair);
	pthread_mutex_init(&layer->commit_lock, NULL);
	layer->store.directory = -1;
	layer->home = HOME_NONE;
	layer->writable = backing_open_writable(fs->options.backing);
	layer->max = fs->options.layer_max;
	layer->page_paging.idle = fs->policies.mount.paging.idle;
	layer->page_paging.idle_ms = fs->policies.mount.paging.idle_ms;
	layer->next_id = LAYER_ROOT + 1;
	fs->layer = layer;
	if (statx(fs->covered_fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &covered) == 0)
		layer->covered = identity_of_statx(&covered);
	if (fs->options.layer != NULL) {
		result = keep_open(fs, fs->options.layer, ret_error);
	} else {
		result = db_open(NULL, &layer->db);
		if (result == 0)
			result = store_open_memory(&layer->store);
		if (result == 0)
			result = stack_open(fs, NULL, ret_error);
	}
	if (result == 0)
		result = keep_commit_stage(fs, ret_error);
	if (result == 0)
		result = layer_node(fs, fs->root, &root);
	if (result == 0) {
		/* In the order of requests. */
		LAYER_SERVE_SCOPE(fs);
		LOCK_SCOPE(&layer->lock);
		result = layer_record_locked(fs, fs->root, root);
	}
	if (result == 0)
		result = keep_opened(fs);
	/* Nobody waits to be served. */
	if (result == 0 && fs->offline && layer->strays)
		sweep_run(fs);
	if (result == 0 && keep_commit_noted(fs, NULL, NULL) > 0 && !fs->offline)
		log_warning("a commit of layer '%s' was interrupted: a part of it is in BACKING; repeat it",
			    fs->options.layer);
	return result;
}

void layer_close(struct fs *fs)
{
	struct layer *layer = fs->layer;

	if (layer == NULL)
		return;
	sweep_stop(fs);
	keep_closing(fs);
	fs->layer = NULL;
	db_close(layer->db);
	store_close(&layer->store);
	home_close(&layer->home);
	stack_close(layer);
	close_fd(&layer->writable);
	pthread_mutex_destroy(&layer->commit_lock);
	pthread_mutex_destroy(&layer->maintain_lock);
	pthread_rwlock_destroy(&layer->serving);
	pthread_mutex_destroy(&layer->place_lock);
	pthread_mutex_destroy(&layer->lock);
	free(layer);
}

struct statx_timestamp layer_now(void)
{
	struct timespec now;

	/* Not the coarse clock: two changes in one of its ticks would leave the same time stamps. */
	clock_gettime(CLOCK_REALTIME, &now);
	return (struct statx_timestamp){.tv_sec = now.tv_sec, .tv_nsec = (uint32_t)now.tv_nsec};
}

int layer_charge(struct fs *fs, uint64_t pages)
{
	struct layer *layer = fs->layer;
	uint64_t count = atomic_load(&layer->page_count);

	if (!keep_has_room(fs, pages * LAYER_PAGE))
		return -ENOSPC;

	do {
		if (layer->max != 0 && (count + pages) * LAYER_PAGE > layer->max && pages > 0)
			return -ENOSPC;
	} while (!atomic_compare_exchange_weak(&layer->page_count, &count, count + pages));
	return 0;
}

void layer_discharge(struct layer *layer, uint64_t pages)
{
	atomic_fetch_sub(&layer->page_count, pages);
}

uint64_t layer_dev(void)
{
	return makedev(LAYER_DEV_MAJOR, LAYER_DEV_MINOR);
}

struct node *layer_peek(struct inode *inode)
{
	return atomic_load_explicit(&inode->node, memory_order_acquire);
}

int layer_node(struct fs *fs, struct inode *inode, struct node **ret_node)
{
	struct node_row row = {0};
	struct node *node = layer_peek(inode);
	int result;

	if (node != NULL) {
		*ret_node = node;
		return 0;
	}
	LOCK_SCOPE(&fs->layer->lock);
	node = layer_peek(inode);
	if (node == NULL) {
		result = stack_node_locked(fs, &inode->key, &row, &node);
		if (result == -ENOENT && inode->key.dev == layer_dev())
			return -ESTALE;
		if (result == -ENOENT) {
			node = node_new(fs, true);
			result = node == NULL ? -ENOMEM : 0;
		}
		db_row_fini(&row);
		if (result < 0)
			return result;
		atomic_store_explicit(&inode->node, node, memory_order_release);
	}
	*ret_node = node;
	return 0;
}

void layer_forget(struct fs *fs, struct inode *inode)
{
	struct node *node = layer_peek(inode);
	uint64_t id;

	if (node == NULL)
		return;
	id = atomic_load(&node->id);
	/* Nobody can come to it any more. */
	if (fs->layer != NULL && id != 0 && (atomic_load(&node->own) & OWN_ATTRIBUTES) &&
	    node->stx.stx_nlink == 0) {
		LOCK_SCOPE(&fs->layer->lock);
		/* The layer may have become a base meanwhile, and this one be empty. */
		if (db_node_exists(fs->layer->db, id) == 0) {
			layer_discharge(fs->layer, pages_data(&node->pages));
			keep_remove_locked(fs, id);
			db_node_delete(fs->layer->db, id);
			atomic_fetch_sub(&fs->layer->origins, node->has_origin);
		}
	}
	if (fs->layer != NULL && (uint32_t)atomic_load(&node->version) != 0)
		atomic_fetch_add(&fs->layer->forgotten, 1);
	/* As everything ends the inodes go in no order: the parent may be gone, and nobody counts any more. */
	if (fs->layer != NULL && node->parent != NULL)
		inode_unref(fs, node->parent);
	node_free(fs, node);
}

static void fill_row(const struct node *node, struct node_row *ret_row)
{
	*ret_row = (struct node_row){
		.id = atomic_load(&node->id),
		.own = atomic_load(&node->own),
		.stx = node_stat_statx(&node->stx),
		.clean = node->pages.clean,
		.target = node->target,
		.before = node->before,
	};
}

/*
 * The pages as they were taken, with attributes as they are by now. Two may save at a time: what was taken earlier must
 * not be put over what was taken later.
 */
static int put_record_locked(struct fs *fs, struct node *node, struct node_row *row, uint64_t version)
{
	uint64_t size = row->stx.stx_size;
	bool older;
	int result;

	pthread_rwlock_rdlock(&node->lock);
	older = (int32_t)((uint32_t)version - node->saved) < 0;
	row->own = atomic_load(&node->own);
	row->stx = node_stat_statx(&node->stx);
	row->stx.stx_size = size;
	pthread_rwlock_unlock(&node->lock);
	if (older)
		return 0;
	result = db_node_update(fs->layer->db, row, DB_PAGES);
	if (result < 0)
		return result;
	pthread_rwlock_wrlock(&node->lock);
	node->saved = (uint32_t)version;
	node->unsaved = atomic_load(&node->version) != version;
	pthread_rwlock_unlock(&node->lock);
	return 0;
}

int layer_save(struct fs *fs, struct inode *inode, struct node *node)
{
	struct node_row row;
	uint64_t version;
	int result;

	/* Packing puts the sets in order. */
	pthread_rwlock_wrlock(&node->lock);
	if (!node->unsaved) {
		pthread_rwlock_unlock(&node->lock);
		return 0;
	}
	version = atomic_load(&node->version);
	fill_row(node, &row);
	result = page_set_pack(&node->pages.data, &row.data, &row.data_size);
	if (result == 0)
		result = page_set_pack(&node->pages.zero, &row.zero, &row.zero_size);
	row.page_count = pages_data(&node->pages);
	pthread_rwlock_unlock(&node->lock);
	/* What is written from here on is in no page set of this record. */
	if (result == 0)
		result = keep_sync_pages(fs, inode, node);
	if (result == 0) {
		LOCK_SCOPE(&fs->layer->lock);
		result = put_record_locked(fs, node, &row, version);
	}
	free(row.data);
	free(row.zero);
	return result;
}

/* Has BACKING's name an entry, so that it stays the node's? The node's own record is there. */
static int pin_name_locked(struct fs *fs, struct inode *inode, struct node *node)
{
	struct layer *layer = fs->layer;
	CLEANUP(free_pointer) char *name = NULL;
	struct inode *parent;
	struct node *directory;
	struct db_entry entry;
	int result;

	pthread_mutex_lock(&layer->place_lock);
	parent = node->parent;
	if (parent != NULL) {
		inode_ref(parent);
		name = strdup(node->name);
	}
	pthread_mutex_unlock(&layer->place_lock);
	if (parent == NULL || inode == fs->root)
		return 0;
	result = name == NULL ? -ENOMEM : layer_node(fs, parent, &directory);
	if (result == 0)
		result = layer_record_locked(fs, parent, directory);
	if (result == 0)
		result = db_entry_get(layer->db, atomic_load(&directory->id), name, &entry);
	if (result == -ENOENT)
		result = db_entry_put(layer->db, atomic_load(&directory->id), name, atomic_load(&node->id));
	inode_unref(fs, parent);
	return result;
}

/* The new record of a node, as complete as those below it. */
static int fill_record(struct fs *fs, struct inode *inode, struct node *node, struct node_row *row)
{
	int result;

	if (node->lower == NULL) {
		result = layer_backing_statx(fs, inode, &row->stx);
		row->before = origin_state(&row->stx);
		return result;
	}
	result = layer_statx(fs, inode, &row->stx);
	pthread_rwlock_rdlock(&node->lock);
	row->own = atomic_load(&node->own);
	row->clean = node->pages.clean;
	row->before = node->before;
	row->target = node->target;
	pthread_rwlock_unlock(&node->lock);
	return result;
}

static int insert_record(struct fs *fs, struct node *node, const struct node_row *row)
{
	int result = db_node_insert(fs->layer->db, row);

	if (result == 0 && (result = stack_copy_xattrs_locked(fs, node, row->id)) < 0)
		db_node_delete(fs->layer->db, row->id);
	return result;
}

int layer_record_locked(struct fs *fs, struct inode *inode, struct node *node)
{
	struct layer *layer = fs->layer;
	struct node_row row = {.has_origin = node->has_origin};
	int result;

	if (atomic_load(&node->id) != 0)
		return 0;
	if (row.has_origin) {
		row.origin = inode->key;
		row.origin.dev = keep_device(fs, inode->key.dev);
		row.handle = inode->handle;
	}
	/* Nothing would lead back to it: what is mounted there the next time, and as what, nobody knows. */
	if (layer->kept && row.origin.dev != 0)
		return -EROFS;
	result = fill_record(fs, inode, node, &row);
	if (result < 0)
		return result;
	row.id = inode == fs->root ? LAYER_ROOT : row.has_origin ? layer->next_id++ : inode->key.ino;
	/* Discarded before, which could not be committed: its page file is still to be removed. */
	if (!row.has_origin && keep_is_going_locked(layer, row.id))
		return -EIO;
	row.path = row.has_origin && inode->handle == NULL ? subject_origin_path(fs, inode) : NULL;
	sweep_make_way_locked(layer, row.id);
	result = insert_record(fs, node, &row);
	free(row.path);
	if (result < 0)
		return result;
	pthread_rwlock_wrlock(&node->lock);
	node->stx = node_stat_of(&row.stx);
	node->before = row.before;
	pthread_rwlock_unlock(&node->lock);
	atomic_store(&node->id, row.id);
	result = pin_name_locked(fs, inode, node);
	if (result < 0) {
		/* Else nobody would try again. */
		db_node_delete(layer->db, row.id);
		atomic_store(&node->id, 0);
		return result;
	}
	atomic_fetch_add(&layer->origins, row.has_origin);
	return 0;
}
