/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_THREADS_H
#define MEMMAPFS_THREADS_H

/* What the daemon's own threads are at, as /proc/self/task shows it (proc(5)). */

#include <stddef.h>
#include <sys/types.h>

/**
 * threads_runnable() - those that run or wait for a CPU, but for the caller's
 * @ret_ids: the first @size of them
 *
 * Return: how many were stored; 0, too, where /proc cannot be read.
 */
size_t threads_runnable(pid_t *ret_ids, size_t size);

/** threads_still_runnable() - drop those that sleep by now, or have ended. Return: how many are left. */
size_t threads_still_runnable(pid_t *ids, size_t count);

#endif
