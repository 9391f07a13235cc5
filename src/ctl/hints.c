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
	CLEANUP(walk_fini) struct walk walk = WALK_NONE;
	enum ctl_status status;

	if (walk_paths(operands, count, &walk) < 0)
		return CTL_FAILED;
	status = walk.failures > 0 ? CTL_FAILED : CTL_DONE;
	for (size_t i = 0; i < walk.count; i++) {
		CLEANUP(client_close) struct client client = CLIENT_NONE;

		if (walk_open(&walk, &walk.files[i], &client) < 0 || each(&client, context) < 0)
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
	uint64_t files, stayed, untold;
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
	evicted->untold += json_is_null(json_object_get(answer, "resident"));
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
	if (evicted.untold > 0)
		printf("of %llu files the kernel does not tell what stayed\n",
		       (unsigned long long)evicted.untold);
	return status;
}

static int sync_one(const struct client *client)
{
	if (S_ISDIR(client->info.st_mode) && !client_is_root(client)) {
		ctl_say("'%s' is neither a file nor a mount point", client->path);
		return -EINVAL;
	}
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

/* What of the file is where, below its policy. */
static void print_figures(const json_t *figures)
{
	static const char *const sizes[] = {"mapped", "resident", "dirty", "locked"};
	char bytes[TEXT_SIZE];

	printf("  %-18s %llu\n", "windows", (unsigned long long)ctl_number(figures, "windows"));
	for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++)
		printf("  %-18s %s\n", sizes[i],
		       json_is_null(json_object_get(figures, sizes[i]))
			       ? "not told by the kernel"
			       : text_bytes(ctl_number(figures, sizes[i]), bytes));
	printf("  %-18s %llu\n", "sync errors", (unsigned long long)ctl_number(figures, "sync_errors"));
}

static const char *string_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text == NULL ? "" : text;
}

static void print_explanation(const char *path, const json_t *answer, const json_t *figures)
{
	CLEANUP(free_pointer) char *shown = text_fit(path, SIZE_MAX);
	const char *name;
	const json_t *option;

	printf("%s\n", shown == NULL ? "?" : shown);
	json_object_foreach(json_object_get(answer, "policy"), name, option)
		printf("  %-18s %-16s %s\n", name, string_of(option, "value"), string_of(option, "from"));
	print_figures(figures);
}

static int explain(const struct client *client, json_t **ret_answer, json_t **ret_figures)
{
	json_t *answer, *figures;
	int result = client_ask(client, "explain", NULL, &answer);

	if (result < 0)
		return result;
	result = client_ask(client, "file", NULL, &figures);
	if (result < 0) {
		json_decref(answer);
		return result;
	}
	*ret_answer = answer;
	*ret_figures = figures;
	return 0;
}

enum ctl_status ctl_explain(const char *const *options, char **operands, int count)
{
	enum ctl_status status = CTL_DONE;

	for (int i = 0; i < count; i++) {
		CLEANUP(client_close) struct client client = CLIENT_NONE;
		json_t *answer, *figures;

		if (client_open(operands[i], CLIENT_FILE, &client) < 0 ||
		    explain(&client, &answer, &figures) < 0) {
			status = CTL_FAILED;
			continue;
		}
		if (options[0] != NULL) {
			json_object_update_missing(answer, figures);
			if (ctl_print_json(json_incref(answer)) != CTL_DONE)
				status = CTL_FAILED;
		} else {
			print_explanation(operands[i], answer, figures);
		}
		json_decref(answer);
		json_decref(figures);
	}
	return status;
}
