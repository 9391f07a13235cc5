/* SPDX-License-Identifier: MIT */
/*
 * The end of a commit: what BACKING has now, the layer has no more. Nobody is served meanwhile. First all that may fail
 * for want of room in BACKING, then the records, and what is in memory with each of them.
 */
#include <errno.h>
#include <string.h>

#include "fs.h"
#include "layer/commit_private.h"
#include "layer/keep.h"
#include "layer/serve.h"
#include "layer/stack.h"
#include "layer/sweep.h"
#include "util.h"

/* The entry stays: by now of a name that is in BACKING what it is in the layer. */
static int keep_name(struct layer_db *db, const struct commit_name *name)
{
	CLEANUP(db_named_fini) struct db_named named = {0};
	int result = db_entry_named(db, name->parent, name->name, &named);

	if (result < 0 || !named.removed.known)
		return result;
	return db_entry_put(db, name->parent, name->name, name->node);
}

/* Only its names lead to what no handle does: they stay as long as the record does. */
static bool is_lead(const struct commit *commit, const struct subject *subject)
{
	return subject->inode != NULL && subject->inode->handle == NULL && !S_ISDIR(subject->type) &&
	       !ids_has(&commit->nodes, subject->id);
}

/* To get a name, or lose one, changes an object's ctime. Whoever writes to it changes its mtime, too. */
static int note_ctime(struct commit *commit, const struct subject *subject)
{
	struct node *node = layer_peek(subject->inode);
	struct origin_state now;
	struct statx stx;

	if (node == NULL || layer_backing_statx(commit->fs, subject->inode, &stx) < 0)
		return 0;
	now = origin_state(&stx);
	pthread_rwlock_wrlock(&node->lock);
	now.mtime = node->before.mtime;
	if (node->before.known && now.size == node->before.size &&
	    origin_compare(&now, &stx) == ORIGIN_SAME) {
		node->before = now;
		node->unsaved = true;
	}
	pthread_rwlock_unlock(&node->lock);
	return layer_save(commit->fs, subject->inode, node);
}

/* What is not selected, and came out of the way, is not changed by that. */
static int note_move(struct commit *commit, const struct subject *subject)
{
	return ids_has(&commit->nodes, subject->id) ? 0 : note_ctime(commit, subject);
}

void commit_note_failed(struct commit *commit)
{
	struct fs *fs = commit->fs;

	for (size_t i = 0; i < commit->name_count && !fs->layer->kept; i++) {
		CLEANUP(subject_close) struct subject subject = {0};

		LAYER_SERVE_SCOPE(fs);
		LOCK_SCOPE(&fs->layer->lock);
		if (commit->names[i].node != DB_WHITEOUT &&
		    subject_open(fs, commit->names[i].node, &subject) == 0 && subject.inode != NULL)
			note_ctime(commit, &subject);
	}
}

/* Is the name in BACKING what it is in the layer? Then the layer need not say it. */
static int settle_name(struct commit *commit, const struct commit_name *name, bool directories,
		       bool *ret_settled)
{
	CLEANUP(subject_close) struct subject parent = {0}, subject = {0};
	CLEANUP(db_named_fini) struct db_named below = {0};
	struct layer_db *db = commit->fs->layer->db;
	struct node *directory;
	struct db_entry entry;
	struct statx there;
	bool taken;
	int result = db_entry_get(db, name->parent, name->name, &entry);

	if (result < 0 || entry.node != name->node)
		return result == -ENOENT ? 0 : result;
	/* What the layer still has below a directory has to be found by its path. */
	if ((entry.node != DB_WHITEOUT && S_ISDIR(entry.type)) != directories ||
	    (directories && db_entry_next(db, entry.node, "", &below) == 0 && below.parent == entry.node))
		return 0;
	result = subject_open(commit->fs, name->parent, &parent);
	if (result < 0 || parent.inode == NULL || !parent.has_origin)
		return result == -ENOENT ? 0 : result;
	taken = origin_statx_name(commit->fs, parent.inode, name->name, &there) == 0;
	if (name->node != DB_WHITEOUT) {
		result = subject_open(commit->fs, name->node, &subject);
		if (result < 0 || !taken || subject.inode == NULL || !commit_same(subject.inode, &there))
			return result == -ENOENT ? 0 : result;
		result = note_move(commit, &subject);
		if (result < 0 || is_lead(commit, &subject))
			return result;
	} else if (taken) {
		return 0;
	}
	forget_inode(&commit->forgetting, parent.inode);
	result = layer_node(commit->fs, parent.inode, &directory);
	if (result < 0)
		return result;
	/* A base would say otherwise. */
	if (stack_below_locked(directory, name->name, &entry) == 0)
		return keep_name(db, name);
	*ret_settled = true;
	return db_entry_delete(db, name->parent, name->name);
}

