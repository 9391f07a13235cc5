/* SPDX-License-Identifier: MIT */
#include "layer/command.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "fs.h"
#include "json_name.h"
#include "layer/checkpoint.h"
#include "layer/commit.h"
#include "layer/discard.h"
#include "layer/keep.h"
#include "layer/layer.h"
#include "layer/report.h"
#include "layer/stack.h"
#include "sync.h"
#include "util.h"

struct verb {
	const char *name;
	int (*run)(struct fs *fs, const char *argument, const struct layer_stop *stop, char **ret_reply);
};

static int run_info(struct fs *fs, const char *argument, const struct layer_stop *stop, char **ret_reply)
{
	(void)argument;
	(void)stop;
	return report_info(fs, ret_reply);
}

static int run_status(struct fs *fs, const char *argument, const struct layer_stop *stop, char **ret_reply)
{
	(void)stop;
	return report_status(fs, argument, ret_reply);
}

static int run_diff(struct fs *fs, const char *argument, const struct layer_stop *stop, char **ret_reply)
{
	(void)stop;
	return report_diff(fs, argument, ret_reply);
}

static int run_ranges(struct fs *fs, const char *argument, const struct layer_stop *stop, char **ret_reply)
{
	(void)stop;
	return report_ranges(fs, argument, ret_reply);
}

/* The next of PATHS, malloc'ed, or NULL after the last. */
static char *next_path(const char **paths)
{
	const char *from = *paths;
	char *path, *to;

	if (*from == '\0')
		return NULL;
	path = to = malloc(strlen(from) + 1);
	for (; to != NULL && *from != '\0' && *from != '\n'; from++) {
		if (*from == '\\' && (from[1] == 'n' || from[1] == '\\'))
			*to++ = *++from == 'n' ? '\n' : '\\';
		else
			*to++ = *from;
	}
	if (to != NULL)
		*to = '\0';
	*paths = from + (*from == '\n');
	return path;
}

/* Calls a command with the paths of its argument. */
static int with_paths(const char *argument, int (*call)(void *context, char *const *paths, size_t count),
		      void *context)
{
	char **paths = NULL, *path;
	size_t count = 0;
	int result = 0;

	while (result == 0 && (path = next_path(&argument)) != NULL) {
		char **more = reallocarray(paths, count + 1, sizeof(paths[0]));

		if (more == NULL) {
			free(path);
			result = -ENOMEM;
			break;
		}
		paths = more;
		paths[count++] = path;
	}
	if (result == 0)
		result = call(context, paths, count);
	for (size_t i = 0; i < count; i++)
		free(paths[i]);
	free(paths);
	return result;
}

struct call {
	struct fs *fs;
	bool force;
	const struct layer_stop *stop;
	char **ret_reply;
};

static int call_discard(void *context, char *const *paths, size_t count)
{
	struct call *call = context;

	return layer_discard(call->fs, paths, count, call->ret_reply);
}

static int call_commit(void *context, char *const *paths, size_t count)
{
	struct call *call = context;

	return layer_commit(call->fs, paths, count, call->force, call->stop, call->ret_reply);
}

static int run_commit(struct fs *fs, const char *argument, const struct layer_stop *stop, char **ret_reply)
{
	struct call call = {fs, false, stop, ret_reply};

	return with_paths(argument, call_commit, &call);
}

static int run_overwrite(struct fs *fs, const char *argument, const struct layer_stop *stop, char **ret_reply)
{
	struct call call = {fs, true, stop, ret_reply};

	return with_paths(argument, call_commit, &call);
}

static int run_progress(struct fs *fs, const char *argument, const struct layer_stop *stop, char **ret_reply)
{
	(void)argument;
	(void)stop;
	return layer_commit_progress(fs, ret_reply);
}

static int run_discard(struct fs *fs, const char *argument, const struct layer_stop *stop, char **ret_reply)
{
	struct call call = {fs, false, stop, ret_reply};

	return with_paths(argument, call_discard, &call);
}

/* What the page files have is synced first, while the mount goes on; memmapfsctl has the kernel hand over the rest. */
static int run_checkpoint(struct fs *fs, const char *argument, const struct layer_stop *stop,
			  char **ret_reply)
{
	CLEANUP(free_pointer) char *said = NULL;
	json_t *answer;
	int result;

	(void)stop;
	if (*argument != '/')
		return home_refuse(ret_reply, -EINVAL, "a checkpoint needs an absolute path");
	if (keep_commit_noted(fs, NULL, NULL) > 0)
		return home_refuse(ret_reply, -EBUSY, "a commit was interrupted; repeat it first");
	result = sync_all(fs, true);
	if (result < 0)
		return home_refuse(ret_reply, result, "sync: %s; the log says which files",
				   strerror(-result));
	result = checkpoint_live(fs, argument, &said);
	if (result == 0) {
		/* It is done, and yet there may be something to say. */
		answer = json_pack("{so so}", "base", json_name(argument), "warning",
				   said == NULL ? json_null() : json_name(said));
		*ret_reply = answer == NULL ? NULL : json_dumps(answer, JSON_COMPACT);
		json_decref(answer);
		return *ret_reply == NULL ? -ENOMEM : 0;
	}
	*ret_reply = said;
	said = NULL;
	return result;
}

static const struct verb verbs[] = {
	{"info", run_info},	      {"status", run_status},	  {"diff", run_diff},
	{"ranges", run_ranges},	      {"discard", run_discard},	  {"commit", run_commit},
	{"overwrite", run_overwrite}, {"progress", run_progress}, {"checkpoint", run_checkpoint},
};

int layer_command(struct fs *fs, const char *words, const struct layer_stop *stop, char **ret_reply)
{
	size_t length = strcspn(words, " ");
	const char *argument = words + length + (words[length] == ' ');

	*ret_reply = NULL;
	if (fs->layer == NULL) {
		*ret_reply = strdup("the mount has no layer: it is not one of mode=cow");
		return -EOPNOTSUPP;
	}
	for (size_t i = 0; i < ARRAY_LENGTH(verbs); i++) {
		if (strlen(verbs[i].name) == length && strncmp(verbs[i].name, words, length) == 0)
			return verbs[i].run(fs, argument, stop, ret_reply);
	}
	if (asprintf(ret_reply, "'%.*s' is nothing that a layer can do", (int)length, words) < 0)
		*ret_reply = NULL;
	return -EINVAL;
}
