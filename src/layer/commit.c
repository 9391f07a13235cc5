/* SPDX-License-Identifier: MIT */
/*
 * Happy path: what is to be committed is collected and compared with what BACKING has by now. Then it is noted in the
 * layer that a commit has begun, and of what. New objects are made in a directory of BACKING that nobody looks
 * into, and become what the layer's records stand for; so from here on every record stands for an object of
 * BACKING. Files are written, names put in place, directories get their attributes. When all of that is on the
 * disk, serving is stopped for a moment, what was changed since is written again, and the layer lets go.
 *
 * Failure modes: an interruption at any point leaves a layer that still has all of it, over a BACKING that has a
 * part of it; the mount looks the same. The next commit of a kept layer begins with the one that was noted, and does
 * not ask again whether BACKING was changed. A layer in memory that ends with its daemon leaves the part.
 */
#include "layer/commit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "fs.h"
#include "layer/command.h"
#include "layer/commit_private.h"
#include "layer/keep.h"
#include "layer/raise.h"
#include "layer/serve.h"
#include "util.h"

static void commit_fini(struct commit *commit)
{
	commit_follow_end(commit);
	for (size_t i = 0; i < commit->name_count; i++)
		free(commit->names[i].name);
	free(commit->names);
	free(commit->done);
	ids_fini(&commit->nodes);
	ids_fini(&commit->staged);
	ids_fini(&commit->later);
	close_fd(&commit->stage);
}

