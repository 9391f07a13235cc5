/* SPDX-License-Identifier: MIT */
#include "layer/names.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "fs.h"
#include "layer/acl.h"
#include "layer/commit.h"
#include "layer/layer.h"
#include "layer/origin.h"
#include "layer/stack.h"
#include "layer/sweep.h"
#include "layer/xattrs.h"
#include "util.h"

/* Is there something under the name in the layers below, or in the BACKING directory that this one stands for? */
static bool below_has(struct fs *fs, struct inode *directory, const char *name)
{
	struct db_entry entry;
	struct statx stx;

	if (stack_below_locked(layer_peek(directory), name, &entry) == 0)
		return entry.node != DB_WHITEOUT;
	return origin_statx_name(fs, directory, name, &stx) == 0;
}

static bool is_covered(const struct fs *fs, const struct inode *inode)
{
	const struct identity_key *covered = &fs->layer->covered;

	return inode != fs->root && inode->key.dev == covered->dev && inode->key.ino == covered->ino &&
	       inode->key.birth_ns == covered->birth_ns;
}

/* Looks in BACKING. The object may have been changed, or moved to another name. */
static int lookup_backing(struct fs *fs, struct inode *directory, const char *name, struct inode **ret_inode)
{
	struct found found;
	struct node *node;
	int result = inode_lookup(fs, directory, name, &found);

	if (result < 0)
		return result;
	if (is_covered(fs, found.inode))
		atomic_store(&found.inode->covered, true);
	result = layer_node(fs, found.inode, &node);
	if (result < 0)
		inode_forget(fs, found.inode->nodeid, 1);
	*ret_inode = found.inode;
	return result;
}

static int lookup_entry(struct fs *fs, struct node *directory, const char *name, struct inode **ret_inode)
{
	struct db_entry entry;
	int result;

	if (atomic_load(&directory->id) == 0 && directory->lower == NULL)
		return -ENOENT;
	LOCK_SCOPE(&fs->layer->lock);
	result = stack_entry_locked(fs, directory, name, &entry);
	if (result < 0)
		return result;
	*ret_inode = NULL;
	return entry.node == DB_WHITEOUT ? 0 : layer_inode_locked(fs, &entry, ret_inode);
}

int layer_lookup(struct fs *fs, struct inode *directory, const char *name, struct found *ret_found)
{
	struct node *node;
	int result = layer_node(fs, directory, &node);

	if (result < 0)
		return result;
	if (strlen(name) > NAME_MAX)
		return -ENAMETOOLONG;
	if (commit_is_stage(fs, directory, name))
		return -ENOENT;
	result = lookup_entry(fs, node, name, &ret_found->inode);
	if (result == -ENOENT && node->has_origin && !atomic_load(&directory->covered))
		result = lookup_backing(fs, directory, name, &ret_found->inode);
	else if (result == 0 && ret_found->inode == NULL)
		result = -ENOENT;
	if (result < 0)
		return result;
	layer_place_set(fs, ret_found->inode, directory, name);
	result = layer_statx(fs, ret_found->inode, &ret_found->stx);
	if (result < 0)
		inode_forget(fs, ret_found->inode->nodeid, 1);
	return result;
}

/* Is there nothing under the name? Then 0. */
static int check_free(struct fs *fs, struct inode *directory, const char *name)
{
	struct db_entry entry;
	int result;

	if (strlen(name) > NAME_MAX)
		return -ENAMETOOLONG;
	result = stack_entry_locked(fs, layer_peek(directory), name, &entry);
	if (result == 0)
		return entry.node == DB_WHITEOUT ? 0 : -EEXIST;
	return result != -ENOENT ? result : below_has(fs, directory, name) ? -EEXIST : 0;
}

/* Takes a directory into a change that may make names in it. */
static int tx_directory(struct tx *tx, struct inode *directory, struct tx_node **ret_node)
{
	int result;

	if (atomic_load(&directory->covered))
		return -EBUSY;
	result = tx_node(tx, directory, ret_node);
	return result == 0 && (*ret_node)->stx.stx_nlink == 0 ? -ENOENT : result;
}

static int put_name(struct fs *fs, struct tx_node *directory, const char *name, uint64_t node)
{
	struct statx covered;

	if (origin_statx_name(fs, directory->inode, name, &covered) < 0)
		covered = (struct statx){0};
	return db_entry_cover(fs->layer->db, atomic_load(&directory->node->id), name, node, &covered);
}

