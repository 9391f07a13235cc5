/* SPDX-License-Identifier: MIT */
/* profile save and profile load: residency of a whole mount, noted and brought back. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "below.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/preload.h"
#include "ctl/text.h"
#include "ctl/walk.h"
#include "profile.h"
#include "util.h"

/* All runs of a file; the daemon answers as many at a time as fit. */
static int ask_runs(const struct client *client, json_t **ret_ranges)
{
	json_t *ranges = json_array();
	uint64_t at = 0, size = (uint64_t)client->info.st_size;

	while (at < size) {
		char value[80];
		json_t *answer;
		uint64_t next;
		int result;

		snprintf(value, sizeof(value), "%llu:%llu", (unsigned long long)at,
			 (unsigned long long)(size - at));
		result = client_ask(client, "runs", value, &answer);
		if (result < 0) {
			json_decref(ranges);
			return result;
		}
		json_array_extend(ranges, json_object_get(answer, "runs"));
		next = ctl_number(answer, "next");
		json_decref(answer);
		if (next <= at)
			break;
		at = next;
	}
	*ret_ranges = ranges;
	return 0;
}

/* One file; -errno after having said why. */
static int save_file(json_t *profile, struct walk *walk, const struct walk_file *file)
{
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	json_t *ranges;
	int result = walk_open(walk, file, &client);

	if (result < 0)
		return result;
	result = ask_runs(&client, &ranges);
	if (result < 0)
		return result;
	if (json_array_size(ranges) == 0) {
		json_decref(ranges);
		return 0;
	}
	return profile_add(profile, file->below, &client.info, ranges);
}

enum ctl_status ctl_profile_save(const char *const *options, char **operands, int count)
{
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	CLEANUP(walk_fini) struct walk walk = WALK_NONE;
	enum ctl_status status;
	char bytes[TEXT_SIZE];
	json_t *profile;
	int result;

	(void)options;
	(void)count;
	if (client_open(operands[1], CLIENT_ROOT, &client) < 0 || walk_paths(&operands[1], 1, &walk) < 0)
		return CTL_FAILED;
	status = walk.failures > 0 ? CTL_FAILED : CTL_DONE;
	profile = profile_new();
	for (size_t i = 0; i < walk.count; i++) {
		if (save_file(profile, &walk, &walk.files[i]) < 0)
			status = CTL_FAILED;
	}
	result = profile_write(profile, operands[0]);
	if (result < 0) {
		ctl_say("cannot write '%s': %s", operands[0], strerror(-result));
		status = CTL_FAILED;
	} else {
		printf("%zu of %zu files, %s\n", json_array_size(json_object_get(profile, "files")),
		       walk.count, text_bytes(profile_bytes(profile), bytes));
	}
	json_decref(profile);
	return status;
}

struct loading {
	const char *mount;
	int root; /* @mount, open; borrowed */
	struct progress progress;
	size_t loaded, skipped, failed;
	uint64_t bytes;
};

/* The kernel's pages reach past the last byte of a file; a request may not. */
static int load_ranges(struct loading *loading, const struct client *client, const json_t *entry)
{
	const json_t *range;
	size_t i;

	json_array_foreach(json_object_get(entry, "ranges"), i, range)
	{
		uint64_t offset = (uint64_t)json_integer_value(json_array_get(range, 0));
		uint64_t length = (uint64_t)json_integer_value(json_array_get(range, 1));
		int result;

		length = MIN(length, (uint64_t)client->info.st_size - offset);
		result = preload_range(client, offset, length, &loading->progress);
		if (result < 0)
			return result;
		loading->bytes += length;
	}
	return 0;
}

static void load_file(struct loading *loading, const json_t *entry)
{
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	CLEANUP(free_pointer) char *relative = profile_path(entry), *path = NULL;
	CLEANUP(close_fd) int seen = -1;
	struct stat info;
	int result;

	if (relative == NULL || asprintf(&path, "%s/%s", loading->mount, relative) < 0) {
		loading->failed++;
		return;
	}
	seen = open_below(loading->root, relative, O_PATH | O_CLOEXEC, RESOLVE_NO_XDEV);
	/* Looked at before it is opened: what is gone or another file now is no failure. */
	if (seen < 0 || fstat(seen, &info) < 0 || !profile_is_current(entry, &info)) {
		loading->skipped++;
		return;
	}
	result = client_open_seen(seen, path, CLIENT_FILE, &client);
	if (result == 0)
		result = load_ranges(loading, &client, entry);
	if (result == -ENODATA)
		loading->skipped++;
	else if (result < 0)
		loading->failed++;
	else
		loading->loaded++;
}

enum ctl_status ctl_profile_load(const char *const *options, char **operands, int count)
{
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	CLEANUP(free_pointer) char *error = NULL;
	struct loading loading = {.mount = operands[1]};
	const json_t *entry;
	char bytes[TEXT_SIZE];
	json_t *profile;
	size_t i;
	int result;

	(void)count;
	if (client_open(operands[1], CLIENT_ROOT, &client) < 0)
		return CTL_FAILED;
	result = profile_read(operands[0], &profile, &error);
	if (result < 0) {
		ctl_say("'%s': %s", operands[0], error == NULL ? strerror(-result) : error);
		return CTL_FAILED;
	}
	loading.root = client.fd;
	progress_begin(&loading.progress, options[0] != NULL, profile_bytes(profile));
	json_array_foreach(json_object_get(profile, "files"), i, entry) load_file(&loading, entry);
	progress_end(&loading.progress);
	json_decref(profile);
	printf("%zu files, %s; skipped %zu that changed or vanished\n", loading.loaded,
	       text_bytes(loading.bytes, bytes), loading.skipped);
	return loading.failed > 0 ? CTL_FAILED : CTL_DONE;
}
