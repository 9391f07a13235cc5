/* SPDX-License-Identifier: MIT */
/* layer checkpoint: of the layer of a mount by its daemon, of one that nobody has mounted here. */
#include <errno.h>
#include <libgen.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "layer/checkpoint.h"
#include "util.h"

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

/* The daemon has another working directory. The last component need not be there; malloc'ed or NULL. */
static char *absolute(const char *path)
{
	CLEANUP(free_pointer) char *copy = strdup(path), *other = strdup(path), *parent = NULL;
	const char *name;
	char *result;

	if (copy == NULL || other == NULL)
		return NULL;
	name = basename(other);
	if (*name == '\0' || strcmp(name, "/") == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		errno = EEXIST;
		return NULL;
	}
	parent = realpath(dirname(copy), NULL);
	if (parent == NULL || asprintf(&result, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, name) < 0)
		return NULL;
	return result;
}

static enum ctl_status run_live(const char *target, const char *path)
{
	CLEANUP(client_close) struct client client = CLIENT_NONE;

	if (client_open(target, CLIENT_ROOT, &client) < 0)
		return CTL_FAILED;
	return client_run(&client, "checkpoint", path) < 0 ? CTL_FAILED : CTL_DONE;
}

static enum ctl_status run_offline(const char *target, const char *path)
{
	CLEANUP(free_pointer) char *error = NULL;
	int result = checkpoint_offline(target, path, &error);

	if (result < 0 || error != NULL)
		ctl_say("%s", error == NULL ? strerror(-result) : error);
	return result < 0 || error != NULL ? CTL_FAILED : CTL_DONE;
}

enum ctl_status ctl_layer_checkpoint(const char *const *options, char **operands, int count)
{
	CLEANUP(free_pointer) char *path = absolute(operands[1]);
	struct statfs info;

	(void)options;
	(void)count;
	if (path == NULL || statfs(operands[0], &info) < 0) {
		ctl_say("'%s': %s", operands[path == NULL], strerror(errno));
		return CTL_FAILED;
	}
	return info.f_type == FUSE_SUPER_MAGIC ? run_live(operands[0], path) : run_offline(operands[0], path);
}
