/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_THREADS_H
#define MEMMAPFS_THREADS_H

/* Threads of the daemon's that want to run and get no CPU, as /proc/self/task shows them (proc(5), sched-stats). */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct thread_look {
	pid_t id;
	uint64_t ran_ns; /* on a CPU so far */
};

/**
 * threads_runnable() - those that run or wait for a CPU, but for the caller's
 * @ret_looks: the first @size of them
 *
 * Return: how many were stored; 0, too, where that cannot be read.
 */
size_t threads_runnable(struct thread_look *ret_looks, size_t size);

/** threads_starved() - drop those that have run since, sleep, or have ended. Return: how many are left. */
size_t threads_starved(struct thread_look *looks, size_t count);

#endif
