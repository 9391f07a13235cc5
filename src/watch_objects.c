/* SPDX-License-Identifier: MIT */
/*
 * Where the whole file system cannot be marked, for want of privilege, inodes are, one by one. A mark on the inode
 * itself and not on its directory: a change through another hard link, or the making of one, raises no event in
 * the directory that we know.
 *
 * By fanotify and not by inotify, as the kernel tells its unprivileged listeners one process id: their own. So
 * the mount's own changes can be told from those of others.
 *
 * Marks go with the inode's last descriptor: without privilege there is always one, for as long as the inode lives.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs.h"
#include "inode.h"
#include "log.h"
#include "util.h"
#include "watch_private.h"

/* Linux 6.5: a handle that only names, which more file systems have; the kind that events report. */
#ifndef AT_HANDLE_FID
#define AT_HANDLE_FID AT_REMOVEDIR
#endif

union handle_buffer {
	struct file_handle handle;
	unsigned char space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
};

static uint64_t mask_of(const struct inode *inode)
{
	return S_ISDIR(inode->type) ? WATCH_NAME_EVENTS | FAN_ATTRIB | FAN_MOVE_SELF | FAN_ONDIR
				    : WATCH_OBJECT_EVENTS;
}

uint64_t watch_hash(const struct file_handle *handle)
{
	uint64_t hash = UINT64_C(0xCBF29CE484222325) ^ (unsigned)handle->handle_type;

	for (unsigned i = 0; i < handle->handle_bytes; i++)
		hash = (hash ^ handle->f_handle[i]) * UINT64_C(0x100000001B3);
	return hash;
}

static int change_mark(struct watch *watch, int fd, unsigned action, uint64_t mask)
{
	char number[16];

	/* The descriptor's link leads to the object, whatever has become of its name. */
	snprintf(number, sizeof(number), "%d", fd);
	return fanotify_mark(watch->fd, action, mask, watch->fs->proc_fd, number) < 0 ? -errno : 0;
}

/* May be called by several threads at once: one mark stays. */
static int mark(struct watch *watch, struct inode *inode)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	union handle_buffer buffer = {.handle.handle_bytes = MAX_HANDLE_SZ};
	struct mark *fresh, *none = NULL;
	int mount_id, result = inode_fd(watch->fs, inode, FD_PATH, &use);

	if (result < 0)
		return result;
	if (name_to_handle_at(use.fd, "", &buffer.handle, &mount_id, AT_EMPTY_PATH | watch->handle_flags) < 0)
		return -errno;
	/* First, so that no event comes of which nobody knows what it is about. */
	fresh = marks_add(&watch->marks, watch_hash(&buffer.handle), atomic_load(&inode->nodeid));
	if (fresh == NULL)
		return -ENOMEM;
	result = change_mark(watch, use.fd, FAN_MARK_ADD | FAN_MARK_EVICTABLE, mask_of(inode));
	if (result == 0)
		fresh->number = atomic_fetch_add(&watch->marked, 1) + 1;
	if (result < 0 || !atomic_compare_exchange_strong(&inode->mark, &none, fresh))
		marks_remove(&watch->marks, fresh, NULL, NULL);
	return result;
}

static void say_limit(struct watch *watch)
{
	if (!atomic_exchange(&watch->limit_said, true))
		log_info("changes made directly in '%s' are watched up to the limit of "
			 "fs.fanotify.max_user_marks (%zu here); those of other objects are seen after a "
			 "second",
			 watch->fs->backing_path, marks_count(&watch->marks));
}

const char *watch_mark_root(struct watch *watch)
{
	int result;

	watch->handle_flags = AT_HANDLE_FID;
	result = mark(watch, watch->fs->root);
	if (result == -EINVAL) {
		watch->handle_flags = 0;
		result = mark(watch, watch->fs->root);
	}
	switch (result) {
	case 0:
		return NULL;
	case -EXDEV:
	case -ENODEV:
		return "the file system has no id to report";
	case -EOPNOTSUPP:
	case -EINVAL:
		return "the file system has no handles to report, or the kernel needs root for it";
	default:
		return strerror(-result);
	}
}

uint64_t watch_moment(const struct fs *fs)
{
	return fs->watch == NULL ? 0 : atomic_load(&fs->watch->marked);
}

uint64_t watch_look(struct fs *fs, struct inode *inode)
{
	struct watch *watch = fs->watch;
	int result = 0;

	if (watch == NULL)
		return 0;
	/* One file system's handles are enough to tell its objects apart. */
	if (watch->by_object && atomic_load(&inode->mark) == NULL && inode->key.dev == fs->root_dev)
		result = mark(watch, inode);
	if (result == -ENOSPC)
		say_limit(watch);
	return atomic_load(&watch->marked);
}

void watch_ignore_writes(struct fs *fs, struct inode *inode, bool ignored)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	unsigned action = ignored ? FAN_MARK_ADD | FAN_MARK_IGNORED_SURV_MODIFY | FAN_MARK_EVICTABLE
				  : FAN_MARK_REMOVE;

	if (fs->watch != NULL && inode_fd(fs, inode, FD_PATH, &use) == 0)
		change_mark(fs->watch, use.fd, action | FAN_MARK_IGNORED_MASK, FAN_MODIFY);
}

struct unmarking {
	struct watch *watch;
	const struct inode *inode;
	int fd;
};

/*
 * Refused where the object may no longer be read: then the kernel keeps the mark until it lets go of the object,
 * and its events are about no inode of ours.
 */
static void unmark(void *context)
{
	const struct unmarking *unmarking = context;

	change_mark(unmarking->watch, unmarking->fd, FAN_MARK_REMOVE, mask_of(unmarking->inode));
}

void watch_forget(struct fs *fs, struct inode *inode)
{
	struct unmarking unmarking = {fs->watch, inode, fd_slot_peek(&inode->slots[FD_PATH])};
	struct mark *mark = atomic_load(&inode->mark);

	/* The object may have been looked up again and marked for another inode: then the kernel's mark is that
	 * one's. Who marks adds to the table before. */
	if (mark != NULL && fs->watch != NULL)
		marks_remove(&fs->watch->marks, mark, unmarking.fd < 0 ? NULL : unmark, &unmarking);
}
