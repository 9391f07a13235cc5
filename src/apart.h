/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_APART_H
#define MEMMAPFS_APART_H

/*
 * Calls that wait for requests which the daemon itself answers, made so that they cannot outlive it. It knows
 * nothing of what they are.
 */

/**
 * apart_call() - make a call in a process of its own, which has none of the daemon's files open
 * @call: returns 0 or -errno. Async-signal-safe calls only, and no memory of its own: it runs on a small stack, in
 *        the caller's memory, while other threads may hold any lock.
 *
 * A thread that waits for an answer cannot be killed, and a process ends, and lets go of its files, once all of its
 * threads have. A daemon that is killed while one of them waits for the others would stay, the device open, and
 * with it everybody who uses the mount. The process that waits here instead has not got the device: with the daemon
 * goes the connection, and with that the wait.
 *
 * Blocks: until @call has returned; SIGKILL ends that wait. From a thread that is no worker.
 *
 * Return: what @call returned, or -errno where no process could be made: -EAGAIN, -ENOMEM; -ENOSYS before Linux 5.9.
 *
 * See: clone(2), close_range(2)
 */
int apart_call(int (*call)(void *argument), void *argument);

#endif
