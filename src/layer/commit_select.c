/* SPDX-License-Identifier: MIT */
/* What belongs to a commit, and whether anything is in its way. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fs.h"
#include "layer/commit_private.h"
#include "layer/keep.h"
#include "util.h"

int commit_fail(struct commit *commit, int error, const char *format, ...)
{
	va_list arguments;

	if (*commit->ret_error != NULL)
		return error;
	va_start(arguments, format);
	if (vasprintf(commit->ret_error, format, arguments) < 0)
		*commit->ret_error = NULL;
	va_end(arguments);
	return error;
}

int commit_add_name(struct commit *commit, uint64_t parent, const char *name, uint64_t node)
{
	char *copy = strdup(name);

	if (copy != NULL && commit->name_count == commit->name_size) {
		size_t size = MAX(2 * commit->name_size, 64);
		struct commit_name *names = reallocarray(commit->names, size, sizeof(names[0]));

		if (names == NULL) {
			free(copy);
			return -ENOMEM;
		}
		commit->names = names;
		commit->name_size = size;
	}
	if (copy == NULL)
		return -ENOMEM;
	commit->names[commit->name_count++] = (struct commit_name){parent, copy, node};
	return 0;
}

int commit_add_node(struct commit *commit, uint64_t id)
{
	struct commit_node *done = reallocarray(commit->done, commit->nodes.count + 2, sizeof(done[0]));

	if (done == NULL)
		return -ENOMEM;
	commit->done = done;
	done[commit->nodes.count] = (struct commit_node){0};
	return MIN(ids_add(&commit->nodes, id), 0);
}

bool commit_same(const struct inode *inode, const struct statx *stx)
{
	struct identity_key key = identity_of_statx(stx);

	return key.dev == inode->key.dev && key.ino == inode->key.ino && key.birth_ns == inode->key.birth_ns;
}

/* The object of BACKING is in the way of a name: if the layer has it elsewhere, that comes along. */
static int add_occupant(struct commit *commit, const struct identity_key *key, struct ids *nodes)
{
	struct layer_db *db = commit->fs->layer->db;
	CLEANUP(db_named_fini) struct db_named named = {0};
	struct identity_key stored = *key;
	struct node_row row;
	int result;

	stored.dev = keep_device(commit->fs, key->dev);
	result = db_node_by_origin(db, &stored, &row);
	if (result < 0)
		return result == -ENOENT ? 0 : result;
	if (db_entry_of(db, row.id, 0, &named) == 0)
		result = ids_add(nodes, row.id);
	db_row_fini(&row);
	return MIN(result, 0);
}

int commit_occupants(struct commit *commit, int parent, const char *name, const struct statx *there,
		     struct ids *nodes)
{
	struct identity_key key = identity_of_statx(there);
	int result = add_occupant(commit, &key, nodes);

	return result == 0 && S_ISDIR(there->stx_mode) ? commit_below(commit, parent, name, nodes) : result;
}

int commit_below(struct commit *commit, int parent, const char *name, struct ids *nodes)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NOATIME);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	int result = 0;

	if (directory == NULL) {
		result = -errno;
		close_fd(&fd);
		return result == -ENOENT ? 0 : result;
	}
	while (result == 0 && (entry = readdir(directory)) != NULL) {
		struct identity_key key;
		struct statx stx;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (statx(fd, entry->d_name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
			  STATX_BASIC_STATS | STATX_BTIME, &stx) < 0)
			continue;
		key = identity_of_statx(&stx);
		result = add_occupant(commit, &key, nodes);
		if (result == 0 && S_ISDIR(stx.stx_mode))
			result = commit_below(commit, fd, entry->d_name, nodes);
	}
	closedir(directory);
	return result;
}

