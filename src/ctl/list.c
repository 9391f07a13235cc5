/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/mounts.h"
#include "ctl/text.h"
#include "json_name.h"
#include "util.h"

#define PATIENCE_MS 2000

/* The errno of asking, to standard input, which is all that the process has open. */
static _Noreturn void ask(const char *point, int answers)
{
	struct statx stx;
	int error = 0;

	if (dup2(answers, STDIN_FILENO) < 0 || close_range(STDIN_FILENO + 1, UINT_MAX, 0) < 0)
		_exit(1);
	if (statx(AT_FDCWD, point, AT_STATX_FORCE_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &stx) < 0)
		error = errno;
	_exit(write(STDIN_FILENO, &error, sizeof(error)) != sizeof(error));
}

/*
 * Asked by a process of its own: a daemon that hangs would take us with it. Who waits for one can often not even be
 * killed; such a process is left behind.
 *
 * Return: the errno, -ETIMEDOUT where no answer came, or another -errno where nobody could be asked.
 */
static int asked(const char *point)
{
	struct pollfd answers = {.events = POLLIN};
	int fds[2], error = -ETIMEDOUT;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		ask(point, fds[1]);
	close(fds[1]);
	answers.fd = fds[0];
	if (pid < 0)
		error = -EAGAIN;
	else if (poll(&answers, 1, PATIENCE_MS) > 0 && read(fds[0], &error, sizeof(error)) != sizeof(error))
		error = -EIO;
	close(fds[0]);
	if (pid > 0 && error == -ETIMEDOUT)
		kill(pid, SIGKILL);
	else if (pid > 0)
		waitpid(pid, NULL, 0);
	return error;
}

static const char *state_of(const char *point)
{
	switch (asked(point)) {
	case ENOTCONN:
	case ECONNABORTED:
		return "dead";
	case 0:
	case EACCES: /* answered by the kernel: another user's mount */
		return "serving";
	case -ETIMEDOUT:
		return "silent";
	default:
		return "unknown";
	}
}

static enum ctl_status print_json(const struct mount *mounts, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(array,
				      json_pack("{so so ss sb sI}", "mountpoint", json_name(mounts[i].point),
						"backing", json_name(mounts[i].backing), "state",
						state_of(mounts[i].point), "read_only", mounts[i].read_only,
						"user", (json_int_t)mounts[i].user));
	return ctl_print_json(array);
}

/* The name is made presentable in place. */
static void print_name(char *name, int width)
{
	text_clean(name);
	printf("%-*s  ", width, name);
}

static void print_table(struct mount *mounts, size_t count)
{
	size_t width = strlen("MOUNT POINT");

	if (count == 0)
		return;
	for (size_t i = 0; i < count; i++)
		width = MAX(width, strlen(mounts[i].point));
	printf("%-*s  %-8s %-4s %s\n", (int)width, "MOUNT POINT", "STATE", "", "BACKING");
	for (size_t i = 0; i < count; i++) {
		const char *state = state_of(mounts[i].point);

		print_name(mounts[i].point, (int)width);
		printf("%-8s %-4s ", state, mounts[i].read_only ? "ro" : "rw");
		print_name(mounts[i].backing, 0);
		putchar('\n');
	}
}

enum ctl_status ctl_list(const char *const *options, char **operands, int count)
{
	struct mount *mounts;
	size_t mount_count;
	enum ctl_status status = CTL_DONE;
	int result = mounts_read("/proc/self/mountinfo", &mounts, &mount_count);

	(void)operands;
	(void)count;
	if (result < 0) {
		ctl_say("'/proc/self/mountinfo': %s", strerror(-result));
		return CTL_FAILED;
	}
	if (options[0] != NULL)
		status = print_json(mounts, mount_count);
	else
		print_table(mounts, mount_count);
	mounts_free(mounts, mount_count);
	return status;
}
