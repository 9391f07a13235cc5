/* SPDX-License-Identifier: MIT */
/*
 * What a kept layer notes of a commit that has begun, so that it is finished by the next: the name of its stage and
 * its paths, each with a zero byte behind it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "fs.h"
#include "layer/home.h"
#include "layer/keep.h"
#include "layer/layer.h"
#include "util.h"

static int put_note(struct fs *fs, const char *note, size_t size)
{
	LOCK_SCOPE(&fs->layer->lock);
	return db_fact_put(fs->layer->db, FACT_COMMIT, note, size);
}

int keep_commit_end(struct fs *fs)
{
	return put_note(fs, "", 0);
}

int keep_commit_begin(struct fs *fs, char *const *paths, size_t count)
{
	CLEANUP(free_pointer) char *note = NULL;
	size_t size = strlen(fs->layer->stage) + 1;
	char *to;

	for (size_t i = 0; i < count; i++)
		size += strlen(paths[i]) + 1;
	note = malloc(size);
	if (note == NULL)
		return -ENOMEM;
	to = stpcpy(note, fs->layer->stage) + 1;
	for (size_t i = 0; i < count; i++)
		to = stpcpy(to, paths[i]) + 1;
	return put_note(fs, note, size);
}

/* Return: its size, 0 where there is none, or -errno. @ret_note: malloc'ed, with a zero byte behind it */
static ssize_t get_note(struct fs *fs, char **ret_note)
{
	ssize_t size;

	if (!fs->layer->kept)
		return 0;
	LOCK_SCOPE(&fs->layer->lock);
	size = db_fact_get(fs->layer->db, FACT_COMMIT, (void **)ret_note);
	return size == -ENODATA ? 0 : size;
}

#define STAGE ".memmapfs-commit-"

/* It is made, and removed with all that is in it, in BACKING's root. */
static bool is_stage_name(const struct layer *layer, const char *name)
{
	return strncmp(name, STAGE, strlen(STAGE)) == 0 && strlen(name) > strlen(STAGE) &&
	       strlen(name) < sizeof(layer->stage) && strchr(name, '/') == NULL;
}

int keep_commit_stage(struct fs *fs, char **ret_error)
{
	CLEANUP(free_pointer) char *note = NULL;
	struct layer *layer = fs->layer;
	ssize_t size = get_note(fs, &note);
	uint64_t number;

	if (size < 0)
		return home_refuse(ret_error, (int)size, "layer '%s': cannot read its note of a commit: %s",
				   fs->options.layer, strerror((int)-size));
	if (size > 0 && (note[size - 1] != '\0' || !is_stage_name(layer, note)))
		return home_refuse(ret_error, -EUCLEAN, "layer '%s': its note of a commit is damaged",
				   fs->options.layer);
	layer->stage_left = size > 0;
	if (layer->stage_left)
		memcpy(layer->stage, note, strlen(note) + 1);
	else if (getrandom(&number, sizeof(number), 0) == sizeof(number))
		snprintf(layer->stage, sizeof(layer->stage), STAGE "%016" PRIx64, number);
	else
		return -EIO;
	return 0;
}

int keep_commit_noted(struct fs *fs, char ***ret_paths, size_t *ret_count)
{
	CLEANUP(free_pointer) char *note = NULL;
	const char *at, *end;
	char **paths;
	size_t count = 0;
	ssize_t size = get_note(fs, &note);

	if (size <= 0)
		return (int)size;
	if (ret_paths == NULL)
		return 1;
	end = note + size;
	paths = calloc((size_t)size, sizeof(paths[0]));
	for (at = note + strlen(note) + 1; paths != NULL && at < end; at += strlen(at) + 1)
		paths[count++] = strdup(at);
	*ret_paths = paths;
	*ret_count = count;
	return paths == NULL ? -ENOMEM : 1;
}
