/* SPDX-License-Identifier: MIT */
/* Which layers lie below the one that is written: opening them, and checking that they belong together. */
#include "layer/stack.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs.h"
#include "layer/layer.h"
#include "util.h"

int stack_check_backing(struct fs *fs, struct home *home, bool write, char **ret_error)
{
	struct backing_fact now = {fs->root->key.ino, fs->root->key.birth_ns};
	CLEANUP(free_pointer) void *before = NULL;
	CLEANUP(free_pointer) void *where = NULL;
	ssize_t size = db_fact_get(home->db, FACT_BACKING, &before);
	bool same = size == sizeof(now) && memcmp(before, &now, sizeof(now)) == 0;
	int result;

	if (size < 0 && size != -ENODATA)
		return (int)size;
	if (same && !write)
		return 0;
	if (write && (same || size == -ENODATA)) {
		result = db_fact_put(home->db, FACT_BACKING, &now, sizeof(now));
		return result < 0
			       ? result
			       : db_fact_put(home->db, FACT_PATH, fs->backing_path, strlen(fs->backing_path));
	}
	return home_refuse(
		ret_error, -EXDEV,
		"layer '%s' belongs to another directory, which was '%s'; if this one has taken its "
		"place, 'memmapfsctl layer adopt' gives the layer to it",
		home->path, db_fact_get(home->db, FACT_PATH, &where) < 0 ? "?" : (const char *)where);
}

static const struct home *home_of(const struct layer *layer, size_t place)
{
	const struct base *base = layer->bases[place];

	assert(base != NULL);
	return &base->home;
}

/* No layer is there twice, nor a copy of one: they would give one number to two objects. */
static int check_single(const struct layer *layer, const struct home *top, char **ret_error)
{
	const struct home *last = home_of(layer, layer->base_count - 1);

	if (top != NULL && home_is_same(top, last))
		return home_refuse(ret_error, -EINVAL,
				   "layer '%s' cannot be written and be below itself in layer_base",
				   last->path);
	if (top != NULL && (strcmp(top->id, last->id) == 0 || top->first == last->first))
		return home_refuse(ret_error, -EINVAL, "layers '%s' and '%s' are copies of one layer",
				   top->path, last->path);
	for (size_t i = 0; i + 1 < layer->base_count; i++) {
		const struct home *other = home_of(layer, i);

		if (home_is_same(other, last))
			return home_refuse(ret_error, -EINVAL, "layer_base names layer '%s' twice",
					   last->path);
		if (strcmp(other->id, last->id) == 0 || other->first == last->first)
			return home_refuse(ret_error, -EINVAL, "layers '%s' and '%s' are copies of one layer",
					   other->path, last->path);
	}
	return 0;
}

static void base_free(struct base *base)
{
	store_close(&base->store);
	home_close(&base->home);
	free(base);
}

static int add_base(struct fs *fs, const char *path, const struct home *top, char **ret_error)
{
	struct layer *layer = fs->layer;
	CLEANUP(free_pointer) char *holder = NULL;
	struct base *base;
	int result;

	if (layer->base_count == STACK_BASES_MAX)
		return home_refuse(ret_error, -EINVAL, "more than %d layers in layer_base: '%s' is too many",
				   STACK_BASES_MAX, path);
	if (asprintf(&holder, "process %d, which reads it for '%s'", (int)getpid(), fs->mount_path) < 0) {
		holder = NULL;
		return -ENOMEM;
	}
	base = calloc(1, sizeof(*base));
	if (base == NULL)
		return -ENOMEM;
	store_open_directory(&base->store, -1);
	result = home_open_shared(path, holder, &base->home, ret_error);
	/* The layer of this very mount is the one case where who holds it says nothing new. */
	if (result == -EBUSY && top != NULL && home_is_same(top, &base->home)) {
		free_pointer(ret_error);
		result = home_refuse(ret_error, -EINVAL,
				     "layer '%s' cannot be written and be below itself in layer_base", path);
	}
	if (result < 0) {
		base_free(base);
		return result;
	}
	store_close(&base->store);
	store_open_directory(&base->store, base->home.pages);
	base->home.pages = -1;
	base->store.read_only = true;
	base->place = layer->base_count;
	layer->bases[layer->base_count++] = base;
	if (fs_walk_contains(fs, base->home.directory))
		return home_refuse(ret_error, -EINVAL,
				   "layer '%s' lies in BACKING, which a layer must not change", path);
	result = check_single(layer, top, ret_error);
	return result < 0 ? result : stack_check_backing(fs, &base->home, false, ret_error);
}

