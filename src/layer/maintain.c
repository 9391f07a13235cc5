/* SPDX-License-Identifier: MIT */
#include "layer/maintain.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "file.h"
#include "fs.h"
#include "inode_private.h"
#include "layer/keep.h"
#include "layer/names.h"
#include "layer/serve.h"
#include "session.h"
#include "util.h"

void maintain_place_fini(struct maintain_place *place)
{
	free(place->name);
	place->name = NULL;
}

static int say_path(char **ret_error, const char *path, int error)
{
	if (asprintf(ret_error, "'%s': %s", path, strerror(-error)) < 0)
		*ret_error = NULL;
	return error;
}

/* What the layer knows of a name. */
static int find_entry(struct fs *fs, struct inode *directory, const char *name,
		      struct maintain_place *ret_place)
{
	struct node *node, *child;
	struct db_entry entry;
	struct found found;
	int result = layer_node(fs, directory, &node);

	if (result < 0)
		return result;
	ret_place->parent = atomic_load(&node->id);
	ret_place->name = strdup(name);
	if (ret_place->name == NULL)
		return -ENOMEM;
	result = ret_place->parent == 0 ? -ENOENT
					: db_entry_get(fs->layer->db, ret_place->parent, name, &entry);
	if (result == 0 && entry.node == DB_WHITEOUT) {
		ret_place->whiteout = true;
		return 0;
	}
	result = layer_lookup(fs, directory, name, &found);
	if (result < 0)
		return result;
	result = layer_node(fs, found.inode, &child);
	if (result == 0)
		ret_place->node = atomic_load(&child->id);
	inode_forget(fs, found.inode->nodeid, 1);
	return result;
}

int maintain_find(struct fs *fs, const char *path, struct maintain_place *ret_place, char **ret_error)
{
	CLEANUP(free_pointer) char *copy = strdup(path);
	struct maintain_place place = {.node = LAYER_ROOT};
	struct inode *directory = fs->root;
	char *state = NULL, *word, *next;
	int result = copy == NULL ? -ENOMEM : 0;

	LOCK_SCOPE(&fs->layer->lock);
	inode_ref(directory);
	word = copy == NULL ? NULL : strtok_r(copy, "/", &state);
	for (; word != NULL && result == 0; word = next) {
		struct found found;

		next = strtok_r(NULL, "/", &state);
		if (strcmp(word, ".") == 0 && directory == fs->root)
			continue;
		/* What is no name cannot be told from one that the layer has. */
		if (strcmp(word, ".") == 0 || strcmp(word, "..") == 0)
			result = -EINVAL;
		else if (!S_ISDIR(directory->type))
			result = -ENOTDIR;
		else if (next == NULL)
			result = find_entry(fs, directory, word, &place);
		else
			result = layer_lookup(fs, directory, word, &found);
		if (result == 0 && next != NULL) {
			inode_ref(found.inode);
			inode_forget(fs, found.inode->nodeid, 1);
			inode_unref(fs, directory);
			directory = found.inode;
		}
	}
	inode_unref(fs, directory);
	if (result < 0) {
		maintain_place_fini(&place);
		return say_path(ret_error, path, result);
	}
	*ret_place = place;
	return 0;
}

void forget_inode(struct forgetting *forgetting, const struct inode *inode)
{
	size_t count = forgetting->inode_count;
	uint64_t *inodes = forgetting->inodes;

	/* Room for a power of two. */
	if ((count & (count - 1)) == 0) {
		inodes = reallocarray(inodes, MAX(2 * count, 1), sizeof(inodes[0]));
		if (inodes == NULL)
			return;
		forgetting->inodes = inodes;
	}
	inodes[forgetting->inode_count++] = atomic_load(&inode->nodeid);
}

void forget_name(struct forgetting *forgetting, const struct inode *directory, const char *name)
{
	size_t count = forgetting->name_count;
	struct forgotten_name *names = forgetting->names;
	char *copy = strdup(name);

	if (copy != NULL && (count & (count - 1)) == 0) {
		names = reallocarray(names, MAX(2 * count, 1), sizeof(names[0]));
		if (names != NULL)
			forgetting->names = names;
	}
	if (copy == NULL || names == NULL) {
		free(copy);
		return;
	}
	names[forgetting->name_count++] = (struct forgotten_name){atomic_load(&directory->nodeid), copy};
}

void forget_run(struct fs *fs, struct forgetting *forgetting)
{
	for (size_t i = 0; i < forgetting->name_count; i++) {
		if (fs->session != NULL)
			session_forget_name(fs->session, forgetting->names[i].directory,
					    forgetting->names[i].name);
		free(forgetting->names[i].name);
	}
	for (size_t i = 0; i < forgetting->inode_count && fs->session != NULL; i++)
		session_forget_content(fs->session, forgetting->inodes[i]);
	free(forgetting->inodes);
	free(forgetting->names);
	*forgetting = (struct forgetting){0};
}

struct inode *maintain_live(struct fs *fs, const struct node_row *row)
{
	struct identity_key key = {.dev = layer_dev(), .ino = row->id};
	struct inode *inode;

	if (row->has_origin) {
		key = row->origin;
		key.dev = keep_device(fs, key.dev);
	}
	return inode_count_lookup(fs, &key, &inode) ? inode : NULL;
}

int maintain_save_all(struct fs *fs)
{
	int result = 0;

	for (int i = 0; i < INODE_SHARDS; i++) {
		uint64_t *ids;
		size_t count = inode_ids(&fs->inodes.by_id[i], &ids);

		for (size_t k = 0; k < count; k++) {
			LAYER_SERVE_SCOPE(fs);
			struct inode *inode = inode_hold_id(fs, ids[k]);
			struct node *node = inode == NULL ? NULL : layer_peek(inode);
			int saved;

			if (node != NULL) {
				saved = layer_save(fs, inode, node);
				result = saved < 0 ? saved : result;
			}
			if (inode != NULL)
				inode_unref(fs, inode);
		}
		free(ids);
	}
	return result;
}

void maintain_reset(struct fs *fs, struct inode *inode)
{
	struct node *node = layer_peek(inode);
	uint64_t id;

	if (node == NULL)
		return;
	id = atomic_load(&node->id);
	pthread_rwlock_wrlock(&node->lock);
	layer_discharge(fs->layer, pages_data(&node->pages));
	pages_fini(&node->pages);
	node->pages.clean = 0;
	node->unsaved = node->loose = node->capability = false;
	atomic_store(&node->told, false);
	atomic_store(&node->own, 0);
	pthread_rwlock_unlock(&node->lock);
	layer_leave_page_file(fs, node);
	if (inode != fs->root && id != 0) {
		atomic_store(&node->id, 0);
		atomic_fetch_sub(&fs->layer->origins, node->has_origin);
	}
}
