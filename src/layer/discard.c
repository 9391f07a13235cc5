/* SPDX-License-Identifier: MIT */
/*
 * Happy path: the records of what is to go are collected, starting from paths and following names, and removed from
 * the database in one change. Then the inodes in memory forget what they had of the layer, and last, once others
 * are served again, the kernel what it has cached.
 *
 * Which others have to go with an object: what is below it; and what the bases, or BACKING, have under a name that
 * comes free, where the layer shows that under another: else it would be in two places.
 */
#include "layer/discard.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs.h"
#include "layer/ids.h"
#include "layer/keep.h"
#include "layer/maintain.h"
#include "layer/serve.h"
#include "layer/stack.h"
#include "layer/subject.h"
#include "util.h"

struct discard {
	struct fs *fs;
	struct ids work;	/* nodes that go */
	struct ids directories; /* that lose entries: their link counts follow */
	struct inode **live;	/* of the nodes that go; each with a lookup counted */
	size_t live_count;
	struct ids files; /* page files that go */
	uint64_t origins, objects;
	uint64_t pages; /* of nodes that are not in memory */
	uint64_t freed; /* pages of those that are */
	struct forgetting forgetting;
};

/* An object comes to light under a name: its record, which shows it elsewhere or as removed, has to go. */
static int uncover(struct discard *discard, const struct identity_key *key)
{
	struct identity_key stored = *key;
	struct node_row row;
	int result;

	stored.dev = keep_device(discard->fs, key->dev);
	result = stack_row_locked(discard->fs->layer->db, &stored, &row);
	if (result < 0)
		return result == -ENOENT ? 0 : result;
	result = ids_add(&discard->work, row.id);
	db_row_fini(&row);
	return MIN(result, 0);
}

/* The layer says nothing of a name any more. */
static int drop_entry(struct discard *discard, uint64_t parent, const char *name)
{
	CLEANUP(subject_close) struct subject directory = {0};
	struct fs *fs = discard->fs;
	struct identity_key key;
	mode_t type;
	int result = subject_open(fs, parent, &directory);

	if (result == 0 && directory.inode != NULL) {
		forget_name(&discard->forgetting, directory.inode, name);
		forget_inode(&discard->forgetting, directory.inode);
		result = subject_look_below(&directory, name, &key, &type);
		if (result == 0)
			result = uncover(discard, &key);
		result = result == -ENOENT ? 0 : result;
	}
	if (result == 0)
		result = ids_add(&discard->directories, parent);
	return result < 0 ? result : db_entry_delete(fs->layer->db, parent, name);
}

/* All that is below a directory in the layer. */
static int drop_below(struct discard *discard, uint64_t id)
{
	int result = 0;

	while (result == 0) {
		CLEANUP(db_named_fini) struct db_named named = {0};

		result = db_entry_next(discard->fs->layer->db, id, "", &named);
		if (result == 0 && named.parent != id)
			result = -ENOENT;
		if (result == 0 && named.entry.node != DB_WHITEOUT)
			result = ids_add(&discard->work, named.entry.node);
		if (result >= 0)
			result = drop_entry(discard, id, named.name);
	}
	return result == -ENOENT ? 0 : result;
}

static int drop_names(struct discard *discard, uint64_t id)
{
	int result = 0;

	while (result == 0) {
		CLEANUP(db_named_fini) struct db_named named = {0};

		result = db_entry_of(discard->fs->layer->db, id, 0, &named);
		if (result == 0)
			result = drop_entry(discard, named.parent, named.name);
	}
	return result == -ENOENT ? 0 : result;
}

/* The names that BACKING has it under show it again. */
static int drop_whiteouts(struct discard *discard, const struct identity_key *key)
{
	struct layer_db *db = discard->fs->layer->db;
	CLEANUP(db_named_fini) struct db_named named = {0};
	int result;

	while ((result = db_whiteout_of(db, key, 0, &named)) == 0) {
		result = drop_entry(discard, named.parent, named.name);
		db_named_fini(&named);
		if (result < 0)
			break;
	}
	return result == -ENOENT ? 0 : result;
}