/* A name goes: BACKING's, if it has one there, must not come to light. */
static int drop_name(struct fs *fs, struct tx_node *directory, const char *name)
{
	uint64_t id = atomic_load(&directory->node->id);
	struct statx removed;

	struct db_entry entry;
	int result = stack_below_locked(layer_peek(directory->inode), name, &entry);

	if (result == 0 && entry.node != DB_WHITEOUT)
		return db_entry_put(fs->layer->db, id, name, DB_WHITEOUT);
	if (result == -ENOENT && origin_statx_name(fs, directory->inode, name, &removed) == 0)
		return db_entry_cover(fs->layer->db, id, name, DB_WHITEOUT, &removed);
	return db_entry_delete(fs->layer->db, id, name);
}

/* A file system that counts no subdirectories says 1. */
static void count_directory(struct tx_node *directory, int difference)
{
	if (directory->stx.stx_nlink > 1)
		directory->stx.stx_nlink += (uint32_t)difference;
}

/* Owner, mode and ACLs of something new, from its maker and its directory. */
static int inherit(struct fs *fs, struct tx_node *directory, const struct making *making,
		   struct node_row *row)
{
	const struct statx *above = &directory->stx;
	CLEANUP(free_pointer) void *acl = NULL;
	mode_t mode = making->mode;
	ssize_t size;
	int result = 0;

	row->stx.stx_uid = making->uid;
	row->stx.stx_gid = above->stx_mode & S_ISGID ? above->stx_gid : making->gid;
	if ((above->stx_mode & S_ISGID) && S_ISDIR(mode))
		mode |= S_ISGID;
	size = S_ISLNK(mode) ? -ENODATA : layer_xattr_get(fs, directory->inode, ACL_DEFAULT, &acl);
	if (size > 0 && acl_is_valid(acl, (size_t)size)) {
		mode_t plain;

		if (S_ISDIR(mode))
			result = db_xattr_put(fs->layer->db, row->id, ACL_DEFAULT, acl, (size_t)size);
		mode = acl_inherit(acl, (size_t)size, mode);
		if (result == 0 && !acl_mode(acl, (size_t)size, mode, &plain))
			result = db_xattr_put(fs->layer->db, row->id, ACL_ACCESS, acl, (size_t)size);
	} else if (!S_ISLNK(mode)) {
		mode &= ~making->umask;
	}
	row->stx.stx_mode = (uint16_t)mode;
	return result;
}

/* The record of something new. */
static int insert(struct fs *fs, struct tx_node *directory, const struct making *making, bool named,
		  uint64_t *ret_id)
{
	struct statx_timestamp now = layer_now();
	struct node_row row = {.own = OWN_ALL, .target = (char *)making->target};
	int result;

	row.id = fs->layer->next_id++;
	sweep_make_way_locked(fs->layer, row.id);
	row.stx.stx_nlink = !named ? 0 : S_ISDIR(making->mode) ? 2 : 1;
	row.stx.stx_rdev_major = major(making->rdev);
	row.stx.stx_rdev_minor = minor(making->rdev);
	row.stx.stx_size = making->target != NULL  ? strlen(making->target)
			   : S_ISDIR(making->mode) ? LAYER_PAGE
						   : 0;
	row.stx.stx_atime = row.stx.stx_mtime = row.stx.stx_ctime = row.stx.stx_btime = now;
	result = inherit(fs, directory, making, &row);
	if (result == 0)
		result = db_node_insert(fs->layer->db, &row);
	*ret_id = row.id;
	return result;
}

/* The inode of what has just been put under the name, as for a look-up. */
static int found_made(struct fs *fs, uint64_t id, struct inode *directory, const char *name,
		      struct found *ret_found)
{
	struct db_entry entry = {.node = id};
	int result = layer_inode_locked(fs, &entry, &ret_found->inode);

	if (result < 0)
		return result;
	if (name != NULL)
		layer_place_set(fs, ret_found->inode, directory, name);
	return layer_statx(fs, ret_found->inode, &ret_found->stx);
}

int layer_make(struct fs *fs, struct inode *directory, const char *name, const struct making *making,
	       struct found *ret_found)
{
	struct tx_node *above;
	struct tx tx;
	uint64_t id;
	int result;