/* Whatever has to come along with a name. */
static int add_around(struct commit *commit, const struct commit_name *name)
{
	CLEANUP(subject_close) struct subject parent = {0}, subject = {0};
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct fs *fs = commit->fs;
	struct statx there;
	int result = subject_open(fs, name->parent, &parent);

	if (result < 0)
		return result;
	/* A directory that BACKING has not. */
	if (!parent.has_origin)
		return MIN(ids_add(&commit->nodes, name->parent), 0);
	if (parent.inode == NULL || origin_statx_name(fs, parent.inode, name->name, &there) < 0)
		return 0;
	if (name->node != DB_WHITEOUT) {
		result = subject_open(fs, name->node, &subject);
		if (result < 0 || (subject.inode != NULL && commit_same(subject.inode, &there)))
			return result;
	}
	result = inode_fd(fs, parent.inode, FD_PATH, &use);
	return result < 0 ? result : commit_occupants(commit, use.fd, name->name, &there, &commit->nodes);
}

static int add_names_of(struct commit *commit, uint64_t id)
{
	struct layer_db *db = commit->fs->layer->db;
	struct node_row row;
	int result = 0;

	for (uint64_t index = 0; result == 0; index++) {
		CLEANUP(db_named_fini) struct db_named named = {0};

		result = db_entry_of(db, id, index, &named);
		if (result == 0)
			result = commit_add_name(commit, named.parent, named.name, id);
	}
	if (result != -ENOENT)
		return result;
	/* The places it was moved from. */
	result = db_node_load(db, id, &row);
	if (result < 0)
		return result == -ENOENT ? 0 : result;
	for (uint64_t index = 0; result == 0 && row.has_origin; index++) {
		CLEANUP(db_named_fini) struct db_named named = {0};

		result = db_whiteout_of(db, &row.origin, index, &named);
		if (result == 0)
			result = commit_add_name(commit, named.parent, named.name, DB_WHITEOUT);
	}
	db_row_fini(&row);
	return result == -ENOENT ? 0 : result;
}

static int add_below(struct commit *commit, struct ids *deep, uint64_t id)
{
	CLEANUP(free_pointer) char *name = strdup("");
	int result = name == NULL ? -ENOMEM : 0;

	while (result == 0) {
		struct db_named named;

		result = db_entry_next(commit->fs->layer->db, id, name, &named);
		if (result < 0)
			break;
		free(name);
		name = named.name;
		if (named.parent != id)
			return 0;
		if (named.entry.node == DB_WHITEOUT)
			result = commit_add_name(commit, id, name, DB_WHITEOUT);
		else if ((result = ids_add(deep, named.entry.node)) >= 0)
			result = MIN(ids_add(&commit->nodes, named.entry.node), 0);
	}
	return result == -ENOENT ? 0 : result;
}

static int add_paths(struct commit *commit, struct ids *deep, char *const *paths, size_t count)
{
	int result = 0;

	for (size_t i = 0; i < count && result >= 0; i++) {
		CLEANUP(maintain_place_fini) struct maintain_place place = {0};

		result = maintain_find(commit->fs, paths[i], &place, commit->ret_error);
		if (commit->finishing && (result == -ENOENT || result == -ENOTDIR)) {
			free_pointer(commit->ret_error);
			result = 0;
		} else if (result == 0 && place.whiteout)
			result = commit_add_name(commit, place.parent, place.name, DB_WHITEOUT);
		else if (result == 0 && place.node != 0 && (result = ids_add(deep, place.node)) >= 0)
			result = ids_add(&commit->nodes, place.node);
	}
	return MIN(result, 0);
}

static int add_everything(struct commit *commit)
{
	CLEANUP(free_pointer) char *name = strdup("");
	uint64_t id = 0;
	int result = name == NULL ? -ENOMEM : 0;
	struct node_row row;

	while (result >= 0 && (result = db_node_next(commit->fs->layer->db, id, &row)) == 0) {
		id = row.id;
		/* What was removed and is still open is nobody's any more. */
		if (!(row.own & OWN_ATTRIBUTES) || row.stx.stx_nlink > 0)
			result = ids_add(&commit->nodes, id);
		db_row_fini(&row);
	}
	id = 0;
	while (result == -ENOENT || result >= 0) {
		struct db_named named;

		result = db_entry_next(commit->fs->layer->db, id, name, &named);
		if (result < 0)
			break;
		free(name);
		name = named.name;
		id = named.parent;
		/* Whoever removed the directory, removed what is in it. */
		if (ids_has(&commit->nodes, id))
			result = commit_add_name(commit, id, name, named.entry.node);
	}
	return result == -ENOENT ? 0 : result;
}

