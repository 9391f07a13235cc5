/* SPDX-License-Identifier: MIT */
/*
 * A copy of the daemon's page tables would take longer than most of the calls, and every page it then writes to
 * would fault: the process shares the memory, as one made by vfork(2) does, and the calling thread stands still
 * meanwhile. It shares the table of open files for a moment, too, and leaves it without copying it: a copy would
 * have to be closed again, which makes network file systems flush every file in it.
 */
#include "apart.h"

#include <errno.h>
#include <limits.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util.h"

#define STACK_SIZE ((size_t)64 << 10)

struct apart {
	int (*call)(void *argument);
	void *argument;
};

/* Return: the exit status: 0 or an errno, which all are below 256. */
static int run(void *argument)
{
	const struct apart *apart = argument;

	if (close_range(0, UINT_MAX, CLOSE_RANGE_UNSHARE) < 0)
		return errno;
	return -apart->call(apart->argument);
}

#ifdef THREAD_SANITIZER
/* ThreadSanitizer follows fork(2) only. */
static pid_t start(struct apart *apart)
{
	pid_t child = fork();

	if (child == 0)
		_exit(run(apart));
	return child;
}
#else
/* No signal tells of its end: a SIGCHLD that is ignored, as some parents leave it, would take the status along. */
static pid_t start(struct apart *apart)
{
	alignas(16) char stack[STACK_SIZE];

	return clone(run, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | CLONE_FILES, apart);
}
#endif

int apart_call(int (*call)(void *argument), void *argument)
{
	struct apart apart = {call, argument};
	sigset_t all, before;
	pid_t child, ended;
	int status, error;

	/* The daemon's handlers are not for the process: a SIGINT that the terminal sends to both would count twice. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	child = start(&apart);
	error = errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (child < 0)
		return -error;
	do
		ended = waitpid(child, &status, __WALL);
	while (ended < 0 && errno == EINTR);
	if (ended < 0)
		return -errno;
	/* Somebody has killed it. */
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
}
