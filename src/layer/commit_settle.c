/* SPDX-License-Identifier: MIT */
/* The end of a commit: what BACKING has now, the layer has no more. Nobody is served meanwhile. */
#include <errno.h>
#include <string.h>

#include "fs.h"
#include "layer/commit_private.h"
#include "layer/keep.h"
#include "layer/serve.h"
#include "util.h"

/* Is the name in BACKING what it is in the layer? Then the layer need not say it. */
static int settle_name(struct commit *commit, const struct commit_name *name, bool directories,
		       bool *ret_settled)
{
	CLEANUP(subject_close) struct subject parent = {0}, subject = {0};
	CLEANUP(db_named_fini) struct db_named below = {0};
	struct layer_db *db = commit->fs->layer->db;
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
	} else if (taken) {
		return 0;
	}
	*ret_settled = true;
	forget_inode(&commit->forgetting, parent.inode);
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

/* What was changed since it was written is written again, now that nobody changes it. */
static int write_again(struct commit *commit, struct subject *subject, struct commit_node *done)
{
	struct node *node = layer_peek(subject->inode);
	int result;

	if (subject->own == 0 || atomic_load(&node->version) == done->version)
		return 0;
	result = commit_write(commit, subject, &done->version);
	return result < 0 ? result : layer_save(commit->fs, subject->inode, node);
}

/* A record that has to stay for the names in it: what changes from here on does so after this state of BACKING's. */
static int refresh(struct commit *commit, const struct subject *subject)
{
	struct node_row row = {.id = subject->id, .stx = subject->stx};
	struct node *node = layer_peek(subject->inode);
	struct statx now;
	int result;

	if (subject->id == LAYER_ROOT) {
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

static int settle_node(struct commit *commit, size_t index, struct ids *gone)
{
	struct fs *fs = commit->fs;
	uint64_t id = commit->nodes.list[index];
	CLEANUP(subject_close) struct subject subject = {0};
	int result = subject_open(fs, id, &subject);

	/* Only a path led to it, and it does not any more: so it stays as it is. */
	if (result < 0 || subject.inode == NULL || !subject.has_origin)
		return result == -ENOENT ? 0 : result;
	/* Removed meanwhile and still open: whoever has it goes on with it. */
	if ((subject.own & OWN_ATTRIBUTES) && subject.stx.stx_nlink == 0)
		return 0;
	result = write_again(commit, &subject, &commit->done[index]);
	if (result < 0)
		return result == -ESTALE ? 0 : result;
	forget_inode(&commit->forgetting, subject.inode);
	commit->objects += subject.own != 0;
	if (is_needed(fs->layer->db, id))
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
	result = db_begin(fs->layer->db);
	if (result < 0)
		return result;
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
