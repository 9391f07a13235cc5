/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "ctl/ctl.h"
#include "ctl/mounts.h"
#include "ctl/text.h"
#include "json_name.h"
#include "util.h"

#define PATIENCE_S 2

/* Asked in a thread of its own: a daemon that hangs would take us with it. */
static void *ask(void *point)
{
	struct statx stx;
	intptr_t error = 0;

	if (statx(AT_FDCWD, point, AT_STATX_FORCE_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &stx) < 0)
		error = errno;
	return (void *)error;
}

static const char *state_of(const char *point)
{
	CLEANUP(free_pointer) char *copy = strdup(point);
	struct timespec deadline;
	pthread_t thread;
	void *error;

	if (copy == NULL || pthread_create(&thread, NULL, ask, copy) != 0)
		return "unknown";
	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += PATIENCE_S;
	if (pthread_timedjoin_np(thread, &error, &deadline) != 0) {
		copy = NULL; /* the thread's for good */
		return "silent";
	}
	switch ((intptr_t)error) {
	case ENOTCONN:
	case ECONNABORTED:
		return "dead";
	case 0:
	case EACCES: /* answered by the kernel: another user's mount */
		return "serving";
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