/* The id that the layer has for a directory of a base's; -ENOENT: none. */
static int id_above(struct discard *discard, struct base *base, uint64_t id, uint64_t *ret_id)
{
	struct identity_key key = {.dev = layer_dev(), .ino = id};
	struct node_row row;
	int result = db_node_load(base->home.db, id, &row);

	if (result < 0)
		return result;
	key = row.has_origin ? row.origin : key;
	db_row_fini(&row);
	result = stack_row_locked(discard->fs->layer->db, &key, &row);
	if (result < 0)
		return result;
	*ret_id = row.id;
	db_row_fini(&row);
	return 0;
}

/* The names that a base has it under show it again. */
static int drop_names_below(struct discard *discard, struct base *base, uint64_t id)
{
	int result = 0;

	for (uint64_t index = 0; result == 0; index++) {
		CLEANUP(db_named_fini) struct db_named named = {0};
		struct db_entry entry;
		uint64_t parent;

		result = db_entry_of(base->home.db, id, index, &named);
		if (result < 0)
			break;
		result = id_above(discard, base, named.parent, &parent);
		if (result == 0)
			result = db_entry_get(discard->fs->layer->db, parent, named.name, &entry);
		if (result == 0)
			result = drop_entry(discard, parent, named.name);
		result = result == -ENOENT ? 0 : result;
	}
	return result == -ENOENT ? 0 : result;
}

/* Likewise of all bases. @ret_known: they know it */
static int drop_below_all(struct discard *discard, const struct node_row *row, bool *ret_known)
{
	const struct layer *layer = discard->fs->layer;
	struct identity_key key = {.dev = layer_dev(), .ino = row->id};
	int result = 0;

	key = row->has_origin ? row->origin : key;
	for (size_t i = 0; i < layer->base_count && result == 0; i++) {
		struct node_row below;

		result = stack_row_locked(layer->bases[i]->home.db, &key, &below);
		if (result == 0) {
			*ret_known = true;
			result = drop_names_below(discard, layer->bases[i], below.id);
			db_row_fini(&below);
		}
		result = result == -ENOENT ? 0 : result;
	}
	return result;
}

static int hold_live(struct discard *discard, const struct node_row *row, struct inode **ret_inode)
{
	struct inode **live;

	*ret_inode = row->id == LAYER_ROOT ? discard->fs->root : maintain_live(discard->fs, row);
	if (*ret_inode == NULL)
		return 0;
	live = reallocarray(discard->live, discard->live_count + 1, sizeof(live[0]));
	if (live == NULL)
		return -ENOMEM;
	discard->live = live;
	live[discard->live_count++] = *ret_inode;
	forget_inode(&discard->forgetting, *ret_inode);
	return 0;
}

/* The root has a record always: it is what the topmost base says. */
static int reset_root(struct fs *fs, struct node_row *row)
{
	struct layer *layer = fs->layer;
	struct node_row below;
	int result = db_xattrs_delete(layer->db, LAYER_ROOT);

	row->own = 0;
	for (size_t i = 0; i < layer->base_count && result == 0; i++) {
		struct layer_db *db = layer->bases[i]->home.db;

		result = db_node_load(db, LAYER_ROOT, &below);
		if (result == -ENOENT) {
			result = 0;
			continue;
		}
		if (result < 0)
			break;
		row->own = below.own & OWN_ALL;
		row->stx = below.stx;
		db_row_fini(&below);
		if (row->own & OWN_XATTRS)
			result = stack_copy_xattrs_of_locked(db, LAYER_ROOT, layer->db, LAYER_ROOT);
		break;
	}
	return result < 0 ? result : db_node_update(layer->db, row, DB_ATTRIBUTES);
}

/* The record goes; of what was made here and is still known to somebody only the last name has. */
static int drop_record(struct discard *discard, struct node_row *row, bool below)
{
	struct fs *fs = discard->fs;
	struct inode *inode;
	int result = hold_live(discard, row, &inode);

	if (result < 0)
		return result;
	if (row->id == LAYER_ROOT)
		return reset_root(fs, row);
	if (!row->has_origin && inode != NULL && !below) {
		row->stx.stx_nlink = 0;
		return db_node_update(fs->layer->db, row, DB_ATTRIBUTES);
	}
	if (inode == NULL) {
		discard->pages += row->page_count;
		discard->origins += row->has_origin;
	}
	result = ids_add(&discard->files, row->id);
	return result < 0 ? result : db_node_delete(fs->layer->db, row->id);
}

