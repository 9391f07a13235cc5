/* SPDX-License-Identifier: MIT */
#include "farewell.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "fs.h"
#include "util.h"

/* Who unmounted in vain, or gave up waiting, has closed the other end. */
static void drop_gone_locked(struct farewell *farewell)
{
	int kept = 0;

	for (int i = 0; i < farewell->count; i++) {
		struct pollfd poll_fd = {.fd = farewell->fds[i], .events = POLLRDHUP};

		if (poll(&poll_fd, 1, 0) > 0)
			close(farewell->fds[i]);
		else
			farewell->fds[kept++] = farewell->fds[i];
	}
	farewell->count = kept;
}

int farewell_promise(struct fs *fs, const char *name, uid_t uid, char **ret_reply)
{
	struct farewell *farewell = &fs->farewell;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(name);
	CLEANUP(close_fd) int fd = -1;

	if (uid != 0 && uid != geteuid()) {
		*ret_reply = strdup("only root and the user who mounted can wait for the end");
		return -EPERM;
	}
	if (length == 0 || length >= sizeof(address.sun_path))
		return -EINVAL;
	memcpy(address.sun_path + 1, name, length);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)) < 0)
		return -errno;
	LOCK_SCOPE(&farewell->lock);
	drop_gone_locked(farewell);
	if (farewell->count == FAREWELL_MAX)
		return -EAGAIN;
	farewell->fds[farewell->count++] = fd;
	fd = -1;
	return 0;
}

void farewell_say(struct fs *fs, int status)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%d\n", status);

	LOCK_SCOPE(&fs->farewell.lock);
	for (int i = 0; i < fs->farewell.count; i++) {
		/* Nobody there any more is no failure; the connection closes when the process ends. */
		if (send(fs->farewell.fds[i], text, (size_t)length, MSG_NOSIGNAL) < 0)
			continue;
	}
}
