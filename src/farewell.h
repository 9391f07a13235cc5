/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_FAREWELL_H
#define MEMMAPFS_FAREWELL_H

/*
 * Who waits for the end of the daemon: after umount(2) nobody can ask the mount anything, the daemon's parent
 * may be init, and the exit status of a process that is no child of one's own cannot be had. So whoever
 * is about to unmount listens at an abstract Unix socket; the daemon connects to it at once, writes its
 * exit status there after the last sync, and leaves the connection open: that it closes means that the
 * process is gone.
 */

#include <pthread.h>
#include <sys/types.h>

struct fs;

#define FAREWELL_MAX 16

struct farewell {
	pthread_mutex_t lock;
	int count;	       /* protected by lock */
	int fds[FAREWELL_MAX]; /* protected by lock */
};

/**
 * farewell_promise() - tell somebody at the end
 * @name:      of the abstract socket at which they listen, without its leading zero byte
 * @uid:       who asks: root, or the daemon's own user
 * @ret_reply: malloc'ed reason of a failure, or NULL
 *
 * Return: 0, or -EPERM, -EINVAL, -EAGAIN (too many wait), or -errno of connect(2).
 */
int farewell_promise(struct fs *fs, const char *name, uid_t uid, char **ret_reply);

/** farewell_say() - the exit status is known; write it to all who wait */
void farewell_say(struct fs *fs, int status);

#endif
