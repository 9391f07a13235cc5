/* SPDX-License-Identifier: MIT */
/* The directory in BACKING in which a commit prepares things, and the objects that are made there. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/sysmacros.h>

#include "fs.h"
#include "layer/commit_private.h"
#include "layer/keep.h"
#include "layer/serve.h"
#include "layer/stack.h"
#include "util.h"

bool commit_is_stage(const struct fs *fs, const struct inode *directory, const char *name)
{
	return directory == fs->root && strcmp(name, fs->layer->stage) == 0;
}

void commit_stage_name(uint64_t id, char ret_name[32])
{
	snprintf(ret_name, 32, "%" PRIx64, id);
}

int commit_stage(struct commit *commit)
{
	const char *name = commit->fs->layer->stage;
	int root = commit->fs->layer->writable;

	if (commit->stage >= 0)
		return 0;
	if (mkdirat(root, name, 0700) < 0) {
		/* The name is known since it was there for the first time: what nobody has left was put there. */
		if (errno != EEXIST || !commit->fs->layer->stage_left)
			return commit_fail(commit, -errno, "cannot make '%s' in BACKING: %s", name,
					   strerror(errno));
		commit->stage_was_there = true;
	}
	commit->fs->layer->stage_left = true;
	commit->stage = openat(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (commit->stage < 0)
		return commit_fail(commit, -errno, "cannot open '%s' in BACKING: %s", name, strerror(errno));
	return 0;
}

int commit_remove_tree(int parent, const char *name)
{
	const struct dirent *entry;
	DIR *directory;
	int fd, result = 0;

	if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	directory = fd < 0 ? NULL : fdopendir(fd);
	if (directory == NULL) {
		result = -errno;
		close_fd(&fd);
		return result;
	}
	while (result == 0 && (entry = readdir(directory)) != NULL) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			result = commit_remove_tree(fd, entry->d_name);
	}
	closedir(directory);
	return result < 0 ? result : unlinkat(parent, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* What the daemon can still read of a file that was removed from BACKING while it had it open. */
static int rescue_bytes(const struct subject *subject, int to)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	off_t left = (off_t)MIN(subject->pages.clean, subject->stx.stx_size), at = 0;

	if (!subject->has_origin || subject->inode == NULL ||
	    inode_fd(subject->fs, subject->inode, FD_READ, &use) < 0)
		return 0;
	while (left > 0) {
		ssize_t put = sendfile(to, use.fd, &at, (size_t)left);

		if (put <= 0)
			return put < 0 ? -errno : 0;
		left -= put;
	}
	return 0;
}

