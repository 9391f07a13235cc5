/* SPDX-License-Identifier: MIT */
/*
 * What a kept layer notes of a commit that has begun, so that it is finished by the next: the name of its stage and
 * its paths, each with a zero byte behind it.
 */
#include <errno.h>
#include <string.h>

#include "fs.h"
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

int keep_commit_noted(struct fs *fs, char ***ret_paths, size_t *ret_count)
{
	CLEANUP(free_pointer) char *note = NULL;
	const char *at, *end;
	char **paths;
	size_t count = 0;
	ssize_t size;

	if (!fs->layer->kept)
		return 0;
	pthread_mutex_lock(&fs->layer->lock);
	size = db_fact_get(fs->layer->db, FACT_COMMIT, (void **)&note);
	pthread_mutex_unlock(&fs->layer->lock);
	if (size <= 0)
		return size == -ENODATA ? 0 : (int)size;
	end = note + size;
	if (strlen(note) >= sizeof(fs->layer->stage))
		return -EUCLEAN;
	memcpy(fs->layer->stage, note, strlen(note) + 1);
	if (ret_paths == NULL)
		return 1;
	paths = calloc((size_t)size, sizeof(paths[0]));
	for (at = note + strlen(note) + 1; paths != NULL && at < end; at += strlen(at) + 1)
		paths[count++] = strdup(at);
	*ret_paths = paths;
	*ret_count = count;
	return paths == NULL ? -ENOMEM : 1;
}
