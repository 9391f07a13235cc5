/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CTL_CLIENT_H
#define MEMMAPFS_CTL_CLIENT_H

/* An object on a mount that is open, and the questions that its daemon answers. */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

struct client {
	int fd;
	const char *path; /* as the user wrote it; borrowed */
	struct stat info;
};
#define CLIENT_NONE ((struct client){.fd = -1})

enum client_kind { CLIENT_ANY, CLIENT_ROOT, CLIENT_FILE };

/**
 * client_open() - open a path for reading, and see that it is on a mount of memmapfs-fuse
 * @path: borrowed as long as the client
 * @kind: CLIENT_ROOT: the root of a mount; CLIENT_FILE: a regular file
 *
 * Return: 0, or -errno after having said why.
 */
int client_open(const char *path, enum client_kind kind, struct client *ret_client);

/**
 * client_open_seen() - open for reading what a descriptor leads to
 * @seen: O_PATH, of an object on a mount that a client is open on; borrowed
 * @path: to be told; borrowed as long as the client
 *
 * Return: 0, or -errno after having said why.
 */
int client_open_seen(int seen, const char *path, enum client_kind kind, struct client *ret_client);

/** client_say() - say what is wrong with a path. @error: an errno, positive. Return: -@error. */
int client_say(const char *path, int error);

/** client_is_root() - is it the root of a mount? */
bool client_is_root(const struct client *client);

/** client_close() - accepts CLIENT_NONE and what was closed; also as CLEANUP() */
void client_close(struct client *client);

/**
 * client_try() - have a command run
 * @name:     of the table in control.h
 * @value:    what to do, and where; NULL only asks for the value of that name
 * @ret_text: malloc'ed answer, or the reason of a failure; may be empty, never NULL after success
 *
 * Return: 0 or -errno, with nothing said.
 */
int client_try(const struct client *client, const char *name, const char *value, char **ret_text);

/** client_run() - as client_try(), but says what failed */
int client_run(const struct client *client, const char *name, const char *value);

/**
 * client_ask() - as client_try(), for an answer that is JSON; says what failed
 *
 * Return: 0 or -errno.
 */
int client_ask(const struct client *client, const char *name, const char *value, json_t **ret_object);

#endif