static int add_named(struct fs *fs, const char *names, const struct home *top, char **ret_error)
{
	CLEANUP(free_pointer) char *copy = strdup(names);
	char *rest = copy, *name;
	int result = copy == NULL ? -ENOMEM : 0;

	while (result == 0 && (name = strsep(&rest, ":")) != NULL)
		result = add_base(fs, name, top, ret_error);
	return result;
}

/* What the last one was made over comes along, from where it was. */
static int add_remembered(struct fs *fs, const struct home *top, char **ret_error)
{
	struct layer *layer = fs->layer;
	const struct home *last = layer->base_count == 0 ? top : home_of(layer, layer->base_count - 1);
	CLEANUP(home_stack_fini) struct home_stack stack = {0};
	int result = last == NULL ? 0 : home_stack_read(last->db, &stack);

	for (size_t i = 0; i < stack.count && result == 0; i++)
		result = add_base(fs, stack.below[i].path, top, ret_error);
	return result;
}

/* Lies below a layer what it was made over, as it was then? */
static int check_below(struct layer *layer, const struct home *home, size_t first, bool all,
		       size_t *ret_count, char **ret_error)
{
	CLEANUP(home_stack_fini) struct home_stack stack = {0};
	int result = home_stack_read(home->db, &stack);

	for (size_t i = 0; i < stack.count && result == 0; i++) {
		const struct home_below *below = &stack.below[i];
		const struct home *now = first + i < layer->base_count ? home_of(layer, first + i) : NULL;

		if (now == NULL || strcmp(now->id, below->id) != 0)
			result = home_refuse(ret_error, -EXDEV,
					     "layer '%s' was made over layer '%s', and %s%s%s lies there now",
					     home->path, below->path, now == NULL ? "none" : "'",
					     now == NULL ? "" : now->path, now == NULL ? "" : "'");
		else if (now->generation != below->generation)
			result = home_refuse(ret_error, -EXDEV,
					     "layer '%s' was changed after layer '%s' had been made over it",
					     now->path, home->path);
	}
	if (result == 0 && all && first + stack.count < layer->base_count)
		result = home_refuse(ret_error, -EXDEV, "layer '%s' was not made over layer '%s'", home->path,
				     home_of(layer, first + stack.count)->path);
	*ret_count = stack.count;
	return result;
}

/* The layer that is written notes what is below it. */
static int note_stack(const struct layer *layer, struct home *top)
{
	struct home_below below[STACK_BASES_MAX];
	struct home_stack stack = {below, layer->base_count};

	for (size_t i = 0; i < layer->base_count; i++) {
		const struct home *home = home_of(layer, i);

		below[i] = (struct home_below){.generation = home->generation, .path = home->path};
		memcpy(below[i].id, home->id, sizeof(below[i].id));
	}
	return home_stack_write(top->db, &stack);
}

int stack_open(struct fs *fs, struct home *top, char **ret_error)
{
	struct layer *layer = fs->layer;
	const char *named = fs->options.layer_base;
	size_t reach;
	int result;

	layer->bases = calloc(STACK_BASES_MAX, sizeof(struct base *));
	if (layer->bases == NULL)
		return -ENOMEM;
	result = named == NULL ? 0 : add_named(fs, named, top, ret_error);
	if (result == 0)
		result = add_remembered(fs, top, ret_error);
	for (size_t i = 0; i < layer->base_count && result == 0; i++)
		result = check_below(layer, home_of(layer, i), i + 1, false, &layer->bases[i]->reach,
				     ret_error);
	/* In a layer that nothing was changed in nothing depends on what is below. */
	if (result == 0 && top != NULL && top->generation > 0)
		result = check_below(layer, top, 0, true, &reach, ret_error);
	return result < 0 || top == NULL ? result : note_stack(layer, top);
}

void stack_close(struct layer *layer)
{
	for (size_t i = 0; i < layer->base_count; i++)
		base_free(layer->bases[i]);
	free(layer->bases);
	layer->bases = NULL;
	layer->base_count = 0;
}
