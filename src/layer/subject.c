/* SPDX-License-Identifier: MIT */
#include "layer/subject.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "fs.h"
#include "layer/keep.h"
#include "layer/stack.h"
#include "util.h"

static int snapshot(struct subject *subject, const struct node_row *row)
{
	struct node *node = subject->inode == NULL ? NULL : layer_peek(subject->inode);
	int result;

	if (node == NULL) {
		subject->own = row->own & OWN_ALL;
		subject->stx = row->stx;
		subject->before = row->before;
		subject->pages.clean = row->clean;
		result = page_set_unpack(row->data, row->data_size, &subject->pages.data);
		return result < 0 ? result : page_set_unpack(row->zero, row->zero_size, &subject->pages.zero);
	}
	pthread_rwlock_rdlock(&node->lock);
	subject->own = atomic_load(&node->own) & OWN_ALL;
	subject->stx = node_stat_statx(&node->stx);
	subject->before = node->before;
	result = pages_copy(&node->pages, &subject->pages);
	pthread_rwlock_unlock(&node->lock);
	return result;
}

int subject_open(struct fs *fs, uint64_t id, struct subject *ret_subject)
{
	struct subject subject = {.fs = fs, .id = id};
	struct db_entry entry = {.node = id};
	struct node_row row;
	int result;

	LOCK_SCOPE(&fs->layer->lock);
	result = db_node_load(fs->layer->db, id, &row);
	if (result < 0)
		return result;
	subject.has_origin = entry.has_origin = row.has_origin;
	entry.origin = row.origin;
	subject.type = row.stx.stx_mode & S_IFMT;
	if (id == LAYER_ROOT) {
		/* As many as inode_forget() takes back; the root's are never used up. */
		subject.inode = fs->root;
		inode_ref(fs->root);
	} else {
		result = layer_inode_locked(fs, &entry, &subject.inode);
	}
	if (result == -ESTALE)
		result = 0;
	if (result == 0)
		result = snapshot(&subject, &row);
	db_row_fini(&row);
	if (result < 0) {
		subject_close(&subject);
		return result;
	}
	*ret_subject = subject;
	return 0;
}

void subject_close(struct subject *subject)
{
	pages_fini(&subject->pages);
	if (subject->inode == NULL)
		return;
	if (subject->inode == subject->fs->root)
		inode_unref(subject->fs, subject->inode);
	else
		inode_forget(subject->fs, subject->inode->nodeid, 1);
	subject->inode = NULL;
}

int subject_look_below(const struct subject *directory, const char *name, struct identity_key *ret_key,
		       mode_t *ret_type)
{
	struct fs *fs = directory->fs;
	struct node *node;
	struct db_entry entry;
	struct statx there;
	int result = layer_node(fs, directory->inode, &node);

	if (result == 0)
		result = stack_below_locked(node, name, &entry);
	if (result == 0 && entry.node == DB_WHITEOUT)
		return -ENOENT;
	if (result == 0) {
		*ret_key = (struct identity_key){.dev = layer_dev(), .ino = entry.node};
		if (entry.has_origin) {
			*ret_key = entry.origin;
			ret_key->dev = keep_device(fs, entry.origin.dev);
		}
		*ret_type = entry.type;
		return 0;
	}
	if (result != -ENOENT || origin_statx_name(fs, directory->inode, name, &there) < 0)
		return result;
	*ret_key = identity_of_statx(&there);
	*ret_type = there.stx_mode & S_IFMT;
	return 0;
}

/* Does BACKING have another object where the node's own was? */
static bool is_replaced(const struct subject *subject)
{
	CLEANUP(db_named_fini) struct db_named named = {0};
	CLEANUP(subject_close) struct subject parent = {0};
	struct statx stx;

	return db_entry_of(subject->fs->layer->db, subject->id, 0, &named) == 0 &&
	       subject_open(subject->fs, named.parent, &parent) == 0 && parent.inode != NULL &&
	       origin_statx_name(subject->fs, parent.inode, named.name, &stx) == 0;
}

enum origin_change subject_change(const struct subject *subject)
{
	enum origin_change change = ORIGIN_GONE;
	struct statx now;

	if (!subject->has_origin)
		return ORIGIN_SAME;
	if (subject->inode != NULL && layer_backing_statx(subject->fs, subject->inode, &now) == 0)
		change = origin_compare(&subject->before, &now);
	return change == ORIGIN_GONE && is_replaced(subject) ? ORIGIN_REPLACED : change;
}

