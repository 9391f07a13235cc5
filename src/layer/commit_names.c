/* SPDX-License-Identifier: MIT */
/*
 * Names in BACKING. What is made is made in a directory of its own, the stage, where nobody comes by it, and what has
 * to move is first put there: a file by one more link, a directory by renaming it. So whatever has a name in
 * BACKING that the layer wants for something else can be replaced or thrown away, in any order. Objects are known
 * by what they are and not by where they are, so all of this may end anywhere and begin again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "fs.h"
#include "layer/command.h"
#include "layer/commit_private.h"
#include "layer/keep.h"
#include "layer/serve.h"
#include "util.h"

int commit_open(struct fs *fs, struct inode *inode, int flags)
{
	CLEANUP(free_pointer) char *path = NULL;
	struct statx stx;
	int fd;

	if (inode->handle != NULL && inode->handle->mount == 0)
		return identity_handle_open(fs->layer->writable, inode->handle, flags);
	path = subject_origin_path(fs, inode);
	if (path == NULL)
		return -ESTALE;
	fd = openat(fs->layer->writable, *path == '\0' ? "." : path, flags | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &stx) == 0 &&
	    commit_same(inode, &stx))
		return fd;
	close(fd);
	return -ESTALE;
}

/* Where a directory is in BACKING now, in another directory. */
static int find_directory(struct fs *fs, struct inode *inode, int *ret_parent, char *ret_name)
{
	CLEANUP(free_pointer) char *path = subject_origin_path(fs, inode);
	char *slash = path == NULL ? NULL : strrchr(path, '/');
	const char *name = slash == NULL ? path : slash + 1;
	struct statx stx;

	if (path == NULL || *path == '\0' || strlen(name) > NAME_MAX)
		return -ESTALE;
	memcpy(ret_name, name, strlen(name) + 1);
	if (slash != NULL)
		*slash = '\0';
	*ret_parent = openat(fs->layer->writable, slash == NULL ? "." : path,
			     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*ret_parent < 0)
		return -errno;
	if (statx(*ret_parent, ret_name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &stx) == 0 &&
	    commit_same(inode, &stx))
		return 0;
	close_fd(ret_parent);
	return -ESTALE;
}

static bool is_staged(const struct commit *commit, const char *name, const struct inode *inode)
{
	struct statx stx;

	return statx(commit->stage, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &stx) == 0 &&
	       commit_same(inode, &stx);
}

