/* SPDX-License-Identifier: MIT */
#include "warm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs.h"
#include "log.h"
#include "mapping/paging.h"
#include "profile.h"
#include "util.h"

struct counts {
	unsigned long long files, bytes, skipped;
};

int warm_load(const char *file, json_t **ret_profile, char **ret_error)
{
	CLEANUP(free_pointer) char *error = NULL;
	int result = profile_read(file, ret_profile, &error);

	*ret_error = NULL;
	if (result < 0 &&
	    asprintf(ret_error, "profile '%s': %s", file, error == NULL ? strerror(-result) : error) < 0)
		*ret_error = NULL;
	return result;
}

static bool is_stopped(void *context)
{
	struct fs *fs = context;

	return atomic_load_explicit(&fs->warm.stop, memory_order_relaxed);
}

static void warm_file(struct fs *fs, int root, const json_t *entry, struct counts *counts)
{
	CLEANUP(free_pointer) char *path = profile_path(entry);
	CLEANUP(close_fd) int fd = path == NULL ? -ENOMEM : profile_open(root, path);
	struct mapping_stop stop = {.asked = is_stopped, .context = fs};
	struct stat info;
	const json_t *range;
	size_t i;

	if (fd < 0 || fstat(fd, &info) < 0 || !profile_is_current(entry, &info)) {
		counts->skipped++;
		return;
	}
	json_array_foreach(json_object_get(entry, "ranges"), i, range)
	{
		uint64_t offset = (uint64_t)json_integer_value(json_array_get(range, 0));
		uint64_t length = (uint64_t)json_integer_value(json_array_get(range, 1));

		/* What cannot be read, reading will show. */
		if (file_preload(fd, offset, length, &stop) == 0)
			counts->bytes += length;
	}
	counts->files++;
}

static void *warm_run(void *argument)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct fs *fs = argument;
	struct counts counts = {0};
	const json_t *entry;
	size_t i;
	int result = inode_fd(fs, fs->root, FD_PATH, &use);

	if (result < 0) {
		log_warning("profile: %s", strerror(-result));
		return NULL;
	}
	json_array_foreach(json_object_get(fs->warm.profile, "files"), i, entry)
	{
		if (is_stopped(fs))
			return NULL;
		warm_file(fs, use.fd, entry, &counts);
	}
	log_info("profile: %llu files, %llu bytes brought back; skipped %llu that changed or vanished",
		 counts.files, counts.bytes, counts.skipped);
	return NULL;
}

void warm_start(struct fs *fs)
{
	int result;

	if (fs->warm.profile == NULL)
		return;
	result = pthread_create(&fs->warm.thread, NULL, warm_run, fs);
	fs->warm.started = result == 0;
	if (result != 0)
		log_warning("profile: cannot start a thread: %s", strerror(result));
}

void warm_stop(struct fs *fs)
{
	atomic_store(&fs->warm.stop, true);
	if (fs->warm.started)
		pthread_join(fs->warm.thread, NULL);
	fs->warm.started = false;
	json_decref(fs->warm.profile);
	fs->warm.profile = NULL;
}