static int drop_node(struct discard *discard, uint64_t id)
{
	struct layer_db *db = discard->fs->layer->db;
	struct node_row row;
	bool below = false;
	int result = db_node_load(db, id, &row);

	if (result < 0)
		return result == -ENOENT ? 0 : result;
	result = S_ISDIR(row.stx.stx_mode) ? drop_below(discard, id) : 0;
	if (result == 0)
		result = drop_below_all(discard, &row, &below);
	if (result == 0)
		result = drop_names(discard, id);
	if (result == 0 && row.has_origin)
		result = drop_whiteouts(discard, &row.origin);
	if (result == 0)
		result = drop_record(discard, &row, below);
	discard->objects += row.own != 0;
	db_row_fini(&row);
	return result;
}

/* What counts as a subdirectory of a directory, by one entry: 1, 0, or -1 where one below does not any more. */
static int entry_links(const struct subject *directory, const struct db_named *named)
{
	struct identity_key key;
	mode_t type = 0;
	bool taken = directory->inode != NULL &&
		     subject_look_below(directory, named->name, &key, &type) == 0 && S_ISDIR(type);

	return (named->entry.node != DB_WHITEOUT && S_ISDIR(named->entry.type)) - taken;
}

/* The link count that a directory has without the layer; 0 where that is not known. */
static int64_t links_below(struct fs *fs, const struct subject *subject)
{
	const struct node *node = subject->inode == NULL ? NULL : layer_peek(subject->inode);
	struct statx backing = {.stx_nlink = 2};
	struct node_row row;

	for (const struct lower *lower = node == NULL ? NULL : node->lower; lower != NULL;
	     lower = lower->next) {
		if (!(lower->own & OWN_ATTRIBUTES) || db_node_load(lower->base->home.db, lower->id, &row) < 0)
			continue;
		backing.stx_nlink = row.stx.stx_nlink;
		db_row_fini(&row);
		return backing.stx_nlink;
	}
	if (subject->has_origin &&
	    (subject->inode == NULL || layer_backing_statx(fs, subject->inode, &backing) < 0))
		return 0;
	return backing.stx_nlink;
}

/* A directory that has its own link count: what it is with the entries that are left. */
static int recount(struct discard *discard, uint64_t id)
{
	CLEANUP(subject_close) struct subject subject = {0};
	struct fs *fs = discard->fs;
	CLEANUP(free_pointer) char *name = strdup("");
	struct node_row row = {.id = id};
	int64_t links;
	int result = ids_has(&discard->work, id) ? -ENOENT : subject_open(fs, id, &subject);

	if (result < 0 || !(subject.own & OWN_ATTRIBUTES))
		return result == -ENOENT ? 0 : result;
	links = links_below(fs, &subject);
	if (links < 2)
		return 0;
	while (name != NULL) {
		struct db_named named;

		if (db_entry_next(fs->layer->db, id, name, &named) < 0)
			break;
		free(name);
		name = named.parent == id ? named.name : NULL;
		if (name == NULL)
			db_named_fini(&named);
		else
			links += entry_links(&subject, &named);
	}
	row.own = subject.own;
	row.stx = subject.stx;
	row.stx.stx_nlink = (uint32_t)links;
	result = db_node_update(fs->layer->db, &row, DB_ATTRIBUTES);
	if (result == 0 && subject.inode != NULL)
		layer_peek(subject.inode)->stx.stx_nlink = (uint32_t)links;
	return result;
}

/* Everything that @work leads to. */
static int drop_all(struct discard *discard)
{
	int result = 0;

	for (size_t i = 0; i < discard->work.count && result >= 0; i++)
		result = drop_node(discard, discard->work.list[i]);
	for (size_t i = 0; i < discard->directories.count && result >= 0; i++)
		result = recount(discard, discard->directories.list[i]);
	return MIN(result, 0);
}

