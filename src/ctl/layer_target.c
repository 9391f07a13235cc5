/* SPDX-License-Identifier: MIT */
#include "ctl/layer_target.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#include "ctl/ctl.h"
#include "layer/command.h"
#include "layer/offline.h"
#include "util.h"

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

/* Cuts a path off behind the root of the mount that it is on. */
static void cut_to_root(char *path)
{
	struct statx stx;
	char *slash;

	while (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, 0, &stx) == 0 &&
	       !(stx.stx_attributes & STATX_ATTR_MOUNT_ROOT) && (slash = strrchr(path, '/')) != NULL &&
	       slash[1] != '\0')
		slash[slash == path] = '\0';
}

static int open_offline(const char *path, struct layer_target *target)
{
	CLEANUP(free_pointer) char *error = NULL;
	int result = offline_open(target->path, &target->fs, &error);

	if (result == -ENOTDIR)
		ctl_say("'%s' is neither on a mount of memmapfs-fuse nor the directory of a layer", path);
	else if (result < 0)
		ctl_say("%s%s%s", error == NULL ? path : error, error == NULL ? ": " : "",
			error == NULL ? strerror(-result) : "");
	return result;
}

int layer_target_open(const char *path, struct layer_target *ret_target)
{
	struct layer_target target = LAYER_TARGET_NONE;
	struct statfs info;
	int result;

	target.path = realpath(path, NULL);
	if (target.path == NULL || statfs(target.path, &info) < 0) {
		result = -errno;
		ctl_say("'%s': %s", path, strerror(-result));
	} else if (info.f_type == FUSE_SUPER_MAGIC) {
		cut_to_root(target.path);
		result = client_open(target.path, CLIENT_ROOT, &target.client);
	} else {
		result = open_offline(path, &target);
	}
	if (result < 0)
		layer_target_close(&target);
	else
		*ret_target = target;
	return result;
}

void layer_target_close(struct layer_target *target)
{
	client_close(&target->client);
	offline_close(target->fs);
	free(target->path);
	*target = LAYER_TARGET_NONE;
}

static int ask_offline(const struct layer_target *target, const char *words, json_t **ret_answer)
{
	static const struct layer_stop never = {NULL, NULL};
	CLEANUP(free_pointer) char *text = NULL;
	int result = layer_command(target->fs, words, &never, &text);

	if (result < 0) {
		ctl_say("layer '%s': %s", target->path, text == NULL ? strerror(-result) : text);
		return result;
	}
	*ret_answer = json_loads(text, 0, NULL);
	return *ret_answer == NULL ? -EPROTO : 0;
}

int layer_target_ask(const struct layer_target *target, const char *verb, const char *argument,
		     json_t **ret_answer)
{
	CLEANUP(free_pointer) char *words = NULL;

	if (asprintf(&words, "%s%s%s", verb, *argument == '\0' ? "" : " ", argument) < 0)
		return -ENOMEM;
	return target->fs != NULL ? ask_offline(target, words, ret_answer)
				  : client_ask(&target->client, "layer", words, ret_answer);
}
