/* SPDX-License-Identifier: MIT */
/* What bases say is said by the layer above them as well. Directories are found from the root on, as the mount has them. */
#include "layer/raise.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs.h"
#include "layer/layer.h"
#include "layer/name_list.h"
#include "layer/serve.h"
#include "layer/stack.h"
#include "util.h"

struct raising {
	struct fs *fs;
	struct inode **work; /* directories; each with a lookup counted */
	size_t count;
};

static int add_name(void *context, const char *name, const struct db_entry *entry)
{
	(void)entry;
	return name_list_add(context, name);
}

static int list_names(struct fs *fs, const struct node *node, struct name_list *list)
{
	uint64_t id = atomic_load(&node->id);
	int result = id == 0 ? 0 : db_entries(fs->layer->db, id, add_name, list);

	for (const struct lower *lower = node->lower; lower != NULL && result == 0; lower = lower->next)
		result = db_entries(lower->base->home.db, lower->id, add_name, list);
	return result;
}

/* The entry of the topmost base that has one. */
static int find_below(const struct node *node, const char *name, struct db_named *ret_named)
{
	int result = -ENOENT;

	for (const struct lower *lower = node->lower; lower != NULL && result == -ENOENT; lower = lower->next)
		result = db_entry_named(lower->base->home.db, lower->id, name, ret_named);
	return result;
}

/* What BACKING has under a name that the base has removed or put something over. */
static struct statx covered_by(const struct db_named *named)
{
	struct statx stx = {.stx_mask = STATX_BTIME,
			    .stx_ino = named->removed_key.ino,
			    .stx_size = named->removed.size,
			    .stx_mtime = unpacked_time(named->removed.mtime)};

	stx.stx_btime.tv_sec = named->removed_key.birth_ns / 1000000000;
	stx.stx_btime.tv_nsec = (uint32_t)(named->removed_key.birth_ns % 1000000000);
	return stx;
}

static int put_name(struct fs *fs, uint64_t parent, const struct db_named *named, uint64_t node)
{
	struct statx covered = covered_by(named);

	return named->removed.known ? db_entry_cover(fs->layer->db, parent, named->name, node, &covered)
				    : db_entry_put(fs->layer->db, parent, named->name, node);
}

/* A name that only bases have an entry of. */
static int raise_name(struct fs *fs, struct inode *directory, struct node *node, const char *name,
		      struct inode **ret_child)
{
	CLEANUP(db_named_fini) struct db_named named = {0};
	struct node *child;
	int result = find_below(node, name, &named);

	if (result == 0)
		result = layer_record_locked(fs, directory, node);
	if (result < 0)
		return result;
	if (named.entry.node == DB_WHITEOUT)
		return put_name(fs, atomic_load(&node->id), &named, DB_WHITEOUT);
	result = layer_inode_locked(fs, &named.entry, ret_child);
	/* Only a path led to it, and it does not any more. */
	if (result < 0)
		return result == -ESTALE ? 0 : result;
	result = layer_node(fs, *ret_child, &child);
	if (result < 0)
		return result;
	layer_place_set(fs, *ret_child, directory, name);
	result = layer_record_locked(fs, *ret_child, child);
	return result < 0 ? result : put_name(fs, atomic_load(&node->id), &named, atomic_load(&child->id));
}

static int raise_or_find(struct fs *fs, struct inode *directory, struct node *node, const char *name,
			 struct inode **ret_child)
{
	uint64_t id = atomic_load(&node->id);
	struct db_entry entry;
	int result = id == 0 ? -ENOENT : db_entry_get(fs->layer->db, id, name, &entry);

	if (result == -ENOENT)
		return raise_name(fs, directory, node, name, ret_child);
	if (result < 0 || entry.node == DB_WHITEOUT)
		return result;
	result = layer_inode_locked(fs, &entry, ret_child);
	return result == -ESTALE ? 0 : result;
}

/* To be gone through later, if it is a directory; else let go. */
static int keep_directory(struct raising *raising, struct inode *inode)
{
	bool directory = S_ISDIR(inode->type);
	struct inode **work = NULL;

	if (directory)
		work = reallocarray(raising->work, raising->count + 1, sizeof(struct inode *));
	if (work == NULL) {
		inode_forget(raising->fs, inode->nodeid, 1);
		return directory ? -ENOMEM : 0;
	}
	raising->work = work;
	raising->work[raising->count++] = inode;
	return 0;
}

static int raise_directory(struct raising *raising, struct inode *directory)
{
	CLEANUP(free_pointer) char *names = NULL;
	struct fs *fs = raising->fs;
	struct name_list list = {0};
	struct node *node;
	int result;

	LAYER_SERVE_SCOPE(fs);
	LOCK_SCOPE(&fs->layer->lock);
	result = layer_node(fs, directory, &node);
	if (result == 0)
		result = list_names(fs, node, &list);
	names = list.names;
	for (size_t at = 0; at < list.length && result == 0; at += strlen(names + at) + 1) {
		struct inode *child = NULL;
		int kept;

		result = raise_or_find(fs, directory, node, names + at, &child);
		kept = child == NULL ? 0 : keep_directory(raising, child);
		result = result < 0 ? result : kept;
	}
	return result;
}

int layer_raise(struct fs *fs)
{
	struct raising raising = {.fs = fs};
	int result;

	if (fs->layer->base_count == 0)
		return 0;
	result = raise_directory(&raising, fs->root);
	/* The list grows as it is gone through. */
	for (size_t i = 0; i < raising.count; i++) {
		struct inode *directory = raising.work[i];

		if (result == 0)
			result = raise_directory(&raising, directory);
		inode_forget(fs, directory->nodeid, 1);
	}
	free(raising.work);
	return result;
}