static int begin(struct commit *commit, char *const *paths, size_t count)
{
	struct fs *fs = commit->fs;
	uint64_t pages = 0;
	int result;

	LAYER_SERVE_SCOPE(fs);
	LOCK_SCOPE(&fs->layer->lock);
	result = commit_select(commit, paths, count);
	if (result == 0)
		result = commit_check(commit);
	commit->checked = result == 0 && !commit->force;
	commit->done = result == 0 ? calloc(commit->nodes.count + 1, sizeof(commit->done[0])) : NULL;
	for (size_t i = 0; i < commit->nodes.count && result == 0; i++) {
		struct node_row row;

		if (db_node_load(fs->layer->db, commit->nodes.list[i], &row) < 0)
			continue;
		pages += row.page_count;
		db_row_fini(&row);
	}
	atomic_store(&fs->layer->progress.all, pages * LAYER_PAGE);
	if (result == 0 && commit->done == NULL)
		result = -ENOMEM;
	for (size_t i = 0; i < commit->nodes.count && result == 0; i++)
		result = commit_follow(commit, commit->nodes.list[i]);
	if (result == 0 &&
	    statx(fs->layer->writable, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &commit->root_before) < 0)
		result = -errno;
	/* Before the note, with which it would pass for the stage of an interrupted commit. */
	if (result == 0 && !fs->layer->stage_left &&
	    faccessat(fs->layer->writable, fs->layer->stage, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		result = commit_fail(commit, -EEXIST, "'%s' in BACKING is in the way of the commit",
				     fs->layer->stage);
	if (result == 0)
		result = commit_note_before(commit);
	if (result == 0 && fs->layer->kept)
		result = keep_commit_begin(fs, paths, count);
	return result;
}

/* Writes what is no directory, or what is one. */
static int write_nodes(struct commit *commit, bool directories)
{
	int result = 0;

	for (size_t i = 0; i < commit->nodes.count && result == 0; i++) {
		CLEANUP(subject_close) struct subject subject = {0};

		LAYER_SERVE_SCOPE(commit->fs);
		result = subject_open(commit->fs, commit->nodes.list[i], &subject);
		if (result == -ENOENT || (result == 0 && (subject.inode == NULL || subject.own == 0 ||
							  S_ISDIR(subject.type) != directories))) {
			result = 0;
			continue;
		}
		if (result == 0)
			result = commit_write(commit, &subject, &commit->done[i].version);
		/* Gone from BACKING, with nothing of it here that could be made anew. */
		if (result == -ESTALE)
			result = 0;
	}
	return result;
}

int commit_sync(struct commit *commit)
{
	/* What is in memory only would not be the worse for a power cut. */
	if (commit->fs->layer->kept && syncfs(commit->fs->layer->writable) < 0)
		return commit_fail(commit, -errno, "cannot sync BACKING: %s", strerror(errno));
	return 0;
}

static int run(struct commit *commit, char *const *paths, size_t count)
{
	struct fs *fs = commit->fs;
	int result;

	result = maintain_save_all(fs);
	if (result == 0)
		result = layer_raise(fs);
	if (result == 0)
		result = begin(commit, paths, count);
	if (result == 0)
		result = keep_commit(fs);
	if (result == 0)
		result = commit_make(commit);
	if (result == 0)
		result = write_nodes(commit, false);
	if (result == 0)
		result = commit_secure(commit);
	if (result == 0)
		result = commit_place(commit);
	if (result == 0)
		result = commit_sync(commit);
	if (result == 0)
		result = commit_stage_end(commit);
	if (result == 0)
		result = write_nodes(commit, true);
	if (result == 0)
		result = commit_sync(commit);
	if (result == 0) {
		layer_stop_begin(fs);
		result = commit_settle(commit);
		layer_stop_end(fs);
	}
	return result == 0 ? keep_commit(fs) : result;
}

/* @commit: what is wanted; it is used up */
static int run_once(struct commit *commit, char *const *paths, size_t count)
{
	struct fs *fs = commit->fs;
	int result;

	commit->whole = count == 0;
	commit->stage = -1;
	atomic_store(&fs->layer->progress.done, 0);
	result = run(commit, paths, count);
	if (result < 0 && commit->checked)
		commit_note_failed(commit);
	forget_run(fs, &commit->forgetting);
	if (result == 0 &&
	    asprintf(commit->ret_error, "{\"objects\":%" PRIu64 ",\"names\":%zu,\"bytes\":%" PRIu64 "}",
		     commit->objects, commit->name_count, atomic_load(&fs->layer->progress.done)) < 0)
		result = -ENOMEM;
	commit_fini(commit);
	return result;
}

/* The one that was interrupted, if there is one. Nobody asks again whether BACKING was changed since. */
static int finish_noted(struct fs *fs, const struct layer_stop *stop, char **ret_reply)
{
	struct commit commit = {
		.fs = fs, .force = true, .finishing = true, .stop = stop, .ret_error = ret_reply};
	char **paths = NULL;
	size_t count = 0;
	int result = keep_commit_noted(fs, &paths, &count);

	if (result <= 0)
		return result;
	result = run_once(&commit, paths, count);
	for (size_t i = 0; i < count; i++)
		free(paths[i]);
	free(paths);
	if (result == 0)
		free_pointer(ret_reply);
	return result;
}

static int check_writable(struct fs *fs, char **ret_reply)
{
	struct statvfs info;

	if (fs->read_only)
		*ret_reply = strdup("the mount is read-only");
	else if (fs->layer->writable < 0 || fstatvfs(fs->layer->writable, &info) < 0 ||
		 (info.f_flag & ST_RDONLY))
		*ret_reply = strdup("BACKING is read-only");
	else
		return 0;
	return -EROFS;
}

int layer_commit(struct fs *fs, char *const *paths, size_t count, bool force, const struct layer_stop *stop,
		 char **ret_reply)
{
	struct commit commit = {.fs = fs, .force = force, .stop = stop, .ret_error = ret_reply};
	struct layer *layer = fs->layer;
	int result;

	*ret_reply = NULL;
	result = check_writable(fs, ret_reply);
	if (result < 0)
		return result;
	if (pthread_mutex_trylock(&layer->maintain_lock) != 0) {
		*ret_reply = strdup("another command is changing the layer");
		return -EBUSY;
	}
	atomic_store(&layer->progress.running, true);
	result = finish_noted(fs, stop, ret_reply);
	if (result == 0)
		result = run_once(&commit, paths, count);
	atomic_store(&layer->progress.running, false);
	pthread_mutex_unlock(&layer->maintain_lock);
	return result;
}

int layer_commit_progress(struct fs *fs, char **ret_reply)
{
	struct layer_progress *progress = &fs->layer->progress;
	bool running = atomic_load(&progress->running);
	uint64_t done = running ? atomic_load(&progress->done) : 0;

	/* What is written again, or comes from bases, was not counted before. */
	return asprintf(ret_reply, "{\"done\":%" PRIu64 ",\"all\":%" PRIu64 "}", done,
			running ? MAX(atomic_load(&progress->all), done) : 0) < 0
		       ? -ENOMEM
		       : 0;
}
