/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_WATCH_PRIVATE_H
#define MEMMAPFS_WATCH_PRIVATE_H

/*
 * What the parts of watch.h share: watch.c runs the thread and says how long to trust, watch_events.c reads what
 * the kernel reports and has the mount's kernel forget, watch_objects.c asks for objects one by one.
 */

#include <fcntl.h>
#include <pthread.h>
#include <sys/fanotify.h>

#include "again.h"
#include "marks.h"
#include "watch.h"

#define WATCH_NAME_EVENTS (FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO)
/* A rename moves the ctime of what is renamed. */
#define WATCH_OBJECT_EVENTS (FAN_MODIFY | FAN_CLOSE_WRITE | FAN_ATTRIB | FAN_MOVE_SELF)

struct watch {
	struct fs *fs;
	int fd; /* of fanotify_init(2) */
	int stop_fd;
	int mounts_fd;	 /* /proc/self/mountinfo */
	uint64_t mounts; /* what it said of BACKING; the thread's */
	pid_t self;
	bool by_object;	      /* constant; or else the whole file system is marked */
	_Atomic bool running; /* the thread is to be joined, by whoever takes this back first */
	pthread_t thread;
	struct again again; /* the thread's */
	_Atomic uint64_t events;
	_Atomic uint64_t overflows;
	unsigned char *buffer; /* WATCH_BUFFER; the thread's */
	/* by_object */
	struct marks marks;
	_Atomic uint64_t marked; /* the number of the newest mark: the moment */
	int handle_flags;	 /* constant; of name_to_handle_at(2) */
	_Atomic bool limit_said;
};

#define WATCH_BUFFER ((size_t)64 << 10)

/* CLOCK_MONOTONIC */
uint64_t watch_clock_ms(void);

/* --- watch_events.c --- */

/** watch_open_group() - Return: a descriptor that the caller closes, or -errno of fanotify_init(2) */
int watch_open_group(void);

/** watch_mark_all() - hear of everything in BACKING's file system. Return: NULL, or why not, in the log's words. */
const char *watch_mark_all(struct fs *fs, int fd);

/**
 * watch_read_events() - read what there is, up to a limit, and act on it
 *
 * Return: true where there was something, and none of it concerned the mount.
 */
bool watch_read_events(struct watch *watch);

/**
 * watch_is_blind() - do clients of the mount write the object with their own process ids (io=passthrough)?
 *
 * Then others' changes cannot be told from the mount's.
 */
bool watch_is_blind(const struct inode *inode);

/** watch_forget_everything() - have the kernel forget all names, and what it cached of each inode */
void watch_forget_everything(struct watch *watch);

/* --- watch_objects.c --- */

/** watch_mark_root() - hear of BACKING's root, to see whether objects can be heard of. Return: as watch_mark_all(). */
const char *watch_mark_root(struct watch *watch);

/** watch_hash() - what marks->lock's table knows an object by */
uint64_t watch_hash(const struct file_handle *handle);

#endif
