/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CALLER_H
#define MEMMAPFS_CALLER_H

#include <stdbool.h>
#include <sys/types.h>

/**
 * caller_signalled() - has a thread a signal pending that it does not block?
 * @pid: as a request names it; 0, as for one of another namespace, has none
 *
 * Blocks: for a millisecond, where it has: one that was meant for another of its threads is gone by then.
 */
bool caller_signalled(pid_t pid);

#endif
