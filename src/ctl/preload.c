/* SPDX-License-Identifier: MIT */
#include "ctl/preload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/walk.h"
#include "mapping/residency.h"
#include "util.h"

/* Long enough for the daemon to read it at the disk's speed, short enough to tell of. */
#define PIECE (UINT64_C(32) << 20)

static bool has_shrunk(const struct client *client, uint64_t end)
{
	struct stat info;

	return fstat(client->fd, &info) == 0 && (uint64_t)info.st_size < end;
}

/* Where there is something to read: long holes are left out, as the daemon does. */
static uint64_t past_hole(const struct client *client, uint64_t offset, uint64_t end)
{
	off_t found = lseek(client->fd, (off_t)offset, SEEK_DATA);
	uint64_t data = found >= 0 ? MIN((uint64_t)found, end) : errno == ENXIO ? end : offset;

	return data - offset > LONG_HOLE ? data : offset;
}

int preload_range(const struct client *client, uint64_t offset, uint64_t length, struct progress *progress)
{
	uint64_t end = offset + length;

	while (offset < end) {
		CLEANUP(free_pointer) char *text = NULL;
		uint64_t piece = MIN(end - offset, PIECE), next = offset + piece;
		uint64_t data = past_hole(client, offset, end);
		char value[80];
		int result;

		if (data > offset) {
			progress_add(progress, data - offset);
			offset = data;
			continue;
		}
		snprintf(value, sizeof(value), "now:%llu:%llu", (unsigned long long)offset,
			 (unsigned long long)piece);
		result = client_try(client, "preload", value, &text);
		if (result < 0 && has_shrunk(client, end))
			return -ENODATA;
		if (result < 0) {
			ctl_say("preload '%s': %s", client->path,
				text != NULL && *text != '\0' ? text : strerror(-result));
			return result;
		}
		offset = next;
		progress_add(progress, piece);
	}
	return 0;
}

enum ctl_status ctl_preload(const char *const *options, char **operands, int count)
{
	CLEANUP(walk_fini) struct walk walk = WALK_NONE;
	struct progress progress;
	enum ctl_status status;

	if (walk_paths(operands, count, &walk) < 0)
		return CTL_FAILED;
	status = walk.failures > 0 ? CTL_FAILED : CTL_DONE;
	progress_begin(&progress, options[0] != NULL, walk.bytes);
	for (size_t i = 0; i < walk.count; i++) {
		CLEANUP(client_close) struct client client = CLIENT_NONE;
		int result = walk_open(&walk, &walk.files[i], &client);

		if (result == 0)
			result = preload_range(&client, 0, (uint64_t)client.info.st_size, &progress);
		if (result < 0 && result != -ENODATA)
			status = CTL_FAILED;
	}
	progress_end(&progress);
	return status;
}
