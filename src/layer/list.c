/* SPDX-License-Identifier: MIT */
/* A directory's names: what BACKING has and the layer says nothing of, and what the layer has. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "fs.h"
#include "layer/commit.h"
#include "layer/keep.h"
#include "layer/layer.h"
#include "layer/names.h"
#include "layer/stack.h"
#include "util.h"

#define DIRENTS_SIZE ((size_t)64 << 10)

struct known_name {
	char *name;
	unsigned level; /* 0: of the topmost layer */
	struct db_entry entry;
};

/* The layers' entries of a directory, sorted by name, once they are settled. */
struct known {
	struct known_name *names;
	size_t count, size;
	unsigned level; /* of what is added now */
};

static void known_fini(struct known *known)
{
	for (size_t i = 0; i < known->count; i++)
		free(known->names[i].name);
	free(known->names);
}

static int known_add(void *context, const char *name, const struct db_entry *entry)
{
	struct known *known = context;
	struct known_name *names;

	if (known->count == known->size) {
		known->size = MAX(known->size * 2, 64);
		names = reallocarray(known->names, known->size, sizeof(names[0]));
		if (names == NULL)
			return -ENOMEM;
		known->names = names;
	}
	known->names[known->count] = (struct known_name){strdup(name), known->level, *entry};
	return known->names[known->count++].name == NULL ? -ENOMEM : 0;
}

static int compare_names(const void *one, const void *other)
{
	const struct known_name *a = one, *b = other;
	int order = strcmp(a->name, b->name);

	return order != 0 ? order : a->level < b->level ? -1 : a->level > b->level;
}

/* Of each name what the topmost layer says. */
static void known_settle(struct known *known)
{
	size_t kept = 0;

	/* Each layer's come sorted. */
	if (known->level == 0)
		return;
	qsort(known->names, known->count, sizeof(known->names[0]), compare_names);
	for (size_t i = 0; i < known->count; i++) {
		if (kept > 0 && strcmp(known->names[kept - 1].name, known->names[i].name) == 0)
			free(known->names[i].name);
		else
			known->names[kept++] = known->names[i];
	}
	known->count = kept;
}

static int compare(const void *name, const void *known)
{
	return strcmp(name, ((const struct known_name *)known)->name);
}

static bool is_known(const struct known *known, const char *name)
{
	return known->count > 0 &&
	       bsearch(name, known->names, known->count, sizeof(known->names[0]), compare) != NULL;
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int list_backing(struct fs *fs, struct inode *directory, const struct known *known,
			layer_list_call *call, void *context)
{
	CLEANUP(close_fd) int fd = inode_open(fs, directory, O_RDONLY | O_DIRECTORY);
	CLEANUP(free_pointer) char *buffer = malloc(DIRENTS_SIZE);
	ssize_t got, at;
	int result = 0;

	if (buffer == NULL)
		return -ENOMEM;
	/* Removed from BACKING behind the mount's back: what the layer has stays. */
	if (fd == -ESTALE)
		return 0;
	if (fd < 0)
		return fd;
	while (result == 0 && (got = getdents64(fd, buffer, DIRENTS_SIZE)) != 0) {
		if (got < 0)
			return errno == ENOENT ? 0 : -errno;
		for (at = 0; at < got && result == 0;) {
			const struct dirent64 *entry = (struct dirent64 *)(buffer + at);

			at += entry->d_reclen;
			if (!is_dots(entry->d_name) && !is_known(known, entry->d_name) &&
			    !commit_is_stage(fs, directory, entry->d_name))
				result = call(context, entry->d_name,
					      inode_number(fs, directory->key.dev, entry->d_ino),
					      DTTOIF(entry->d_type));
		}
	}
	return result;
}

static uint64_t number_of(const struct fs *fs, const struct db_entry *entry)
{
	if (entry->has_origin)
		return inode_number(fs, keep_device(fs, entry->origin.dev), entry->origin.ino);
	return inode_number(fs, makedev(LAYER_DEV_MAJOR, LAYER_DEV_MINOR), entry->node);
}

static int list_layers(struct fs *fs, const struct node *directory, struct known *known)
{
	uint64_t id;
	int result = 0;

	LOCK_SCOPE(&fs->layer->lock);
	id = atomic_load(&directory->id);
	if (id != 0)
		result = db_entries(fs->layer->db, id, known_add, known);
	for (const struct lower *lower = directory->lower; lower != NULL && result == 0;
	     lower = lower->next) {
		known->level++;
		result = db_entries(lower->base->home.db, lower->id, known_add, known);
	}
	if (known->count > 0)
		known_settle(known);
	return result;
}

int layer_list(struct fs *fs, struct inode *directory, layer_list_call *call, void *context)
{
	CLEANUP(known_fini) struct known known = {0};
	struct node *node;
	int result = layer_node(fs, directory, &node);

	if (result < 0)
		return result;
	if (atomic_load(&directory->covered))
		return 0;
	if (atomic_load(&node->id) != 0 || node->lower != NULL)
		result = list_layers(fs, node, &known);
	if (result == 0 && node->has_origin)
		result = list_backing(fs, directory, &known, call, context);
	for (size_t i = 0; i < known.count && result == 0; i++) {
		const struct known_name *name = &known.names[i];

		if (name->entry.node != DB_WHITEOUT)
			result = call(context, name->name, number_of(fs, &name->entry), name->entry.type);
	}
	return result;
}