/* The records are gone: page files and what is in memory follow. */
static void settle(struct discard *discard)
{
	struct fs *fs = discard->fs;

	layer_discharge(fs->layer, discard->pages);
	atomic_fetch_sub(&fs->layer->origins, discard->origins);
	for (size_t i = 0; i < discard->files.count; i++)
		keep_remove_locked(fs, discard->files.list[i]);

	for (size_t i = 0; i < discard->live_count; i++) {
		struct inode *inode = discard->live[i];
		struct node *node = layer_peek(inode);

		if (node == NULL)
			continue;
		layer_place_set(fs, inode, NULL, NULL);
		/* Whoever has it open goes on with it. */
		if (!node->has_origin && node->lower == NULL) {
			node->stx.stx_nlink = 0;
			continue;
		}
		discard->freed += pages_data(&node->pages);
		maintain_reset(fs, inode);
		if (fs->layer->base_count > 0)
			stack_restore_locked(fs, inode, node);
	}
}

static int add_path(struct discard *discard, const char *path, char **ret_error)
{
	CLEANUP(maintain_place_fini) struct maintain_place place = {0};
	int result = maintain_find(discard->fs, path, &place, ret_error);

	if (result < 0)
		return result;
	if (place.whiteout)
		return drop_entry(discard, place.parent, place.name);
	/* Without a record there is nothing to throw away. */
	return place.node == 0 ? 0 : MIN(ids_add(&discard->work, place.node), 0);
}

static int add_everything(struct discard *discard)
{
	uint64_t id = 0;
	int result = 0;

	while (result >= 0) {
		struct node_row row;

		result = db_node_next(discard->fs->layer->db, id, &row);
		if (result < 0)
			break;
		id = row.id;
		result = ids_add(&discard->work, id);
		db_row_fini(&row);
	}
	return result == -ENOENT ? 0 : result;
}

static int discard_stopped(struct discard *discard, char *const *paths, size_t count, char **ret_error)
{
	struct fs *fs = discard->fs;
	int result = 0;

	LOCK_SCOPE(&fs->layer->lock);
	result = db_begin(fs->layer->db);
	if (result < 0)
		return result;
	if (count == 0)
		result = add_everything(discard);
	for (size_t i = 0; i < count && result >= 0; i++)
		result = add_path(discard, paths[i], ret_error);
	if (result >= 0)
		result = drop_all(discard);
	result = db_end(fs->layer->db, MIN(result, 0));
	if (result == 0)
		settle(discard);
	return result;
}

int layer_discard(struct fs *fs, char *const *paths, size_t count, char **ret_reply)
{
	struct discard discard = {.fs = fs};
	int result;

	*ret_reply = NULL;
	if (pthread_mutex_trylock(&fs->layer->maintain_lock) != 0) {
		*ret_reply = strdup("another command is changing the layer");
		return -EBUSY;
	}
	/* BACKING has a part of it, and only the layer the rest. */
	if (keep_commit_noted(fs, NULL, NULL) > 0) {
		pthread_mutex_unlock(&fs->layer->maintain_lock);
		*ret_reply = strdup("a commit was interrupted; repeat it first");
		return -EBUSY;
	}
	layer_stop_begin(fs);
	result = discard_stopped(&discard, paths, count, ret_reply);
	for (size_t i = 0; i < discard.live_count; i++) {
		if (discard.live[i] != fs->root)
			inode_forget(fs, discard.live[i]->nodeid, 1);
	}
	/* Before anybody makes a record again of an object that a base has, whose page file would go with it. */
	if (result == 0)
		result = keep_commit(fs);
	layer_stop_end(fs);
	forget_run(fs, &discard.forgetting);
	pthread_mutex_unlock(&fs->layer->maintain_lock);
	if (result == 0 && asprintf(ret_reply, "{\"objects\":%" PRIu64 ",\"bytes\":%" PRIu64 "}",
				    discard.objects, (discard.pages + discard.freed) * LAYER_PAGE) < 0)
		result = -ENOMEM;
	ids_fini(&discard.work);
	ids_fini(&discard.directories);
	ids_fini(&discard.files);
	free(discard.live);
	return result;
}