/* One more name of an object that is no directory. */
static int link_object(struct commit *commit, struct inode *inode, int parent, const char *name)
{
	CLEANUP(close_fd) int fd = commit_open(commit->fs, inode, O_PATH | O_NOFOLLOW);
	char link[32];

	if (fd < 0)
		return fd;
	if (linkat(fd, "", parent, name, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != ENOENT && errno != EPERM)
		return -errno;
	/* Before Linux 6.10 that is for the privileged. */
	snprintf(link, sizeof(link), "%d", fd);
	return linkat(commit->fs->proc_fd, link, parent, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* Is the name the node's in BACKING already? @ret_parent: its directory there; -1: it has none. */
static int look_at(struct commit *commit, const struct commit_name *name, const struct subject *subject,
		   int *ret_parent, struct statx *ret_there, bool *ret_taken, bool *ret_right)
{
	CLEANUP(subject_close) struct subject parent = {0};
	int result = subject_open(commit->fs, name->parent, &parent);

	*ret_parent = -1;
	*ret_taken = *ret_right = false;
	if (result < 0 || parent.inode == NULL || !parent.has_origin)
		return result == -ENOENT ? 0 : result;
	*ret_parent = commit_open(commit->fs, parent.inode, O_RDONLY | O_DIRECTORY);
	if (*ret_parent < 0)
		return *ret_parent == -ESTALE ? 0 : *ret_parent;
	*ret_taken = statx(*ret_parent, name->name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
			   STATX_BASIC_STATS | STATX_BTIME, ret_there) == 0;
	*ret_right = subject == NULL
			     ? !*ret_taken
			     : *ret_taken && subject->inode != NULL && commit_same(subject->inode, ret_there);
	return 0;
}

/* A name in the stage, where it has none. */
static int secure(struct commit *commit, const struct subject *subject)
{
	CLEANUP(close_fd) int from = -1;
	char staged[32], current[NAME_MAX + 1];
	int result = commit_stage(commit);

	commit_stage_name(subject->id, staged);
	if (result == 0)
		result = MIN(ids_add(&commit->staged, subject->id), 0);
	/* One that was removed before it was made in BACKING is nowhere there. */
	if (result < 0 || is_staged(commit, staged, subject->inode) || !subject->has_origin)
		return result;
	if (!S_ISDIR(subject->type)) {
		result = link_object(commit, subject->inode, commit->stage, staged);
	} else {
		result = find_directory(commit->fs, subject->inode, &from, current);
		if (result == 0 && renameat2(from, current, commit->stage, staged, RENAME_NOREPLACE) < 0)
			result = -errno;
	}
	/* Gone from BACKING, and nothing of it in the layer that could be made anew. */
	return result == -ESTALE ? 0 : result;
}

static int secure_name(struct commit *commit, const struct commit_name *name)
{
	CLEANUP(subject_close) struct subject subject = {0};
	CLEANUP(close_fd) int parent = -1;
	struct statx there;
	bool taken, right;
	int result = subject_open(commit->fs, name->node, &subject);

	if (result == 0)
		result = look_at(commit, name, &subject, &parent, &there, &taken, &right);
	if (result < 0 || right || parent < 0 || subject.inode == NULL)
		return result == -ENOENT ? 0 : result;
	return secure(commit, &subject);
}

static int say_name(struct commit *commit, const struct commit_name *name, int error)
{
	CLEANUP(free_pointer) char *path = subject_name_path(commit->fs, name->parent, name->name);

	return commit_fail(commit, error, "cannot change the name '%s' in BACKING: %s",
			   path == NULL ? name->name : path, strerror(-error));
}

int commit_secure(struct commit *commit)
{
	int result = 0;

	for (size_t i = 0; i < commit->name_count && result == 0; i++) {
		LAYER_SERVE_SCOPE(commit->fs);
		LOCK_SCOPE(&commit->fs->layer->lock);

		if (commit->names[i].node != DB_WHITEOUT)
			result = secure_name(commit, &commit->names[i]);
		if (result < 0)
			say_name(commit, &commit->names[i], result);
	}
	return result;
}

/*
 * What lies where something else is to be, in another place of the layer: since the commit began, or it would have a
 * name in the stage already. Gets one now, and its new place before the stage lets go of it.
 */
static int secure_occupants(struct commit *commit, int parent, const char *name, const struct statx *there)
{
	CLEANUP(ids_fini) struct ids nodes = {0};
	int result = commit_occupants(commit, parent, name, there, &nodes);

	for (size_t i = 0; i < nodes.count && result == 0; i++) {
		CLEANUP(subject_close) struct subject subject = {0};

		result = subject_open(commit->fs, nodes.list[i], &subject);
		if (result == 0 && subject.inode != NULL)
			result = secure(commit, &subject);
		else if (result == -ENOENT)
			result = 0;
	}
	return result;
}

/* Whatever of it the layer has elsewhere has been secured. */
static int throw_away(struct commit *commit, int parent, const char *name)
{
	char trash[48];
	int result = commit_stage(commit);

	while (result == 0) {
		snprintf(trash, sizeof(trash), "trash-%u", commit->trash++);
		if (renameat2(parent, name, commit->stage, trash, RENAME_NOREPLACE) == 0)
			break;
		result = errno == EEXIST ? 0 : -errno;
	}
	return result;
}

static int place_file(struct commit *commit, struct inode *inode, const char *staged, int parent,
		      const char *name)
{
	int result;

	if (unlinkat(commit->stage, "place", 0) < 0 && errno != ENOENT)
		return -errno;
	result = link_object(commit, inode, commit->stage, "place");
	/* A file system without hard links, where the object has one name, or too many of them. */
	if (result == -EPERM || result == -EOPNOTSUPP || result == -EMLINK)
		return renameat(commit->stage, staged, parent, name) < 0 ? -errno : 0;
	/* Over what is there, so that there is no moment without one of the two. */
	return result < 0 ? result : renameat(commit->stage, "place", parent, name) < 0 ? -errno : 0;
}

static int place_name(struct commit *commit, const struct commit_name *name)
{
	bool is_node = name->node != DB_WHITEOUT, taken = false, right = false;
	CLEANUP(subject_close) struct subject subject = {0};
	CLEANUP(close_fd) int parent = -1;
	struct db_entry entry;
	struct statx there;
	struct stat now;
	char staged[32];
	int result = db_entry_get(commit->fs->layer->db, name->parent, name->name, &entry);

	/* Changed by now: that is for the next commit. */
	if (result < 0 || entry.node != name->node)
		return result == -ENOENT ? 0 : result;
	if (is_node)
		result = subject_open(commit->fs, name->node, &subject);
	if (result == 0)
		result = look_at(commit, name, is_node ? &subject : NULL, &parent, &there, &taken, &right);
	if (result < 0 || right || parent < 0 || (is_node && subject.inode == NULL))
		return result == -ENOENT ? 0 : result;
	commit_stage_name(name->node, staged);
	/* Made or linked since this began. */
	if (is_node && (commit->stage < 0 || !is_staged(commit, staged, subject.inode)))
		return 0;
	if (taken) {
		result = secure_occupants(commit, parent, name->name, &there);
		taken = fstatat(parent, name->name, &now, AT_SYMLINK_NOFOLLOW) == 0;
	}
	if (result < 0)
		return result;
	if (taken && (S_ISDIR(there.stx_mode) || (is_node && S_ISDIR(subject.type))))
		result = throw_away(commit, parent, name->name);
	else if (taken && !is_node)
		result = unlinkat(parent, name->name, 0) < 0 ? -errno : 0;
	if (result < 0 || !is_node)
		return result;
	if (!S_ISDIR(subject.type))
		return place_file(commit, subject.inode, staged, parent, name->name);
	return renameat2(commit->stage, staged, parent, name->name, RENAME_NOREPLACE) < 0 ? -errno : 0;
}

int commit_place(struct commit *commit)
{
	int result = 0;

	for (size_t i = 0; i < commit->name_count && result == 0; i++) {
		/* Between the look and the act nobody may rename. */
		LAYER_SERVE_SCOPE(commit->fs);
		LOCK_SCOPE(&commit->fs->layer->lock);

		result = place_name(commit, &commit->names[i]);
		if (result < 0)
			say_name(commit, &commit->names[i], result);
		if (result == 0 && commit->stop->gave_up != NULL &&
		    commit->stop->gave_up(commit->stop->context))
			result = -EINTR;
	}
	return result;
}

/* A directory that was made since the commit began has to come along with what was put there. */
static int want_directory(struct commit *commit, uint64_t id, bool *ret_wanted)
{
	CLEANUP(subject_close) struct subject subject = {0};
	int result = subject_open(commit->fs, id, &subject);

	if (result < 0 || subject.has_origin || subject.inode == NULL || ids_has(&commit->nodes, id))
		return result == -ENOENT ? 0 : result;
	*ret_wanted = true;
	return commit_add_node(commit, id);
}

/*
 * The names that the layer has for a node by now, which may be others than when the commit began. @ret_wanted: set where
 * one is in a directory that BACKING has not.
 */
static int place_again(struct commit *commit, uint64_t id, bool *ret_wanted)
{
	int result = 0;

	for (uint64_t index = 0; result == 0; index++) {
		CLEANUP(db_named_fini) struct db_named named = {0};
		struct commit_name name;

		result = db_entry_of(commit->fs->layer->db, id, index, &named);
		if (result < 0)
			break;
		name = (struct commit_name){named.parent, named.name, id};
		result = want_directory(commit, name.parent, ret_wanted);
		if (result == 0)
			result = secure_name(commit, &name);
		if (result == 0)
			result = place_name(commit, &name);
		if (result == 0)
			result = commit_add_name(commit, name.parent, name.name, id);
	}
	return result == -ENOENT ? 0 : result;
}

/* A directory that waits in the stage and that nobody wants any more: what is in it may have got another place. */
static int empty_unwanted(struct commit *commit, uint64_t id, bool *ret_wanted)
{
	CLEANUP(ids_fini) struct ids inside = {0};
	CLEANUP(db_named_fini) struct db_named named = {0};
	char staged[32];
	struct statx stx;
	int result = db_entry_of(commit->fs->layer->db, id, 0, &named);

	commit_stage_name(id, staged);
	if (result != -ENOENT || statx(commit->stage, staged, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &stx) < 0 ||
	    !S_ISDIR(stx.stx_mode))
		return result == -ENOENT ? 0 : result;
	result = commit_below(commit, commit->stage, staged, &inside);
	for (size_t i = 0; i < inside.count && result == 0; i++)
		result = place_again(commit, inside.list[i], ret_wanted);
	return result;
}

/*
 * Whatever was renamed since its name was placed gets the new one, before the stage lets go of it. @ret_wanted: set where
 * a directory has to be made first; the stage keeps all it has.
 */
static int clear_stage(struct commit *commit, bool *ret_wanted)
{
	int result = 0;

	LAYER_SERVE_SCOPE(commit->fs);
	LOCK_SCOPE(&commit->fs->layer->lock);
	/* The list grows by what is in the way. */
	for (size_t i = 0; i < commit->staged.count && result == 0; i++)
		result = place_again(commit, commit->staged.list[i], ret_wanted);
	for (size_t i = 0; i < commit->staged.count && result == 0; i++)
		result = empty_unwanted(commit, commit->staged.list[i], ret_wanted);
	for (size_t i = 0; i < commit->staged.count && result == 0 && !*ret_wanted; i++) {
		char staged[32];

		/* A directory without a place becomes trash. */
		commit_stage_name(commit->staged.list[i], staged);
		if (unlinkat(commit->stage, staged, 0) < 0 && errno != ENOENT)
			result = throw_away(commit, commit->stage, staged);
	}
	return result;
}

int commit_stage_end(struct commit *commit)
{
	struct layer *layer = commit->fs->layer;
	bool wanted;
	int result;
	const struct statx *before = &commit->root_before;
	struct timespec times[] = {{before->stx_atime.tv_sec, before->stx_atime.tv_nsec},
				   {before->stx_mtime.tv_sec, before->stx_mtime.tv_nsec}};

	/* One that was killed may have left it, with nothing more to do there. */
	if (commit->stage < 0)
		commit->stage = openat(layer->writable, layer->stage,
				       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (commit->stage < 0)
		return errno == ENOENT ? 0 : -errno;
	do {
		wanted = false;
		result = clear_stage(commit, &wanted);
		if (result == 0 && wanted)
			result = commit_make(commit);
	} while (result == 0 && wanted);
	if (result == 0)
		result = commit_remove_tree(layer->writable, layer->stage);
	/* It came and went in a directory whose time the layer may not have changed; else it is set later. */
	if (result == 0)
		futimens(layer->writable, times);
	close_fd(&commit->stage);
	return result;
}
