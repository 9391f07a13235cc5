/* SPDX-License-Identifier: MIT */
/*
 * Happy path: the directory that the user has named is open; the directories below it wait in a list, each is opened
 * by its path from there, read to its end and closed, and what it holds goes to the list or to the files. Whatever
 * the depth of the tree, there is one descriptor.
 *
 * Failure modes: what cannot be looked at is said, counted, and left out.
 */
#include "ctl/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "below.h"
#include "ctl/ctl.h"
#include "util.h"

/* Directories to be read, as files; taken from the front. */
struct waiting {
	struct walk_file *directories;
	size_t count;
};

/* Consumes the entry's path, whatever comes of it. */
static int append(struct walk_file **list, size_t *count, const struct walk_file *entry)
{
	/* Room for twice as many whenever the count is a power of two. */
	if ((*count & (*count - 1)) == 0) {
		struct walk_file *more = realloc(*list, MAX(2 * *count, 1) * sizeof(*more));

		if (more == NULL) {
			free(entry->path);
			return -ENOMEM;
		}
		*list = more;
	}
	(*list)[(*count)++] = *entry;
	return 0;
}

static void free_list(struct walk_file *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(list[i].path);
	free(list);
}

static void waiting_fini(struct waiting *waiting)
{
	free_list(waiting->directories, waiting->count);
}

static void close_directory(DIR **stream)
{
	if (*stream != NULL)
		closedir(*stream);
}

static void say(struct walk *walk, const char *path, int error)
{
	if (error == ELOOP)
		ctl_say("'%s': a symbolic link is in the way, and not followed", path);
	else
		client_say(path, error);
	walk->failures++;
}

static int add_file(struct walk *walk, const struct walk_file *file)
{
	int result = append(&walk->files, &walk->count, file);

	if (result == 0)
		walk->bytes += file->size;
	return result;
}

/* What is below @file by the name of @name. */
static int child(const struct walk_file *file, const char *name, struct walk_file *ret_child)
{
	const char *slash = file->path[strlen(file->path) - 1] == '/' ? "" : "/";

	*ret_child = (struct walk_file){.root = file->root};
	if (asprintf(&ret_child->path, "%s%s%s", file->path, slash, name) < 0)
		return -ENOMEM;
	ret_child->below = ret_child->path + (*file->below == '\0' ? strlen(file->path) + strlen(slash)
								   : (size_t)(file->below - file->path));
	return 0;
}

/* One name in a directory. */
static int meet(struct walk *walk, struct waiting *waiting, const struct walk_file *directory, int fd,
		const char *name)
{
	struct walk_file found;
	struct statx stx;
	int result;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return 0;
	result = child(directory, name, &found);
	if (result < 0)
		return result;
	if (statx(fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE | STATX_SIZE, &stx) < 0) {
		say(walk, found.path, errno);
	} else if (!(stx.stx_attributes & STATX_ATTR_MOUNT_ROOT)) {
		found.size = stx.stx_size;
		if (S_ISREG(stx.stx_mode))
			return add_file(walk, &found);
		if (S_ISDIR(stx.stx_mode))
			return append(&waiting->directories, &waiting->count, &found);
	}
	free(found.path);
	return 0;
}

static int read_directory(struct walk *walk, struct waiting *waiting, size_t number)
{
	const struct walk_file directory = waiting->directories[number];
	int result = 0, fd = open_below(walk->root.fd, directory.below,
					O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC, RESOLVE_NO_XDEV);
	CLEANUP(close_directory) DIR *stream = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (stream == NULL) {
		say(walk, directory.path, fd < 0 ? -fd : errno);
		close_fd(&fd);
		return 0;
	}
	while (result == 0 && (errno = 0, entry = readdir(stream)) != NULL)
		result = meet(walk, waiting, &directory, fd, entry->d_name);
	if (result == 0 && errno != 0)
		say(walk, directory.path, errno);
	return result;
}

/* As if each directory were sorted by name and walked into where it stands. */
static int by_path(const void *one, const void *other)
{
	const char *a = ((const struct walk_file *)one)->below, *b = ((const struct walk_file *)other)->below;

	while (*a == *b && *a != '\0') {
		a++;
		b++;
	}
	/* A slash ends a name as the end of the text does. */
	return (*a == '/' ? 0 : (unsigned char)*a) - (*b == '/' ? 0 : (unsigned char)*b);
}

static int open_root(struct walk *walk, char *const *path)
{
	int result = 0;

	if (walk->opened != path) {
		client_close(&walk->root);
		walk->opened = NULL;
		result = client_open(*path, CLIENT_ANY, &walk->root);
		if (result == 0)
			walk->opened = path;
	}
	return result;
}

static int walk_path(struct walk *walk, char *const *path)
{
	CLEANUP(waiting_fini) struct waiting waiting = {0};
	struct walk_file file = {.path = strdup(*path), .root = path};
	size_t before = walk->count;
	int result;

	if (file.path == NULL)
		return -ENOMEM;
	file.below = file.path + strlen(file.path);
	file.size = (uint64_t)walk->root.info.st_size;
	if (S_ISREG(walk->root.info.st_mode))
		return add_file(walk, &file);
	result = append(&waiting.directories, &waiting.count, &file);
	for (size_t i = 0; result == 0 && i < waiting.count; i++)
		result = read_directory(walk, &waiting, i);
	if (walk->count > before)
		qsort(walk->files + before, walk->count - before, sizeof(*walk->files), by_path);
	return result;
}

int walk_paths(char *const *paths, int count, struct walk *ret_walk)
{
	CLEANUP(walk_fini) struct walk walk = WALK_NONE;
	int result = 0;

	/* Nothing is done where one of the words is wrong. */
	for (int i = 0; i < count && result == 0; i++)
		result = open_root(&walk, &paths[i]);
	for (int i = 0; i < count && result == 0; i++) {
		result = open_root(&walk, &paths[i]);
		if (result == 0 && (result = walk_path(&walk, &paths[i])) < 0)
			ctl_say("cannot look for files: %s", strerror(-result));
	}
	if (result < 0)
		return result;
	*ret_walk = walk;
	walk = WALK_NONE;
	return 0;
}

int walk_open(struct walk *walk, const struct walk_file *file, struct client *ret_client)
{
	CLEANUP(close_fd) int seen = -1;
	int result;

	if (*file->below == '\0')
		return client_open(file->path, CLIENT_FILE, ret_client);
	result = open_root(walk, file->root);
	if (result < 0)
		return result;
	seen = open_below(walk->root.fd, file->below, O_PATH | O_CLOEXEC, RESOLVE_NO_XDEV);
	if (seen < 0) {
		say(walk, file->path, -seen);
		return seen;
	}
	return client_open_seen(seen, file->path, CLIENT_FILE, ret_client);
}

void walk_fini(struct walk *walk)
{
	free_list(walk->files, walk->count);
	client_close(&walk->root);
	*walk = WALK_NONE;
}
