/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_MAPPING_GUARD_H
#define MEMMAPFS_MAPPING_GUARD_H

/*
 * Copies to and from mapped bytes that survive a page that cannot appear: the file was truncated, the
 * disk is full under a hole, the disk errs. The kernel says so with SIGBUS; the copy says so with
 * -EFAULT. Knows nothing of windows.
 */

#include <stdbool.h>
#include <stddef.h>

/**
 * guard_init() - install the SIGBUS handler that guarded_copy() needs
 *
 * A SIGBUS that no guarded copy caused keeps its default effect. Idempotent.
 *
 * Return: 0, or the -errno of sigaction(2).
 *
 * See: sigaction(2), signal(7)
 */
int guard_init(void);

/**
 * guarded_copy() - memcpy() that reports a missing page instead of dying of it
 * @to:     first byte written
 * @from:   first byte read
 * @length: bytes; at most one of the two ranges may be mapped file pages
 *
 * Locks:  none; any number of threads may copy at once, also the same bytes: what each of them sees
 *         of a concurrent store is what two processes with a shared mapping would see.
 * Blocks: for as long as the pages take to appear.
 *
 * Return: 0, or
 *   -EFAULT  a page could not appear; any part of @to may have been written
 */
int guarded_copy(void *to, const void *from, size_t length);

/** guard_can_persist() - does this processor have what guarded_persist() needs? */
bool guard_can_persist(void);

/**
 * guarded_persist() - wait until stored bytes have left the processor's caches
 * @bytes: of a window mapped with MAP_SYNC: they are on the medium then
 *
 * Return: 0, or -EFAULT where a page is gone. Does nothing where guard_can_persist() says no.
 *
 * See: mmap(2) (MAP_SYNC)
 */
int guarded_persist(const void *bytes, size_t length);

#endif
