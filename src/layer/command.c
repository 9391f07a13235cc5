/* SPDX-License-Identifier: MIT */
#include "layer/command.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs.h"
#include "layer/report.h"
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

static const struct verb verbs[] = {
	{"info", run_info},
	{"status", run_status},
	{"diff", run_diff},
	{"ranges", run_ranges},
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