	LOCK_SCOPE(&fs->layer->lock);
	tx_begin(fs, &tx);
	result = tx_directory(&tx, directory, &above);
	if (result == 0 && name != NULL)
		result = check_free(fs, directory, name);
	if (result == 0)
		result = tx_change(&tx);
	if (result == 0)
		result = insert(fs, above, making, name != NULL, &id);
	if (result == 0 && name != NULL) {
		tx_touch(above, OWN_MTIME);
		count_directory(above, S_ISDIR(making->mode));
		result = put_name(fs, above, name, id);
	}
	result = tx_end(&tx, result);
	return result < 0 ? result : found_made(fs, id, directory, name, ret_found);
}

int layer_link(struct fs *fs, struct inode *inode, struct inode *directory, const char *name,
	       struct found *ret_found)
{
	struct tx_node *above, *linked;
	struct tx tx;
	int result;

	LOCK_SCOPE(&fs->layer->lock);
	tx_begin(fs, &tx);
	result = tx_directory(&tx, directory, &above);
	if (result == 0)
		result = check_free(fs, directory, name);
	if (result == 0)
		result = tx_node(&tx, inode, &linked);
	if (result == 0)
		result = tx_change(&tx);
	if (result == 0) {
		tx_touch(above, OWN_MTIME);
		tx_touch(linked, 0);
		linked->stx.stx_nlink++;
		result = put_name(fs, above, name, atomic_load(&linked->node->id));
	}
	result = tx_end(&tx, result);
	/* By the entry, which counts the look-up as well. */
	return result < 0 ? result : layer_lookup(fs, directory, name, ret_found);
}

static int stop_listing(void *context, const char *name, uint64_t ino, mode_t type)
{
	(void)context;
	(void)name;
	(void)ino;
	(void)type;
	return -ENOTEMPTY;
}

/* What is under a name loses it, as another takes its place or nothing does. */
static int remove_named(struct fs *fs, struct tx *tx, struct tx_node *above, struct inode *inode)
{
	struct tx_node *removed;
	int result = S_ISDIR(inode->type) ? layer_list(fs, inode, stop_listing, NULL) : 0;

	if (result == 0)
		result = tx_node(tx, inode, &removed);
	if (result < 0)
		return result;
	tx_touch(removed, 0);
	if (S_ISDIR(inode->type)) {
		removed->stx.stx_nlink = 0;
		count_directory(above, -1);
	} else if (removed->stx.stx_nlink > 0) {
		removed->stx.stx_nlink--;
	}
	return 0;
}

/* The name is nobody's any more, if that is where the inode was last found. */
static void forget_place(struct fs *fs, struct inode *inode, struct inode *directory, const char *name)
{
	struct node *node = layer_peek(inode);
	bool there;

	pthread_mutex_lock(&fs->layer->place_lock);
	there = node->parent == directory && node->name != NULL && strcmp(node->name, name) == 0;
	pthread_mutex_unlock(&fs->layer->place_lock);
	if (there)
		layer_place_set(fs, inode, NULL, NULL);
}

int layer_remove(struct fs *fs, struct inode *directory, const char *name, bool is_directory)
{
	struct tx_node *above;
	struct found found;
	struct tx tx;
	int result;

	LOCK_SCOPE(&fs->layer->lock);
	result = layer_lookup(fs, directory, name, &found);
	if (result < 0)
		return result;
	tx_begin(fs, &tx);
	if (atomic_load(&directory->covered) || atomic_load(&found.inode->covered))
		result = -EBUSY;
	else if (S_ISDIR(found.inode->type) != is_directory)
		result = is_directory ? -ENOTDIR : -EISDIR;
	if (result == 0)
		result = tx_node(&tx, directory, &above);
	if (result == 0)
		result = remove_named(fs, &tx, above, found.inode);
	if (result == 0)
		result = tx_change(&tx);
	if (result == 0) {
		tx_touch(above, OWN_MTIME);
		result = drop_name(fs, above, name);
	}
	result = tx_end(&tx, result);
	if (result == 0)
		forget_place(fs, found.inode, directory, name);
	inode_forget(fs, found.inode->nodeid, 1);
	return result;
}

struct renaming {
	const struct making *whiteout; /* what RENAME_WHITEOUT leaves */
	struct tx_node *from, *to, *moved;
	struct tx_node *other; /* what is exchanged */
	struct inode *target;  /* what is under the new name, or NULL; a lookup is counted */
};

