/* SPDX-License-Identifier: MIT */
#include "layer/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util.h"

/* The directory that a path lies in, open. */
static int open_parent(const char *path)
{
	CLEANUP(free_pointer) char *copy = strdup(path);

	return copy == NULL ? -1 : open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int sync_parent(const char *path)
{
	CLEANUP(close_fd) int fd = open_parent(path);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int check_device(const struct home *layer, const char *path, char **ret_error)
{
	CLEANUP(close_fd) int fd = open_parent(path);
	struct stat there, here;

	if (fd < 0 || fstat(fd, &there) < 0)
		return home_refuse(ret_error, -errno, "cannot make '%s': %s", path, strerror(errno));
	if (fstat(layer->directory, &here) < 0)
		return -errno;
	if (here.st_dev != there.st_dev)
		return home_refuse(
			ret_error, -EXDEV,
			"'%s' is not on the file system of layer '%s': a checkpoint copies nothing", path,
			layer->path);
	return 0;
}

/* Has the making of a layer come no further than this? */
static bool is_beginning(const char *name)
{
	return name[0] == '.' || strcmp(name, HOME_LOCK) == 0 || strcmp(name, HOME_PAGES) == 0;
}

/* Nothing, an empty directory, or something with a database; that is looked into later. */
static int check_free(const char *path, char **ret_error)
{
	struct stat info;
	DIR *directory;
	const struct dirent *entry;
	bool empty = true, database = false;

	if (lstat(path, &info) < 0)
		return errno == ENOENT ? 0
				       : home_refuse(ret_error, -errno, "cannot make '%s': %s", path,
						     strerror(errno));
	directory = S_ISDIR(info.st_mode) ? opendir(path) : NULL;
	while (directory != NULL && (entry = readdir(directory)) != NULL) {
		database = database || strcmp(entry->d_name, HOME_DATABASE) == 0;
		empty = empty && is_beginning(entry->d_name);
	}
	if (directory != NULL) {
		closedir(directory);
		if (empty || database)
			return 0;
	}
	return home_refuse(ret_error, -EEXIST, "'%s' is there already", path);
}

/* Is it as it was made, for this layer? Then it was left by a checkpoint that came to nothing. */
static int check_unused(const struct home *layer, const struct home *fresh, char **ret_error)
{
	CLEANUP(free_pointer) void *backing = NULL;
	CLEANUP(home_stack_fini) struct home_stack stack = {0};
	ssize_t size = db_fact_get(fresh->db, FACT_BACKING, &backing);
	int result = home_stack_read(fresh->db, &stack);

	if (result < 0 || size == -ENODATA)
		return result;
	if (fresh->generation == 0 && stack.count > 0 && strcmp(stack.below[0].id, layer->id) == 0)
		return 0;
	return home_refuse(ret_error, -EEXIST, "'%s' is there already, and is another layer", fresh->path);
}

static int copy_fact(struct layer_db *from, struct layer_db *to, const char *fact)
{
	CLEANUP(free_pointer) void *value = NULL;
	ssize_t size = db_fact_get(from, fact, &value);

	if (size == -ENODATA)
		return 0;
	return size < 0 ? (int)size : db_fact_put(to, fact, value, (size_t)size);
}

int checkpoint_prepare(const struct home *layer, const char *path, const char *holder, struct home *ret_fresh,
		       char **ret_error)
{
	int result;

	*ret_fresh = HOME_NONE;
	result = check_device(layer, path, ret_error);
	if (result == 0)
		result = check_free(path, ret_error);
	if (result == 0)
		result = home_open(path, holder, ret_fresh, ret_error);
	if (result == 0)
		result = check_unused(layer, ret_fresh, ret_error);
	if (result == 0)
		result = sync_parent(ret_fresh->path);
	/* Whatever is there is not taken, and stays. */
	if (result < 0)
		home_close(ret_fresh);
	return result;
}

/* All of the fresh layer is on the disk before anything leads to it. */
static int settle_fresh(struct layer_db *from, const struct home *layer, uint64_t generation,
			const struct home_stack *below, struct home *fresh)
{
	CLEANUP(free_pointer) struct home_below *all = calloc(below->count + 1, sizeof(*all));
	struct home_stack stack = {all, below->count + 1};
	bool changed;
	int result;

	if (all == NULL)
		return -ENOMEM;
	/* It will lie where the fresh one does now. */
	all[0] = (struct home_below){.generation = generation, .path = fresh->path};
	memcpy(all[0].id, layer->id, sizeof(all[0].id));
	if (below->count > 0)
		memcpy(all + 1, below->below, below->count * sizeof(*all));
	result = copy_fact(from, fresh->db, FACT_BACKING);
	if (result == 0)
		result = copy_fact(from, fresh->db, FACT_PATH);
	if (result == 0)
		result = home_stack_write(fresh->db, &stack);
	if (result == 0)
		result = db_fact_put(fresh->db, FACT_CLEAN, "0", 1);
	if (result == 0)
		result = db_commit(fresh->db, &changed);
	if (result == 0)
		result = db_settle(fresh->db);
	return result == 0 && fsync(fresh->directory) < 0 ? -errno : result;
}

/* A name that leads elsewhere by now must not be exchanged. */
static int check_place(const struct home *home, char **ret_error)
{
	struct stat now, open;

	if (stat(home->path, &now) == 0 && fstat(home->directory, &open) == 0 && now.st_dev == open.st_dev &&
	    now.st_ino == open.st_ino)
		return 0;
	return home_refuse(ret_error, -ENOENT, "layer '%s' is not there any more: it was moved", home->path);
}

int checkpoint_exchange(struct home *layer, uint64_t generation, const struct home_stack *below,
			struct home *fresh, char **ret_error)
{
	int result = settle_fresh(layer->db, layer, generation, below, fresh);
	char *path;

	if (result == 0)
		result = check_place(layer, ret_error);
	if (result == 0)
		result = check_place(fresh, ret_error);
	if (result == 0 && renameat2(AT_FDCWD, layer->path, AT_FDCWD, fresh->path, RENAME_EXCHANGE) < 0)
		result = home_refuse(ret_error, -errno, "cannot exchange '%s' and '%s': %s", layer->path,
				     fresh->path, strerror(errno));
	if (result < 0)
		return result;
	path = layer->path;
	layer->path = fresh->path;
	fresh->path = path;
	/* It is done, whatever the disk says now. */
	result = sync_parent(layer->path);
	if (result == 0)
		result = sync_parent(fresh->path);
	if (result < 0)
		home_refuse(ret_error, result,
			    "'%s' and '%s' were exchanged, and a power cut may undo that: %s", layer->path,
			    fresh->path, strerror(-result));
	return 0;
}

void checkpoint_undo(struct home *fresh)
{
	static const char *const files[] = {HOME_DATABASE, HOME_DATABASE_LOG, HOME_LOCK};

	if (fresh->db != NULL && fresh->path != NULL) {
		db_close(fresh->db);
		fresh->db = NULL;
		for (size_t i = 0; i < ARRAY_LENGTH(files); i++)
			unlinkat(fresh->directory, files[i], 0);
		unlinkat(fresh->directory, HOME_PAGES, AT_REMOVEDIR);
		rmdir(fresh->path);
	}
	home_close(fresh);
}
