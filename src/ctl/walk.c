/* SPDX-License-Identifier: MIT */
#include "ctl/walk.h"

#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "util.h"

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int add(struct walk *walk, const FTSENT *entry)
{
	struct walk_file *file;

	/* Room for twice as many whenever the count is a power of two. */
	if ((walk->count & (walk->count - 1)) == 0) {
		size_t room = walk->count == 0 ? 1 : 2 * walk->count;
		struct walk_file *files = realloc(walk->files, room * sizeof(*files));

		if (files == NULL)
			return -ENOMEM;
		walk->files = files;
	}
	file = &walk->files[walk->count];
	file->path = strdup(entry->fts_path);
	if (file->path == NULL)
		return -ENOMEM;
	file->size = (uint64_t)entry->fts_statp->st_size;
	walk->bytes += file->size;
	walk->count++;
	return 0;
}

static int take(struct walk *walk, const FTSENT *entry)
{
	switch (entry->fts_info) {
	case FTS_F:
		return add(walk, entry);
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		ctl_say("'%s': %s", entry->fts_path, strerror(entry->fts_errno));
		walk->failures++;
		return 0;
	default:
		return 0;
	}
}

int walk_paths(char **paths, int count, struct walk *ret_walk)
{
	struct walk walk = {0};
	FTS *tree;
	FTSENT *entry;
	int result = 0;

	for (int i = 0; i < count; i++) {
		CLEANUP(client_close) struct client client = CLIENT_NONE;

		result = client_open(paths[i], CLIENT_ANY, &client);
		if (result < 0)
			return result;
	}
	/* Each path is walked on its own, so that they keep their order. */
	for (int i = 0; i < count && result == 0; i++) {
		char *one[] = {paths[i], NULL};

		tree = fts_open(one, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR | FTS_XDEV, by_name);
		if (tree == NULL) {
			result = -errno;
			break;
		}
		while (result == 0 && (entry = fts_read(tree)) != NULL)
			result = take(&walk, entry);
		fts_close(tree);
	}
	if (result < 0) {
		ctl_say("cannot look for files: %s", strerror(-result));
		walk_fini(&walk);
		return result;
	}
	*ret_walk = walk;
	return 0;
}

void walk_fini(struct walk *walk)
{
	for (size_t i = 0; i < walk->count; i++)
		free(walk->files[i].path);
	free(walk->files);
	*walk = (struct walk){0};
}
