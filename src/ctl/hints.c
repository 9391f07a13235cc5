/* SPDX-License-Identifier: MIT */
/* Commands that are one request a file: advice, locks, eviction, syncs and explanations. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/text.h"
#include "ctl/walk.h"
#include "util.h"

enum ctl_status ctl_advise(const char *const *options, char **operands, int count)
{
	enum ctl_status status = CTL_DONE;

	(void)options;
	for (int i = 1; i < count; i++) {
		CLEANUP(client_close) struct client client = CLIENT_NONE;

		if (client_open(operands[i], CLIENT_FILE, &client) < 0 ||
		    client_run(&client, "advice", operands[0]) < 0)
			status = CTL_FAILED;
	}
	return status;
}

/* Has @each run for every file at and below the operands; goes on after a failure. */
static enum ctl_status each_file(char **operands, int count, int (*each)(const struct client *client, void *),
				 void *context)
{
	CLEANUP(walk_fini) struct walk walk = {0};
	enum ctl_status status;

	if (walk_paths(operands, count, &walk) < 0)
		return CTL_FAILED;
	status = walk.failures > 0 ? CTL_FAILED : CTL_DONE;
	for (size_t i = 0; i < walk.count; i++) {
		CLEANUP(client_close) struct client client = CLIENT_NONE;

		if (client_open(walk.files[i].path, CLIENT_FILE, &client) < 0 || each(&client, context) < 0)
			status = CTL_FAILED;
	}
	return status;
}

static int run_word(const struct client *client, void *name)
{
	return client_run(client, name, "now");
}

enum ctl_status ctl_lock(const char *const *options, char **operands, int count)
{
	(void)options;
	return each_file(operands, count, run_word, (void *)"lock");
}

enum ctl_status ctl_unlock(const char *const *options, char **operands, int count)
{
	(void)options;
	return each_file(operands, count, run_word, (void *)"unlock");
}

struct evicted {
	uint64_t files, stayed;
};

static int evict_one(const struct client *client, void *context)
{
	struct evicted *evicted = context;
	json_t *answer;
	uint64_t resident;
	int result;

	/* The kernel's own cache of the mount first: what is dirty there goes to the daemon. */
	if (fsync(client->fd) < 0) {
		result = -errno;
		ctl_say("sync '%s': %s", client->path, strerror(-result));
		return result;
	}
	posix_fadvise(client->fd, 0, 0, POSIX_FADV_DONTNEED);
	result = client_ask(client, "evict", "now", &answer);
	if (result < 0)
		return result;
	resident = ctl_number(answer, "resident");
	json_decref(answer);
	evicted->stayed += resident;
	evicted->files += resident > 0;
	return 0;
}

enum ctl_status ctl_evict(const char *const *options, char **operands, int count)
{
	struct evicted evicted = {0};
	enum ctl_status status = each_file(operands, count, evict_one, &evicted);
	char stayed[TEXT_SIZE];

	(void)options;
	if (evicted.stayed > 0)
		printf("%s of %llu files stayed: mapped, locked or dirtied by others\n",
		       text_bytes(evicted.stayed, stayed), (unsigned long long)evicted.files);
	return status;
}

static int sync_one(const struct client *client)
{
	/* The kernel hands over what it holds dirty: of the whole mount, or of one file. */
	if ((S_ISDIR(client->info.st_mode) ? syncfs(client->fd) : fsync(client->fd)) < 0) {
		int error = errno;

		ctl_say("sync '%s': %s", client->path, strerror(error));
		return -error;
	}
	return client_run(client, "sync", "now");
}

enum ctl_status ctl_sync(const char *const *options, char **operands, int count)
{
	enum ctl_status status = CTL_DONE;

	(void)options;
	for (int i = 0; i < count; i++) {
		CLEANUP(client_close) struct client client = CLIENT_NONE;

		if (client_open(operands[i], CLIENT_ANY, &client) < 0 || sync_one(&client) < 0)
			status = CTL_FAILED;
	}
	return status;
}

static void print_value(const char *key, const json_t *value)
{
	char buffer[TEXT_SIZE];

	if (json_is_string(value))
		printf("  %-16s %s\n", key, json_string_value(value));
	else if (json_is_integer(value) && (strcmp(key, "windows") == 0 || strcmp(key, "sync_errors") == 0))
		printf("  %-16s %lld\n", key, (long long)json_integer_value(value));
	else if (json_is_integer(value))
		printf("  %-16s %s\n", key, text_bytes((uint64_t)MAX(json_integer_value(value), 0), buffer));
	else if (json_is_boolean(value))
		printf("  %-16s %s\n", key, json_is_true(value) ? "on" : "off");
}

static void print_explanation(const char *path, const json_t *answer)
{
	const char *key, *inner;
	const json_t *value, *option;

	printf("%s\n", path);
	json_object_foreach((json_t *)answer, key, value)
	{
		if (!json_is_object(value)) {
			print_value(key, value);
			continue;
		}
		json_object_foreach((json_t *)value, inner, option) print_value(inner, option);
	}
}

enum ctl_status ctl_explain(const char *const *options, char **operands, int count)
{
	enum ctl_status status = CTL_DONE;

	for (int i = 0; i < count; i++) {
		CLEANUP(client_close) struct client client = CLIENT_NONE;
		json_t *answer;

		if (client_open(operands[i], CLIENT_FILE, &client) < 0 ||
		    client_ask(&client, "file", NULL, &answer) < 0) {
			status = CTL_FAILED;
			continue;
		}
		if (options[0] != NULL) {
			if (ctl_print_json(answer) != CTL_DONE)
				status = CTL_FAILED;
			continue;
		}
		print_explanation(operands[i], answer);
		json_decref(answer);
	}
	return status;
}