int commit_select(struct commit *commit, char *const *paths, size_t count)
{
	CLEANUP(ids_fini) struct ids deep = {0};
	size_t node = 0, below = 0, name = 0;
	int result;

	if (count == 0)
		return add_everything(commit);
	result = add_paths(commit, &deep, paths, count);
	/* Until nothing is new: the lists grow as they are gone through. */
	while (result == 0 &&
	       (below < deep.count || node < commit->nodes.count || name < commit->name_count)) {
		if (below < deep.count) {
			result = add_below(commit, &deep, deep.list[below++]);
		} else if (node < commit->nodes.count) {
			result = add_names_of(commit, commit->nodes.list[node++]);
		} else {
			struct commit_name one = commit->names[name++];

			result = add_around(commit, &one);
		}
	}
	return result;
}

/* Is what BACKING has under a name what the layer removed there, or put something over? */
static int check_name(struct commit *commit, const struct commit_name *name)
{
	CLEANUP(subject_close) struct subject parent = {0}, subject = {0};
	CLEANUP(db_named_fini) struct db_named named = {0};
	CLEANUP(free_pointer) char *path = NULL;
	struct identity_key key;
	struct statx there;
	int result = subject_open(commit->fs, name->parent, &parent);

	if (result < 0 || !parent.has_origin || parent.inode == NULL ||
	    origin_statx_name(commit->fs, parent.inode, name->name, &there) < 0)
		return result;
	if (name->node != DB_WHITEOUT) {
		result = subject_open(commit->fs, name->node, &subject);
		if (result < 0 || (subject.inode != NULL && commit_same(subject.inode, &there)))
			return result;
	}
	result = db_entry_named(commit->fs->layer->db, name->parent, name->name, &named);
	if (result < 0)
		return result == -ENOENT ? 0 : result;
	key = identity_of_statx(&there);
	/* Of a layer of the first format nothing is known of what was removed. */
	if (!named.removed.known && !subject.has_origin)
		return 0;
	if (named.removed.known && key.ino == named.removed_key.ino &&
	    key.birth_ns == named.removed_key.birth_ns &&
	    (!S_ISREG(there.stx_mode) ||
	     (there.stx_size == named.removed.size && packed_time_is(named.removed.mtime, there.stx_mtime))))
		return 0;
	path = subject_name_path(commit->fs, name->parent, name->name);
	return commit_fail(commit, -ESTALE, "'%s' is another file in BACKING by now; nothing was committed",
			   path == NULL ? name->name : path);
}

static int check_node(struct commit *commit, uint64_t id)
{
	CLEANUP(subject_close) struct subject subject = {0};
	CLEANUP(free_pointer) char *path = NULL;
	enum origin_change change;
	int result = subject_open(commit->fs, id, &subject);

	if (result < 0 || !S_ISREG(subject.type) || !(subject.own & OWN_CONTENT))
		return result == -ENOENT ? 0 : result;
	change = subject_change(&subject);
	if (change < ORIGIN_CHANGED)
		return 0;
	path = subject_path(commit->fs, id);
	return commit_fail(commit, -ESTALE,
			   "'%s' was %s in BACKING since the layer has pages of it; nothing was "
			   "committed",
			   path == NULL ? "?" : path,
			   change == ORIGIN_GONE ? "removed" : origin_change_name(change));
}

int commit_check(struct commit *commit)
{
	int result = 0;

	for (size_t i = 0; i < commit->nodes.count && result == 0 && !commit->force; i++)
		result = check_node(commit, commit->nodes.list[i]);
	for (size_t i = 0; i < commit->name_count && result == 0 && !commit->force; i++)
		result = check_name(commit, &commit->names[i]);
	return result;
}
