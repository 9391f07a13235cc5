/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CTL_LAYER_TARGET_H
#define MEMMAPFS_CTL_LAYER_TARGET_H

/*
 * A layer that a command is about: that of a running mount, whose daemon is asked, or a kept one that nobody has
 * mounted, which is opened here. Both answer the words of layer/command.h.
 */

#include <jansson.h>

#include "ctl/client.h"

struct fs;

struct layer_target {
	char *path;	      /* the mount's root or the layer's directory */
	struct client client; /* of a mount */
	struct fs *fs;	      /* of a kept layer; NULL: of a mount */
};
#define LAYER_TARGET_NONE ((struct layer_target){.client = {.fd = -1}})

/**
 * layer_target_open() - open the layer that a path stands for
 * @path: anything on a mount, or the directory of a kept layer
 *
 * Return: 0, or -errno after having said why.
 */
int layer_target_open(const char *path, struct layer_target *ret_target);

/** layer_target_close() - accepts LAYER_TARGET_NONE; also as CLEANUP() */
void layer_target_close(struct layer_target *target);

/**
 * layer_target_ask() - have words of layer/command.h answered
 * @argument: what follows the verb; may be empty
 *
 * Return: 0, or -errno after having said what failed.
 */
int layer_target_ask(const struct layer_target *target, const char *verb, const char *argument,
		     json_t **ret_answer);

#endif
