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
#include <stdlib.h>
#include <string.h>

#include "fs.h"
#include "layer/command.h"
#include "layer/commit_private.h"
#include "layer/keep.h"
#include "layer/serve.h"
#include "util.h"

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
	struct stat info;

	*ret_parent = -1;
	*ret_taken = *ret_right = false;
	if (result < 0 || parent.inode == NULL || !parent.has_origin)
		return result == -ENOENT ? 0 : result;
	*ret_parent = commit_open(commit->fs, parent.inode, O_RDONLY | O_DIRECTORY);
	if (*ret_parent < 0)
		return *ret_parent == -ESTALE ? 0 : *ret_parent;
	/* Removed, and somebody has it open. */
	if (fstat(*ret_parent, &info) == 0 && info.st_nlink == 0) {
		close_fd(ret_parent);
		return 0;
	}
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
		result = commit_follow(commit, subject->id);
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

bool commit_is_right(struct commit *commit, const struct commit_name *name, const struct subject *subject)
{
	CLEANUP(close_fd) int parent = -1;
	struct statx there;
	bool taken, right;

	return look_at(commit, name, subject, &parent, &there, &taken, &right) == 0 && right;
}

int commit_secure_name(struct commit *commit, const struct commit_name *name)
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

int commit_say_name(struct commit *commit, const struct commit_name *name, int error)
{
	CLEANUP(free_pointer) char *path = subject_name_path(commit->fs, name->parent, name->name);

	return commit_fail(commit, error, "cannot change the name '%s' in BACKING: %s",
			   path == NULL ? name->name : path, strerror(-error));
}

/* How deep in BACKING the object of a directory's name lies; 0: it is no directory, or nowhere */
static size_t depth_of(struct commit *commit, const struct commit_name *name)
{
	CLEANUP(subject_close) struct subject subject = {0};
	CLEANUP(free_pointer) char *path = NULL;
	size_t depth = 1;

	LAYER_SERVE_SCOPE(commit->fs);
	LOCK_SCOPE(&commit->fs->layer->lock);
	if (name->node == DB_WHITEOUT || subject_open(commit->fs, name->node, &subject) < 0 ||
	    !S_ISDIR(subject.type) || subject.inode == NULL || !subject.has_origin)
		return 0;
	path = subject_origin_path(commit->fs, subject.inode);
	for (const char *at = path; at != NULL && *at != '\0'; at++)
		depth += *at == '/';
	return depth;
}

struct deep_name {
	size_t depth, index;
};

static int compare_deep(const void *one, const void *other)
{
	const struct deep_name *a = one, *b = other;

	if (a->depth == b->depth)
		return a->index < b->index ? -1 : 1;
	/* What is no directory first, then the deepest. */
	if (a->depth == 0 || b->depth == 0)
		return a->depth == 0 ? -1 : 1;
	return a->depth > b->depth ? -1 : 1;
}

int commit_secure(struct commit *commit)
{
	/* Where only paths lead to objects, one must not move with what is above it: it would not be found again. */
	CLEANUP(free_pointer) struct deep_name *order = calloc(commit->name_count + 1, sizeof(order[0]));
	int result = order == NULL ? -ENOMEM : 0;

	for (size_t i = 0; i < commit->name_count && result == 0; i++)
		order[i] = (struct deep_name){depth_of(commit, &commit->names[i]), i};
	if (result == 0)
		qsort(order, commit->name_count, sizeof(order[0]), compare_deep);
	for (size_t i = 0; i < commit->name_count && result == 0; i++) {
		const struct commit_name *name = &commit->names[order[i].index];

		LAYER_SERVE_SCOPE(commit->fs);
		LOCK_SCOPE(&commit->fs->layer->lock);
		if (name->node != DB_WHITEOUT)
			result = commit_secure_name(commit, name);
		if (result < 0)
			commit_say_name(commit, name, result);
	}
	return result;
}

/* By the name that it is about to lose, unless it has one in the stage. */
static int secure_here(struct commit *commit, uint64_t id, int parent, const char *name,
		       const struct statx *there)
{
	char staged[32];
	int result;

	commit_stage_name(id, staged);
	result = S_ISDIR(there->stx_mode) ? renameat2(parent, name, commit->stage, staged, RENAME_NOREPLACE)
					  : linkat(parent, name, commit->stage, staged, 0);
	if (result == 0) {
		commit->found = true;
		return commit_follow(commit, id);
	}
	/* A directory that was secured is not here any more. */
	return errno != EEXIST && errno != ENOENT ? -errno : 0;
}

/*
 * What lies where something else is to be, and has another place in the layer: since the commit began, or it would have a
 * name in the stage already. Gets one when serving is stopped and the layer's records are on the disk, as after kill -9
 * nothing else would know of it; until then its name stays. What is below a directory comes before it: its path leads to it.
 */
static int secure_occupants(struct commit *commit, int parent, const char *name, const struct statx *there,
			    bool *ret_later)
{
	CLEANUP(ids_fini) struct ids nodes = {0};
	int result = commit_occupants(commit, parent, name, there, &nodes);

	for (size_t i = nodes.count; i > 0 && result == 0; i--) {
		CLEANUP(subject_close) struct subject subject = {0};

		if (!commit->stopped && !ids_has(&commit->staged, nodes.list[i - 1])) {
			*ret_later = true;
			return 0;
		}
		result = subject_open(commit->fs, nodes.list[i - 1], &subject);
		if (result == 0 && subject.inode != NULL)
			result = secure(commit, &subject);
		/* Whatever else leads to it, here it is. */
		if (result == 0 && subject.inode != NULL && commit_same(subject.inode, there))
			result = secure_here(commit, subject.id, parent, name, there);
		else if (result == -ENOENT)
			result = 0;
	}
	return result;
}

/* Whatever of it the layer has elsewhere has been secured. */
int commit_throw_away(struct commit *commit, int parent, const char *name)
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
		result = renameat(commit->stage, staged, parent, name) < 0 ? -errno : 0;
	/* Over what is there, so that there is no moment without one of the two. */
	else if (result == 0 && renameat(commit->stage, "place", parent, name) < 0)
		result = -errno;
	if (result == 0)
		commit_placed(inode, parent, name);
	return result;
}

int commit_place_name(struct commit *commit, const struct commit_name *name)
{
	bool is_node = name->node != DB_WHITEOUT, taken = false, right = false, later = false;
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
		result = secure_occupants(commit, parent, name->name, &there, &later);
		taken = fstatat(parent, name->name, &now, AT_SYMLINK_NOFOLLOW) == 0;
	}
	if (result < 0 || later)
		return result < 0 ? result : 1;
	if (taken && (S_ISDIR(there.stx_mode) || (is_node && S_ISDIR(subject.type))))
		result = commit_throw_away(commit, parent, name->name);
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

		result = commit_place_name(commit, &commit->names[i]);
		if (result > 0)
			result = MIN(ids_add(&commit->later, i + 1), 0);
		/* Where it is seen to. */
		if (result == 0 && commit->later.count > 0)
			result = commit_stage(commit);
		if (result < 0)
			commit_say_name(commit, &commit->names[i], result);
		if (result == 0 && commit->stop->gave_up != NULL &&
		    commit->stop->gave_up(commit->stop->context))
			result = -EINTR;
	}
	return result;
}
