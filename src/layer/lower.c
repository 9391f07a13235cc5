/* SPDX-License-Identifier: MIT */
/* What the layers of a stack say of one object, put together. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs.h"
#include "layer/keep.h"
#include "layer/layer.h"
#include "layer/stack.h"
#include "util.h"

struct node *node_new(struct fs *fs, bool has_origin)
{
	struct node *node = calloc(1, sizeof(*node));
	pthread_rwlockattr_t fair;

	if (node == NULL)
		return NULL;
	node->has_origin = has_origin;
	node->followed = -1;
	atomic_init(&node->version, atomic_load(&fs->layer->forgotten) << 32);
	pthread_rwlockattr_init(&fair);
	pthread_rwlockattr_setkind_np(&fair, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&node->lock, &fair);
	pthread_rwlockattr_destroy(&fair);
	return node;
}

void stack_part(struct fs *fs, struct node *node)
{
	for (struct lower *lower = node->lower, *next; lower != NULL; lower = next) {
		next = lower->next;
		fd_slot_close(&fs->fds, &lower->slot);
		pages_fini(&lower->pages);
		free(lower);
	}
	node->lower = NULL;
}

void node_free(struct fs *fs, struct node *node)
{
	struct mapping *windows;

	if (node == NULL)
		return;
	close_fd(&node->followed);
	fd_slot_close(&fs->fds, &node->slot);
	windows = atomic_load(&node->windows);
	if (windows != NULL)
		mapping_fini(windows);
	free(windows);
	stack_part(fs, node);
	pages_fini(&node->pages);
	pthread_rwlock_destroy(&node->lock);
	free(node->target);
	free(node->name);
	free(node);
}

static int unpack_pages(const struct node_row *row, struct pages *ret_pages)
{
	int result;

	ret_pages->clean = row->clean;
	result = page_set_unpack(row->data, row->data_size, &ret_pages->data);
	if (result == 0)
		result = page_set_unpack(row->zero, row->zero_size, &ret_pages->zero);
	return result < 0 ? -EIO : 0;
}

int stack_row_locked(struct layer_db *db, const struct identity_key *key, struct node_row *ret_row)
{
	return key->dev == layer_dev() ? db_node_load(db, key->ino, ret_row)
				       : db_node_by_origin(db, key, ret_row);
}

/* A node as the topmost record has it. Takes the row's target over. */
static int node_of_row(struct fs *fs, struct node_row *row, bool written, struct node **ret_node)
{
	struct node *node = node_new(fs, row->has_origin);
	int result = 0;

	if (node == NULL)
		return -ENOMEM;
	atomic_init(&node->own, written ? row->own : row->own & OWN_ALL);
	node->stx = node_stat_of(&row->stx);
	node->before = row->before;
	node->capability = row->own & OWN_CONTENT;
	if (written) {
		atomic_init(&node->id, row->id);
		result = unpack_pages(row, &node->pages);
	} else if (row->own & OWN_CONTENT) {
		/* All of it is in the layers below. */
		node->pages.clean = row->stx.stx_size;
	}
	node->target = row->target;
	row->target = NULL;
	*ret_node = node;
	return result;
}

/* What the layers above say nothing of. */
static void complete_attributes(struct node *node, const struct node_row *row)
{
	uint32_t own = atomic_load(&node->own), more = row->own & OWN_ALL & ~own;
	struct node_stat before = node->stx;

	if (more & OWN_ATTRIBUTES) {
		node->stx = node_stat_of(&row->stx);
		node->stx.stx_mtime = before.stx_mtime;
		node->stx.stx_size = before.stx_size;
	}
	if ((more & (OWN_MTIME | OWN_CONTENT)) && !(own & (OWN_MTIME | OWN_CONTENT)))
		node->stx.stx_mtime = packed_time(row->stx.stx_mtime);
	if (more & OWN_CONTENT) {
		node->stx.stx_size = row->stx.stx_size;
		node->pages.clean = row->stx.stx_size;
		node->before = row->before;
		node->capability = true;
	}
	atomic_store(&node->own, own | more);
}

static int add_lower(struct node *node, struct base *base, const struct node_row *row, size_t *reach,
		     struct lower ***link)
{
	struct lower *lower = calloc(1, sizeof(*lower));
	int result = 0;

	if (lower == NULL)
		return -ENOMEM;
	**link = lower;
	*link = &lower->next;
	lower->base = base;
	lower->id = row->id;
	lower->own = row->own & OWN_ALL;
	if ((row->own & OWN_CONTENT) && base->place < *reach) {
		lower->content = true;
		*reach = MIN(*reach, base->place + base->reach + 1);
		result = unpack_pages(row, &lower->pages);
	}
	if (atomic_load(&node->id) == 0)
		complete_attributes(node, row);
	return result;
}

int stack_node_locked(struct fs *fs, const struct identity_key *key, struct node_row *ret_row,
		      struct node **ret_node)
{
	struct layer *layer = fs->layer;
	struct identity_key known = *key;
	struct lower *lowers = NULL, **link = &lowers;
	struct node *node = NULL;
	size_t reach = layer->base_count;
	bool alone;
	int result;

