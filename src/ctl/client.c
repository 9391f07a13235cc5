/* SPDX-License-Identifier: MIT */
#include "ctl/client.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

#include "control_protocol.h"
#include "ctl/ctl.h"
#include "util.h"

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

static int say_foreign(const char *path)
{
	ctl_say("'%s' is not on a mount of memmapfs-fuse", path);
	return -ENOTTY;
}

int client_say(const char *path, int error)
{
	if (error == ENOTCONN)
		ctl_say("'%s': the daemon of this mount is gone", path);
	else
		ctl_say("'%s': %s", path, strerror(error));
	return -error;
}

/* Does a daemon that understands us serve it? Any name will do for that; this one every daemon has. */
static int check_daemon(const struct client *client)
{
	CLEANUP(free_pointer) char *text = NULL;
	int result = client_try(client, "stats", NULL, &text);

	if (result == 0 || result == -ENODATA)
		return 0;
	if (result == -ENOTTY || result == -ENOSYS || result == -EINVAL || result == -EOPNOTSUPP)
		return say_foreign(client->path);
	return client_say(client->path, -result);
}

bool client_is_root(const struct client *client)
{
	struct statx stx;

	return statx(client->fd, "", AT_EMPTY_PATH, 0, &stx) == 0 &&
	       (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

static int check_kind(const struct client *client, enum client_kind kind)
{
	if (kind == CLIENT_FILE && !S_ISREG(client->info.st_mode)) {
		ctl_say("'%s' is not a regular file", client->path);
		return -EINVAL;
	}
	if (kind == CLIENT_ROOT && !client_is_root(client)) {
		ctl_say("'%s' is not the mount point itself", client->path);
		return -EINVAL;
	}
	return 0;
}

/* Looked at before it is opened for reading: opening a device or a pipe of somebody's may do things. */
static int open_seen(struct client *client, int seen)
{
	char again[32];

	if (fstat(seen, &client->info) < 0)
		return client_say(client->path, errno);
	if (!S_ISREG(client->info.st_mode) && !S_ISDIR(client->info.st_mode)) {
		ctl_say("'%s' is neither a regular file nor a directory", client->path);
		return -EINVAL;
	}
	/* By the descriptor: something else may stand at the path by now. */
	snprintf(again, sizeof(again), "/proc/self/fd/%d", seen);
	client->fd = open(again, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	return client->fd < 0 ? client_say(client->path, errno) : 0;
}

int client_open(const char *path, enum client_kind kind, struct client *ret_client)
{
	CLEANUP(client_close) struct client client = {.fd = -1, .path = path};
	CLEANUP(close_fd) int seen = -1;
	struct statfs fs;
	int result;

	/* What waits to be mounted is mounted by the first call, and not by the next ones. */
	if (statfs(path, &fs) < 0 || (seen = open(path, O_PATH | O_CLOEXEC)) < 0 || fstatfs(seen, &fs) < 0)
		return client_say(path, errno);
	if (fs.f_type != FUSE_SUPER_MAGIC)
		return say_foreign(path);
	result = open_seen(&client, seen);
	if (result == 0)
		result = check_daemon(&client);
	if (result == 0)
		result = check_kind(&client, kind);
	if (result < 0)
		return result;
	*ret_client = client;
	client = CLIENT_NONE;
	return 0;
}

int client_open_seen(int seen, const char *path, enum client_kind kind, struct client *ret_client)
{
	CLEANUP(client_close) struct client client = {.fd = -1, .path = path};
	int result = open_seen(&client, seen);

	if (result == 0)
		result = check_kind(&client, kind);
	if (result < 0)
		return result;
	*ret_client = client;
	client = CLIENT_NONE;
	return 0;
}

void client_close(struct client *client)
{
	close_fd(&client->fd);
}

int client_try(const struct client *client, const char *name, const char *value, char **ret_text)
{
	CLEANUP(free_pointer) struct control_message *message = calloc(1, sizeof(*message));
	size_t length = value == NULL ? 0 : strlen(value);
	int result;

	if (message == NULL)
		return -ENOMEM;
	if (strlen(name) >= sizeof(message->name) || length >= sizeof(message->text))
		return -E2BIG;
	memcpy(message->name, name, strlen(name));
	message->operation = value == NULL ? CONTROL_GET : CONTROL_SET;
	message->length = (uint32_t)length;
	if (value != NULL)
		memcpy(message->text, value, length);
	do {
		result = ioctl(client->fd, CONTROL_IOCTL, message);
	} while (result < 0 && errno == EINTR);
	if (result < 0)
		return -errno;
	message->text[sizeof(message->text) - 1] = '\0';
	*ret_text = strdup(message->text);
	if (message->status == 0 && message->length >= sizeof(message->text))
		return -EMSGSIZE;
	return message->status != 0 ? -message->status : *ret_text == NULL ? -ENOMEM : 0;
}

static int say_failure(const struct client *client, const char *name, int result, const char *text)
{
	if (result == -ENOTCONN)
		return client_say(client->path, ENOTCONN);
	if (text != NULL && *text != '\0')
		ctl_say("%s '%s': %s", name, client->path, text);
	else
		ctl_say("%s '%s': %s", name, client->path, strerror(-result));
	return result;
}

int client_run(const struct client *client, const char *name, const char *value)
{
	CLEANUP(free_pointer) char *text = NULL;
	int result = client_try(client, name, value, &text);

	return result < 0 ? say_failure(client, name, result, text) : 0;
}

int client_ask(const struct client *client, const char *name, const char *value, json_t **ret_object)
{
	CLEANUP(free_pointer) char *text = NULL;
	int result = client_try(client, name, value, &text);
	json_error_t error;
	json_t *object;

	if (result < 0)
		return say_failure(client, name, result, text);
	object = json_loads(text, 0, &error);
	if (object == NULL)
		return say_failure(client, name, -EPROTO, NULL);
	*ret_object = object;
	return 0;
}