static int settle_names(struct commit *commit)
{
	bool settled = true;
	int result = 0;

	for (size_t i = 0; i < commit->name_count && result == 0; i++)
		result = settle_name(commit, &commit->names[i], false, &settled);
	/* Each round those that the one before has emptied. */
	while (settled && result == 0) {
		settled = false;
		for (size_t i = 0; i < commit->name_count && result == 0; i++)
			result = settle_name(commit, &commit->names[i], true, &settled);
	}
	return result;
}

/* Has the layer other names of it, or anything below it? */
static bool is_needed(struct layer_db *db, uint64_t id)
{
	CLEANUP(db_named_fini) struct db_named named = {0}, below = {0};

	return id == LAYER_ROOT || db_entry_of(db, id, 0, &named) == 0 ||
	       (db_entry_next(db, id, "", &below) == 0 && below.parent == id);
}

/* May the layer let go of it? */
static bool is_settled(const struct subject *subject)
{
	/* Only a path led to it, and it does not any more: so it stays as it is. */
	if (subject->inode == NULL || !subject->has_origin)
		return false;
	/* Removed meanwhile and still open: whoever has it goes on with it. */
	return !(subject->own & OWN_ATTRIBUTES) || subject->stx.stx_nlink > 0;
}

static bool is_written(const struct subject *subject, const struct commit_node *done)
{
	return subject->own == 0 || atomic_load(&layer_peek(subject->inode)->version) == done->version;
}

/* What was changed since it was written is written again, now that nobody changes it. */
static int write_again(struct commit *commit, size_t index, bool *ret_written)
{
	CLEANUP(subject_close) struct subject subject = {0};
	struct commit_node *done = &commit->done[index];
	int result = subject_open(commit->fs, commit->nodes.list[index], &subject);

	if (result < 0 || !is_settled(&subject) || is_written(&subject, done))
		return result == -ENOENT ? 0 : result;
	*ret_written = true;
	result = commit_write(commit, &subject, &done->version);
	if (result == 0)
		return layer_save(commit->fs, subject.inode, layer_peek(subject.inode));
	return result == -ESTALE ? 0 : result;
}

/* An fsync may have promised it: so it is on the disk before the layer has it no more. */
static int write_changed(struct commit *commit)
{
	bool written = false;
	int result = 0;

	for (size_t i = 0; i < commit->nodes.count && result == 0; i++)
		result = write_again(commit, i, &written);
	return result == 0 && written ? commit_sync(commit) : result;
}

/* A record that has to stay for the names in it: what changes from here on does so after this state of BACKING's. */
static int refresh(struct commit *commit, const struct subject *subject)
{
	struct node_row row = {.id = subject->id, .stx = subject->stx};
	struct node *node = layer_peek(subject->inode);
	struct statx now;
	int result;

	/* Of a part, names may be left that its link count stands for. */
	if (subject->id == LAYER_ROOT || (commit->whole && commit->fs->layer->base_count > 0)) {
		result = db_node_update(commit->fs->layer->db, &row, DB_ATTRIBUTES);
		if (result == 0)
			result = db_xattrs_delete(commit->fs->layer->db, row.id);
		atomic_store(&node->own, 0);
		return result;
	}
	if (layer_backing_statx(commit->fs, subject->inode, &now) < 0)
		return 0;
	/* Its link count may still be the layer's own. */
	result = db_xattrs_delete(commit->fs->layer->db, subject->id);
	if (result < 0)
		return result;
	pthread_rwlock_wrlock(&node->lock);
	node->before = origin_state(&now);
	atomic_fetch_and(&node->own, ~(uint32_t)OWN_XATTRS);
	node->unsaved = true;
	pthread_rwlock_unlock(&node->lock);
	return layer_save(commit->fs, subject->inode, node);
}