	if (key->dev != layer_dev() && atomic_load(&layer->origins) == 0 && layer->base_count == 0)
		return -ENOENT;
	known.dev = keep_device(fs, key->dev);
	result = stack_row_locked(layer->db, &known, ret_row);
	if (result == 0)
		result = node_of_row(fs, ret_row, true, &node);
	alone = result == 0 && (ret_row->own & OWN_ALONE);
	for (size_t i = 0; i < layer->base_count && !alone && (result == 0 || result == -ENOENT); i++) {
		struct node_row row = {0};
		int found = stack_row_locked(layer->bases[i]->home.db, &known, &row);

		if (found == -ENOENT)
			continue;
		result = found;
		alone = result == 0 && (row.own & OWN_ALONE);
		if (result == 0 && node == NULL)
			result = node_of_row(fs, &row, false, &node);
		if (result == 0)
			result = add_lower(node, layer->bases[i], &row, &reach, &link);
		if (result == 0 && ret_row->id == 0)
			*ret_row = row;
		else
			db_row_fini(&row);
	}
	if (node != NULL)
		node->lower = lowers;
	if (result == 0) {
		*ret_node = node;
		return 0;
	}
	node_free(fs, node);
	db_row_fini(ret_row);
	return result;
}

int stack_restore_locked(struct fs *fs, struct inode *inode, struct node *node)
{
	struct node_row row = {0};
	struct node *fresh = NULL;
	int result = stack_node_locked(fs, &inode->key, &row, &fresh);

	db_row_fini(&row);
	if (result < 0 || fresh == NULL)
		return result == -ENOENT ? 0 : result;
	stack_part(fs, node);
	pthread_rwlock_wrlock(&node->lock);
	node->lower = fresh->lower;
	fresh->lower = NULL;
	pages_fini(&node->pages);
	node->pages = fresh->pages;
	fresh->pages = (struct pages){0};
	node->stx = fresh->stx;
	node->before = fresh->before;
	node->capability = fresh->capability;
	atomic_store(&node->own, atomic_load(&fresh->own));
	pthread_rwlock_unlock(&node->lock);
	node_free(fs, fresh);
	return 0;
}

int stack_below_locked(const struct node *directory, const char *name, struct db_entry *ret_entry)
{
	int result = -ENOENT;

	for (const struct lower *lower = directory->lower; lower != NULL && result == -ENOENT;
	     lower = lower->next)
		result = db_entry_get(lower->base->home.db, lower->id, name, ret_entry);
	return result;
}

int stack_entry_locked(struct fs *fs, const struct node *directory, const char *name,
		       struct db_entry *ret_entry)
{
	uint64_t id = atomic_load(&directory->id);
	int result = id == 0 ? -ENOENT : db_entry_get(fs->layer->db, id, name, ret_entry);

	return result == -ENOENT ? stack_below_locked(directory, name, ret_entry) : result;
}

void stack_xattrs_locked(struct fs *fs, const struct node *node, struct layer_db **ret_db, uint64_t *ret_id)
{
	*ret_db = fs->layer->db;
	*ret_id = atomic_load(&node->id);
	for (const struct lower *lower = node->lower; lower != NULL && *ret_id == 0; lower = lower->next) {
		if (lower->own & OWN_XATTRS) {
			*ret_db = lower->base->home.db;
			*ret_id = lower->id;
		}
	}
}

struct xattr_copy {
	struct layer_db *from, *to;
	uint64_t from_id, to_id;
};

static int copy_xattr(void *context, const char *name)
{
	const struct xattr_copy *copy = context;
	CLEANUP(free_pointer) void *value = NULL;
	ssize_t size = db_xattr_get(copy->from, copy->from_id, name, &value);

	return size < 0 ? (int)size : db_xattr_put(copy->to, copy->to_id, name, value, (size_t)size);
}

int stack_copy_xattrs_of_locked(struct layer_db *from, uint64_t from_id, struct layer_db *to, uint64_t to_id)
{
	struct xattr_copy copy = {from, to, from_id, to_id};

	return db_xattrs(from, from_id, copy_xattr, &copy);
}

int stack_copy_xattrs_locked(struct fs *fs, const struct node *node, uint64_t id)
{
	struct xattr_copy copy = {.to = fs->layer->db, .to_id = id};

	if (node->lower == NULL || !(atomic_load(&node->own) & OWN_XATTRS))
		return 0;
	stack_xattrs_locked(fs, node, &copy.from, &copy.from_id);
	return copy.from == copy.to
		       ? 0
		       : stack_copy_xattrs_of_locked(copy.from, copy.from_id, copy.to, copy.to_id);
}

struct lower *lower_content(struct lower *lower)
{
	while (lower != NULL && !lower->content)
		lower = lower->next;
	return lower;
}

uint64_t lower_run(struct lower *lower, uint64_t offset, uint64_t end, enum page_kind *ret_kind,
		   struct lower **ret_lower)
{
	*ret_kind = PAGES_CLEAN;
	*ret_lower = NULL;
	for (lower = lower_content(lower); lower != NULL && *ret_kind == PAGES_CLEAN;
	     lower = lower_content(lower->next)) {
		end = pages_run(&lower->pages, offset, end, ret_kind);
		*ret_lower = lower;
	}
	return end;
}

int lower_page_file(struct fs *fs, struct inode *inode, struct lower *lower, struct fd_use *ret_use)
{
	int fd;

	if (fd_slot_use(&fs->fds, &lower->slot, ret_use))
		return 0;
	do {
		fd = store_file(&lower->base->store, lower->id, false);
	} while (fd < 0 && fd_cache_relieve(&fs->fds, -fd));
	if (fd < 0)
		return fd;
	fd_slot_fill(&fs->fds, &lower->slot, inode, FD_LAYER, fd, ret_use);
	return 0;
}

uint64_t lower_blocks(struct lower *lower, uint64_t backing_blocks)
{
	uint64_t clean;

	lower = lower_content(lower);
	if (lower == NULL)
		return backing_blocks;
	clean = pages_clean(&lower->pages) * (LAYER_PAGE / 512);
	return pages_data(&lower->pages) * (LAYER_PAGE / 512) +
	       MIN(clean, lower_blocks(lower->next, backing_blocks));
}