/* What a descriptor's path is, as /proc has it; "" where it is nowhere. */
static void link_of(struct fs *fs, struct inode *inode, char *ret_path, size_t size)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	char number[16];
	ssize_t length = -1;

	if (inode_fd(fs, inode, FD_PATH, &use) == 0) {
		snprintf(number, sizeof(number), "%d", use.fd);
		length = readlinkat(fs->proc_fd, number, ret_path, size - 1);
	}
	ret_path[MAX(length, 0)] = '\0';
}

char *subject_origin_path(struct fs *fs, struct inode *inode)
{
	char path[PATH_MAX + 1], root[PATH_MAX + 1];
	struct statx stx;
	size_t length;

	if (layer_backing_statx(fs, inode, &stx) < 0 || stx.stx_nlink == 0)
		return NULL;
	link_of(fs, inode, path, sizeof(path));
	/* In a clone of the mount that is "/". */
	link_of(fs, fs->root, root, sizeof(root));
	length = strcmp(root, "/") == 0 ? 0 : strlen(root);
	if (strncmp(path, root, length) != 0 || (path[length] != '/' && path[length] != '\0'))
		return NULL;
	return strdup(path + length + (path[length] == '/'));
}

/* Puts "/NAME" in front of what is in @path from @at on. */
static int prepend(char *path, size_t *at, const char *name)
{
	size_t length = strnlen(name, PATH_MAX);

	if (length + 1 > *at)
		return -ENAMETOOLONG;
	*at -= length;
	memcpy(path + *at, name, length);
	path[--*at] = '/';
	return 0;
}

char *subject_name_path(struct fs *fs, uint64_t parent, const char *name)
{
	CLEANUP(free_pointer) char *above = subject_path(fs, parent);
	char *path = NULL;

	if (above == NULL || asprintf(&path, "%s%s%s", above, *above == '\0' ? "" : "/", name) < 0)
		return NULL;
	return path;
}

char *subject_path(struct fs *fs, uint64_t id)
{
	CLEANUP(subject_close) struct subject subject = {0};
	CLEANUP(free_pointer) char *top = NULL;
	char path[PATH_MAX + 1];
	size_t at = PATH_MAX;
	char *whole;

	path[at] = '\0';
	while (id != LAYER_ROOT) {
		CLEANUP(db_named_fini) struct db_named named = {0};

		if (db_entry_of(fs->layer->db, id, 0, &named) < 0)
			break;
		if (prepend(path, &at, named.name) < 0)
			return NULL;
		id = named.parent;
	}
	if (id == LAYER_ROOT)
		return strdup(path + at + (path[at] == '/'));
	if (subject_open(fs, id, &subject) < 0 || !subject.has_origin || subject.inode == NULL ||
	    (top = subject_origin_path(fs, subject.inode)) == NULL ||
	    asprintf(&whole, "%s%s", top, path + at) < 0)
		return NULL;
	return whole;
}

int subject_try_places(struct fs *fs, uint64_t id, const struct identity_key *key,
		       int (*attempt)(void *context, struct inode *directory, const char *name),
		       void *context)
{
	struct identity_key stored = *key;
	struct layer *layer = fs->layer;
	int result = -ESTALE, added;

	/* Looking for a directory may lead to the same again. What was not found in one search is not looked for twice. */
	added = ids_add(&layer->sought, id);
	if (added != 1)
		return added < 0 ? added : -ESTALE;
	layer->seeking++;
	stored.dev = keep_device(fs, key->dev);
	for (int moved = 0; moved <= 1; moved++) {
		int found = 0;

		for (uint64_t index = 0; found == 0 && result == -ESTALE; index++) {
			CLEANUP(subject_close) struct subject parent = {0};
			CLEANUP(db_named_fini) struct db_named named = {0};

			found = moved ? db_whiteout_of(fs->layer->db, &stored, index, &named)
				      : db_entry_of(fs->layer->db, id, index, &named);
			if (found == 0 && subject_open(fs, named.parent, &parent) == 0 &&
			    parent.inode != NULL && parent.has_origin)
				result = attempt(context, parent.inode, named.name);
		}
	}
	if (--layer->seeking == 0)
		ids_fini(&layer->sought);
	return result;
}