static int make_one(int stage, const char *name, const struct subject *subject, const char *target)
{
	const struct statx *stx = &subject->stx;
	CLEANUP(close_fd) int fd = -1;
	int result;

	switch (subject->type) {
	case S_IFREG:
		fd = openat(stage, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		return fd < 0 ? -errno : rescue_bytes(subject, fd);
	case S_IFDIR:
		result = mkdirat(stage, name, 0700);
		break;
	case S_IFLNK:
		result = symlinkat(target == NULL ? "" : target, stage, name);
		break;
	default:
		result = mknodat(stage, name, (stx->stx_mode & S_IFMT) | 0600,
				 makedev(stx->stx_rdev_major, stx->stx_rdev_minor));
	}
	return result < 0 ? -errno : 0;
}

/* What there is of a node in BACKING, or should have been and has been removed there. */
static bool is_missing(const struct subject *subject)
{
	if (!subject->has_origin)
		return true;
	return ((S_ISREG(subject->type) && (subject->own & OWN_CONTENT)) || S_ISDIR(subject->type)) &&
	       subject_change(subject) >= ORIGIN_REPLACED;
}

/* From here on the node stands for the object that was made. Serving is stopped. */
static int adopt_locked(struct commit *commit, uint64_t id, const char *name)
{
	struct fs *fs = commit->fs;
	struct identity_handle *handle = NULL;
	struct node_row row;
	struct inode *inode;
	struct statx stx;
	bool had_origin, has_handle;
	int result;

	if (statx(commit->stage, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &stx) < 0)
		return -errno;
	result = db_node_load(fs->layer->db, id, &row);
	/* Removed meanwhile. */
	if (result < 0)
		return result == -ENOENT ? 0 : result;
	inode = maintain_live(fs, &row);
	had_origin = row.has_origin;
	if (fs->handles)
		result = identity_handle_new(commit->stage, name, 0, &handle);
	free(row.handle);
	row.handle = handle;
	has_handle = handle != NULL;
	/* What BACKING does not tell any more. */
	row.own |= OWN_ATTRIBUTES | OWN_MTIME;
	row.has_origin = true;
	row.origin = identity_of_statx(&stx);
	row.before = origin_state(&stx);
	if (result == 0) {
		row.origin.dev = keep_device(fs, row.origin.dev);
		result = db_node_adopt(fs->layer->db, &row);
	}
	if (result == 0 && inode != NULL)
		result = layer_adopt(fs, inode, commit->stage, name, &stx, handle);
	if (result == 0 && inode != NULL && layer_peek(inode) != NULL)
		stack_part(fs, layer_peek(inode));
	if (result == 0)
		atomic_fetch_add(&fs->layer->origins, !had_origin);
	db_row_fini(&row);
	if (inode != NULL)
		inode_forget(fs, inode->nodeid, 1);
	return result < 0 || has_handle ? result : commit_follow(commit, id);
}

static int make_node(struct commit *commit, uint64_t id, struct ids *made)
{
	CLEANUP(subject_close) struct subject subject = {0};
	CLEANUP(free_pointer) char *target = NULL;
	struct node_row row;
	char name[32];
	int result;

	LAYER_SERVE_SCOPE(commit->fs);
	LOCK_SCOPE(&commit->fs->layer->lock);
	result = subject_open(commit->fs, id, &subject);
	if (result < 0 || !is_missing(&subject))
		return result == -ENOENT ? 0 : result;
	result = db_node_load(commit->fs->layer->db, id, &row);
	if (result < 0)
		return result;
	target = row.target;
	row.target = NULL;
	db_row_fini(&row);
	result = commit_stage(commit);
	if (result < 0)
		return result;
	commit_stage_name(id, name);
	/* Of an earlier try, about which nothing was noted. */
	result = commit_remove_tree(commit->stage, name);
	if (result == 0)
		result = make_one(commit->stage, name, &subject, target);
	/* When the record stands for it, the bases have nothing of it any more. */
	if (result == 0 && S_ISREG(subject.type) && subject.inode != NULL)
		result = commit_fill(commit, subject.inode, name);
	if (result < 0) {
		CLEANUP(free_pointer) char *path = subject_path(commit->fs, id);

		return commit_fail(commit, result, "cannot make what becomes '%s' in BACKING: %s",
				   path == NULL ? "?" : path, strerror(-result));
	}
	result = MIN(ids_add(made, id), 0);
	return result < 0 ? result : MIN(ids_add(&commit->staged, id), 0);
}

int commit_make(struct commit *commit)
{
	CLEANUP(ids_fini) struct ids made = {0};
	struct fs *fs = commit->fs;
	int result = 0;

	for (; commit->made < commit->nodes.count && result == 0; commit->made++)
		result = make_node(commit, commit->nodes.list[commit->made], &made);
	if (result < 0 || made.count == 0)
		return result;
	/* A record must not name what a power cut takes away. */
	if (fs->layer->kept && syncfs(commit->stage) < 0)
		return commit_fail(commit, -errno, "cannot sync BACKING: %s", strerror(errno));
	layer_stop_begin(fs);
	pthread_mutex_lock(&fs->layer->lock);
	for (size_t i = 0; i < made.count && result == 0; i++) {
		char name[32];

		commit_stage_name(made.list[i], name);
		result = adopt_locked(commit, made.list[i], name);
	}
	pthread_mutex_unlock(&fs->layer->lock);
	layer_stop_end(fs);
	return result < 0 ? result : keep_commit(fs);
}
