/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_WARM_H
#define MEMMAPFS_WARM_H

/*
 * -o profile=: bring back, once the mount serves, what a profile says was in memory. It reads BACKING's files
 * itself, in a thread of its own, so that neither requests nor syncs wait for it.
 */

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct fs;

struct warm {
	json_t *profile; /* NULL: none; consumed by the thread */
	bool started;
	_Atomic bool stop;
	pthread_t thread;
};

/**
 * warm_load() - read the profile that the options name, before anything else is done
 * @file:        path
 * @ret_profile: released by warm_stop(), or with json_decref()
 * @ret_error:   one malloc'ed line for the user, or NULL without memory
 *
 * Return: 0 or -errno.
 */
int warm_load(const char *file, json_t **ret_profile, char **ret_error);

/** warm_start() - begin; the mount serves. A failure is logged and nothing more. */
void warm_start(struct fs *fs);

/** warm_stop() - end it, and release the profile; also where it was never begun */
void warm_stop(struct fs *fs);

#endif