static int check_target(const struct renaming *renaming, struct inode *moved, unsigned flags)
{
	if (renaming->target == NULL)
		return flags & RENAME_EXCHANGE ? -ENOENT : 0;
	if (flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (atomic_load(&renaming->target->covered))
		return -EBUSY;
	if (flags & RENAME_EXCHANGE)
		return 0;
	if (S_ISDIR(renaming->target->type) != S_ISDIR(moved->type))
		return S_ISDIR(moved->type) ? -ENOTDIR : -EISDIR;
	return 0;
}

/* Directories that change theirs: the link counts of both follow. */
static void move_count(struct renaming *renaming, const struct inode *moved, int difference)
{
	if (S_ISDIR(moved->type) && renaming->from != renaming->to) {
		count_directory(renaming->from, -difference);
		count_directory(renaming->to, difference);
	}
}

static int take_in(struct fs *fs, struct tx *tx, struct inode *moved, unsigned flags,
		   struct renaming *renaming)
{
	int result = tx_node(tx, moved, &renaming->moved);

	if (result == 0 && (flags & RENAME_EXCHANGE))
		return tx_node(tx, renaming->target, &renaming->other);
	if (result == 0 && renaming->target != NULL)
		return remove_named(fs, tx, renaming->to, renaming->target);
	return result;
}

static int move_names(struct fs *fs, struct renaming *renaming, const char *name, const char *new_name,
		      unsigned flags)
{
	uint64_t id;
	int result = put_name(fs, renaming->to, new_name, atomic_load(&renaming->moved->node->id));

	if (result < 0)
		return result;
	if (flags & RENAME_EXCHANGE)
		return put_name(fs, renaming->from, name, atomic_load(&renaming->other->node->id));
	if (!(flags & RENAME_WHITEOUT))
		return drop_name(fs, renaming->from, name);
	result = insert(fs, renaming->from, renaming->whiteout, true, &id);
	return result < 0 ? result : put_name(fs, renaming->from, name, id);
}

static int rename_inode(struct fs *fs, struct inode *moved, struct inode *directory, const char *name,
			struct inode *new_directory, const char *new_name, unsigned flags,
			struct renaming *renaming)
{
	struct tx tx;
	int result;

	tx_begin(fs, &tx);
	result = atomic_load(&moved->covered) ? -EBUSY : check_target(renaming, moved, flags);
	if (result == 0)
		result = tx_directory(&tx, directory, &renaming->from);
	if (result == 0)
		result = tx_directory(&tx, new_directory, &renaming->to);
	if (result == 0)
		result = take_in(fs, &tx, moved, flags, renaming);
	if (result == 0)
		result = tx_change(&tx);
	if (result == 0) {
		tx_touch(renaming->from, OWN_MTIME);
		tx_touch(renaming->to, OWN_MTIME);
		tx_touch(renaming->moved, 0);
		move_count(renaming, moved, 1);
		if (renaming->other != NULL && renaming->target != NULL) {
			tx_touch(renaming->other, 0);
			move_count(renaming, renaming->target, -1);
		}
		result = move_names(fs, renaming, name, new_name, flags);
	}
	return tx_end(&tx, result);
}

int layer_rename(struct fs *fs, struct inode *directory, const char *name, struct inode *new_directory,
		 const char *new_name, unsigned flags, const struct making *whiteout)
{
	struct renaming renaming = {.whiteout = whiteout};
	struct found source, target;
	int result;

	if ((flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) ||
	    ((flags & RENAME_EXCHANGE) && (flags & (RENAME_NOREPLACE | RENAME_WHITEOUT))))
		return -EINVAL;
	LOCK_SCOPE(&fs->layer->lock);
	result = layer_lookup(fs, directory, name, &source);
	if (result < 0)
		return result;
	assert(source.inode != NULL);
	result = layer_lookup(fs, new_directory, new_name, &target);
	if (result == 0)
		renaming.target = target.inode;
	else if (result == -ENOENT)
		result = 0;
	/* Two names of one object: nothing happens. */
	if (result == 0 && (renaming.target != source.inode || (flags & RENAME_NOREPLACE))) {
		result = rename_inode(fs, source.inode, directory, name, new_directory, new_name, flags,
				      &renaming);
		if (result == 0 && renaming.target != NULL && !(flags & RENAME_EXCHANGE))
			forget_place(fs, renaming.target, new_directory, new_name);
		if (result == 0)
			layer_place_set(fs, source.inode, new_directory, new_name);
		if (result == 0 && renaming.other != NULL)
			layer_place_set(fs, renaming.target, directory, name);
	}
	if (renaming.target != NULL)
		inode_forget(fs, renaming.target->nodeid, 1);
	inode_forget(fs, source.inode->nodeid, 1);
	return result;
}
