/* SPDX-License-Identifier: MIT */
/*
 * Happy path: listen at an abstract socket, have the daemon connect to it (farewell.h), unmount, and wait until
 * it has written its exit status and closed the connection by ending.
 *
 * Failure modes: busy, and nothing has happened; a daemon that closes the connection without a status was
 * killed, and what it had not synced is in the page cache at best; a mount that lives on in another mount
 * namespace, or a bind mount of it, keeps the daemon running, which is said.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/mounts.h"
#include "util.h"

#define CONNECT_MS 5000
#define PATIENCE_MS 10000

/* An abstract socket with a name that nobody guesses; @ret_name has its name without the zero byte. */
static int listen_somewhere(char *ret_name, size_t size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	uint64_t random[2];
	int fd;

	if (getrandom(random, sizeof(random), 0) < 0)
		return -errno;
	snprintf(ret_name, size, "memmapfsctl-%016llx%016llx", (unsigned long long)random[0],
		 (unsigned long long)random[1]);
	memcpy(address.sun_path + 1, ret_name, strlen(ret_name));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(ret_name))) < 0 ||
	    listen(fd, 4) < 0) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd;
}

/* The connection of the daemon, which runs as @user; somebody else's is refused. */
static int accept_from(int listener, uid_t user)
{
	for (;;) {
		struct pollfd ready = {.fd = listener, .events = POLLIN};
		struct ucred peer;
		socklen_t length = sizeof(peer);
		int fd, count = poll(&ready, 1, CONNECT_MS);

		if (count == 0)
			return -ETIMEDOUT;
		fd = count < 0 ? -1 : accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0 && errno == EINTR)
			continue;
		if (fd < 0)
			return -errno;
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
		    (peer.uid == 0 || peer.uid == user))
			return fd;
		close(fd);
	}
}

/* Who mounted it: the newest mount on that point is the one to go. */
static int mounted_by(const char *point, uid_t *ret_user)
{
	struct mount *mounts;
	size_t count;
	int result = mounts_read("/proc/self/mountinfo", &mounts, &count);

	if (result < 0)
		return result;
	*ret_user = getuid();
	for (size_t i = 0; i < count; i++) {
		if (strcmp(mounts[i].point, point) == 0)
			*ret_user = mounts[i].user;
	}
	mounts_free(mounts, count);
	return 0;
}

static int promise(const struct client *client, const char *point)
{
	CLEANUP(close_fd) int listener = -1;
	char name[64];
	uid_t user;
	int result = mounted_by(point, &user);

	if (result == 0)
		result = listener = listen_somewhere(name, sizeof(name));
	if (result < 0) {
		ctl_say("cannot listen for the daemon: %s", strerror(-result));
		return result;
	}
	result = client_run(client, "farewell", name);
	if (result == -ECONNREFUSED)
		ctl_say("the daemon of '%s' is in another network namespace: its end cannot be waited for "
			"from here",
			point);
	if (result < 0)
		return result;
	result = accept_from(listener, user);
	if (result < 0)
		ctl_say("the daemon of '%s' does not answer: %s", point, strerror(-result));
	return result;
}

/* Only the set-user-id helper may unmount for ordinary users. */
static int unmount_by_helper(const char *point)
{
	const char *words[] = {"fusermount3", "-u", "--", point, NULL};
	pid_t child;
	int status, error = posix_spawnp(&child, words[0], NULL, NULL, (char **)words, environ);

	if (error != 0) {
		ctl_say("cannot run fusermount3: %s", strerror(error));
		return -error;
	}
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	/* It has said why. */
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

static int unmount(const char *point)
{
	if (geteuid() != 0)
		return unmount_by_helper(point);
	if (umount2(point, UMOUNT_NOFOLLOW) == 0)
		return 0;
	ctl_say("umount '%s': %s", point, strerror(errno));
	return -errno;
}

static enum ctl_status judge(const char *point, const char *said)
{
	if (strcmp(said, "0\n") == 0)
		return CTL_DONE;
	if (*said == '\0')
		ctl_say("the daemon of '%s' ended without saying that everything is on disk", point);
	else
		ctl_say("the daemon of '%s' ended with status %d: not everything is on disk; its log says "
			"what",
			point, atoi(said));
	return CTL_FAILED;
}

/* The process at the other end, which lives: a pidfd, or -1 where it is in another PID namespace. */
static int process_of(int connection)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 || peer.pid <= 0)
		return -1;
	return (int)syscall(SYS_pidfd_open, peer.pid, 0);
}

/* The connection is closed a moment before the process is gone. */
static void await_exit(int process)
{
	struct pollfd gone = {.fd = process, .events = POLLIN};

	while (process >= 0 && poll(&gone, 1, -1) < 0 && errno == EINTR)
		continue;
}

static enum ctl_status await_end(const char *point, int connection, int process)
{
	char said[16] = "";
	size_t length = 0;
	int patience = PATIENCE_MS;

	for (;;) {
		struct pollfd ready = {.fd = connection, .events = POLLIN};
		int count = poll(&ready, 1, patience);
		ssize_t got;

		if (count == 0) {
			ctl_say("still waiting for the daemon of '%s': it syncs, or the mount is in use "
				"elsewhere (another mount namespace, a bind mount)",
				point);
			patience = -1;
			continue;
		}
		got = count < 0 ? -1 : read(connection, said + length, sizeof(said) - 1 - length);
		if (got < 0 && errno == EINTR)
			continue;
		/* A reset is an end as well. */
		if (got <= 0) {
			await_exit(process);
			return judge(point, said);
		}
		length += (size_t)got;
	}
}

enum ctl_status ctl_umount(const char *const *options, char **operands, int count)
{
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	CLEANUP(free_pointer) char *point = NULL;
	CLEANUP(close_fd) int connection = -1, process = -1;

	(void)options;
	(void)count;
	if (client_open(operands[0], CLIENT_ROOT, &client) < 0)
		return CTL_FAILED;
	point = realpath(operands[0], NULL);
	if (point == NULL) {
		ctl_say("'%s': %s", operands[0], strerror(errno));
		return CTL_FAILED;
	}
	connection = promise(&client, point);
	if (connection < 0)
		return CTL_FAILED;
	process = process_of(connection);
	/* What we hold open would keep it busy. */
	client_close(&client);
	if (unmount(point) < 0)
		return CTL_FAILED;
	return await_end(point, connection, process);
}
