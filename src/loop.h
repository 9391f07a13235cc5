/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LOOP_H
#define MEMMAPFS_LOOP_H

/*
 * The libuv loop, in a thread of its own: signals, the sync timer, and the work that must not be done by a
 * thread that serves requests. Slow work runs in the loop's thread pool.
 */

struct fs;
struct loop;

/**
 * loop_start() - start the loop's thread, which handles TERM, INT and HUP from then on
 *
 * The first TERM or INT has the mount unmounted, everything synced; a second one ends the process at
 * once, saying what was not synced.
 *
 * Return: 0, or -errno.
 */
int loop_start(struct fs *fs, struct loop **ret_loop);

/**
 * loop_quiesce() - begin nothing more, and return once all that was begun is done; accepts NULL
 *
 * Signals are still handled: TERM and INT are counted, and the second one ends the process.
 */
void loop_quiesce(struct loop *loop);

/** loop_stop() - end the loop's thread; after loop_quiesce(); accepts NULL */
void loop_stop(struct loop *loop);

#endif