/* The record of a file that says no more than that it is BACKING's, whatever the bases say. */
static int insert_mask(struct commit *commit, const struct subject *subject, uint64_t id)
{
	struct layer *layer = commit->fs->layer;
	struct node_row row;
	struct statx now;
	int result = layer_backing_statx(commit->fs, subject->inode, &now);

	if (result == 0)
		result = db_node_load(layer->db, subject->id, &row);
	if (result < 0)
		return result;
	free(row.data);
	free(row.zero);
	row.data = row.zero = NULL;
	row.data_size = row.zero_size = 0;
	row.page_count = row.clean = 0;
	row.id = id;
	row.own = OWN_ALONE;
	row.stx = now;
	row.before = origin_state(&now);
	result = db_node_delete(layer->db, subject->id);
	if (result == 0)
		result = db_node_insert(layer->db, &row);
	db_row_fini(&row);
	return result;
}

/* It gets another id: what is written to it next goes into another page file than the one that is removed. */
static int mask(struct commit *commit, const struct subject *subject, struct ids *gone)
{
	struct layer *layer = commit->fs->layer;
	struct node *node = layer_peek(subject->inode);
	uint64_t id = layer->next_id++;
	int result = 0;

	while (result == 0) {
		CLEANUP(db_named_fini) struct db_named named = {0};

		result = db_entry_of(layer->db, subject->id, 0, &named);
		if (result == 0)
			result = db_entry_put(layer->db, named.parent, named.name, id);
	}
	result = result == -ENOENT ? insert_mask(commit, subject, id) : result;
	if (result == 0)
		result = MIN(ids_add(gone, subject->id), 0);
	if (result < 0)
		return result;
	sweep_make_way_locked(layer, id);
	maintain_reset(commit->fs, subject->inode);
	stack_part(commit->fs, node);
	atomic_store(&node->own, OWN_ALONE);
	atomic_store(&node->id, id);
	atomic_fetch_add(&layer->origins, 1);
	return 0;
}

static int settle_node(struct commit *commit, size_t index, struct ids *gone)
{
	struct fs *fs = commit->fs;
	uint64_t id = commit->nodes.list[index];
	CLEANUP(subject_close) struct subject subject = {0};
	bool alone, needed;
	struct node *node;
	int result = subject_open(fs, id, &subject);

	if (result < 0 || !is_settled(&subject) || !is_written(&subject, &commit->done[index]))
		return result == -ENOENT ? 0 : result;
	forget_inode(&commit->forgetting, subject.inode);
	commit->objects += subject.own != 0;
	node = layer_peek(subject.inode);
	alone = atomic_load(&node->own) & OWN_ALONE;
	if (alone && subject.own == 0)
		return 0;
	needed = alone || node->lower != NULL || is_needed(fs->layer->db, id);
	if (needed && fs->layer->base_count > 0 && !S_ISDIR(subject.type))
		return mask(commit, &subject, gone);
	if (needed)
		return refresh(commit, &subject);
	result = db_node_delete(fs->layer->db, id);
	if (result == 0)
		result = MIN(ids_add(gone, id), 0);
	if (result == 0)
		maintain_reset(fs, subject.inode);
	return result;
}

int commit_settle(struct commit *commit)
{
	CLEANUP(ids_fini) struct ids gone = {0};
	struct fs *fs = commit->fs;
	int result;

	LOCK_SCOPE(&fs->layer->lock);
	result = write_changed(commit);
	if (result == 0)
		result = db_begin(fs->layer->db);
	if (result < 0)
		return result;
	commit_refresh(commit);
	result = settle_names(commit);
	for (size_t i = 0; i < commit->nodes.count && result == 0; i++)
		result = settle_node(commit, i, &gone);
	if (result == 0 && fs->layer->kept)
		result = keep_commit_end(fs);
	result = db_end(fs->layer->db, result);
	for (size_t i = 0; i < gone.count && result == 0; i++)
		keep_remove_locked(fs, gone.list[i]);
	return result;
}
