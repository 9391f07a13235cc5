/* SPDX-License-Identifier: MIT */
/*
 * Happy path: the directory is read, a few files at a time are looked up in the database, and those without a record
 * are removed.
 *
 * A page file without a record need not be a stray: its record may have been deleted since the mount began, and be
 * there again after the next crash as long as that is not committed. Such files wait in layer->removals, or are in
 * the hands of a commit, which holds commit_lock. Neither can one become somebody's after it was looked up: who makes
 * a record, before it has a page file, holds layer->lock, and so does who removes strays.
 */
#include "layer/sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "fs.h"
#include "layer/keep.h"
#include "layer/layer.h"
#include "layer/serve.h"
#include "log.h"
#include "util.h"

/* Files that are looked up under one hold of the locks, and how long the others have them then. */
#define SWEEP_FILES 32
#define SWEEP_PAUSE_US 100

struct sweep {
	struct fs *fs;
	uint64_t ids[SWEEP_FILES];
	size_t count;
	uint64_t removed;
};

/* After a checkpoint the layer is another, which has none. */
static bool is_over_locked(struct layer *layer)
{
	return !layer->strays || atomic_load(&layer->sweep.stop);
}

/* Leaves those ids that have no record. Return: 0, or -ECANCELED. */
static int look_up(struct sweep *sweep, bool *ret_uncommitted)
{
	struct layer *layer = sweep->fs->layer;
	size_t left = 0;

	LAYER_SERVE_SCOPE(sweep->fs);
	LOCK_SCOPE(&layer->lock);
	if (is_over_locked(layer))
		return -ECANCELED;
	for (size_t i = 0; i < sweep->count; i++) {
		if (db_node_exists(layer->db, sweep->ids[i]) == -ENOENT)
			sweep->ids[left++] = sweep->ids[i];
	}
	sweep->count = left;
	*ret_uncommitted = layer->removals != NULL;
	return 0;
}

static int remove_strays(struct sweep *sweep)
{
	struct layer *layer = sweep->fs->layer;

	LAYER_SERVE_SCOPE(sweep->fs);
	LOCK_SCOPE(&layer->commit_lock);
	LOCK_SCOPE(&layer->lock);
	if (is_over_locked(layer))
		return -ECANCELED;
	for (size_t i = 0; i < sweep->count; i++) {
		uint64_t id = sweep->ids[i];

		if (keep_is_going_locked(layer, id) || db_node_exists(layer->db, id) != -ENOENT)
			continue;
		store_remove(&layer->store, id);
		sweep->removed++;
	}
	return 0;
}

static int sweep_files(struct sweep *sweep)
{
	bool uncommitted;
	int result = look_up(sweep, &uncommitted);

	/* So that few are waiting, each of which every stray is compared with. */
	if (result == 0 && sweep->count > 0 && uncommitted)
		result = keep_commit(sweep->fs);
	if (result == 0 && sweep->count > 0)
		result = remove_strays(sweep);
	sweep->count = 0;
	/* The lock goes to who asks for it first, which would mostly be this thread. */
	if (!sweep->fs->offline)
		usleep(SWEEP_PAUSE_US);
	return result;
}

static int add_file(void *context, uint64_t id)
{
	struct sweep *sweep = context;

	sweep->ids[sweep->count++] = id;
	return sweep->count < SWEEP_FILES ? 0 : sweep_files(sweep);
}

/* A checkpoint puts another directory there. */
static int open_pages(struct layer *layer)
{
	int fd;

	LOCK_SCOPE(&layer->lock);
	fd = openat(layer->store.directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

void sweep_run(struct fs *fs)
{
	struct sweep sweep = {.fs = fs};
	struct layer *layer = fs->layer;
	int fd = open_pages(layer), result = fd < 0 ? fd : store_each(fd, add_file, &sweep);

	if (result == 0)
		result = sweep_files(&sweep);
	if (result < 0 && result != -ECANCELED)
		log_warning("layer '%s': cannot look for page files that a crash left behind: %s",
			    fs->options.layer, strerror(-result));
	if (sweep.removed > 0)
		log_info("layer '%s': removed %llu page files that a crash left behind", fs->options.layer,
			 (unsigned long long)sweep.removed);
	LOCK_SCOPE(&layer->lock);
	if (result == 0 && !atomic_load(&layer->sweep.stop))
		layer->strays = false;
}

static void *sweep_thread(void *argument)
{
	sweep_run(argument);
	return NULL;
}

void sweep_start(struct fs *fs)
{
	struct layer *layer = fs->layer;
	bool needed;
	int result;

	if (layer == NULL)
		return;
	pthread_mutex_lock(&layer->lock);
	needed = layer->strays;
	pthread_mutex_unlock(&layer->lock);
	if (!needed)
		return;
	result = pthread_create(&layer->sweep.thread, NULL, sweep_thread, fs);
	layer->sweep.started = result == 0;
	if (result != 0)
		log_warning("layer '%s': cannot start a thread: %s", fs->options.layer, strerror(result));
}

void sweep_stop(struct fs *fs)
{
	struct layer *layer = fs->layer;

	if (layer == NULL || !layer->sweep.started)
		return;
	atomic_store(&layer->sweep.stop, true);
	pthread_join(layer->sweep.thread, NULL);
	layer->sweep.started = false;
}

void sweep_make_way_locked(struct layer *layer, uint64_t id)
{
	if (layer->strays)
		store_remove(&layer->store, id);
}
