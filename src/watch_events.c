/* SPDX-License-Identifier: MIT */
/*
 * Events: who changed what, by file handle. The daemon's own are passed over (the process id tells); of the others
 * the inode is found by the id that its handle makes, or by the marks, and the kernel forgets pages, attributes, or
 * a name.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "fs.h"
#include "identity.h"
#include "inode.h"
#include "log.h"
#include "policy.h"
#include "session.h"
#include "util.h"
#include "watch_private.h"

#define READS_MAX 64
/* Inodes that one handle may stand for: more than one only where two handles have one hash, or an object is being
 * forgotten and was looked up again. */
#define FOUND_MAX 8

#define ALL_EVENTS (WATCH_OBJECT_EVENTS | WATCH_NAME_EVENTS | FAN_ONDIR)

/* Whom an event is about, each with a reference. */
struct subjects {
	struct inode *inodes[FOUND_MAX];
	size_t count;
};

int watch_open_group(void)
{
	int fd = fanotify_init(
		FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_FID | FAN_REPORT_DFID_NAME, 0);

	return fd < 0 ? -errno : fd;
}

const char *watch_mark_all(struct fs *fs, int fd)
{
	if (fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, ALL_EVENTS, fs->mounts.mount[0].fd, NULL) ==
	    0)
		return NULL;
	switch (errno) {
	case EPERM:
		return "it needs root";
	case EXDEV:
	case ENODEV:
		return "the file system has no id to report";
	case EOPNOTSUPP:
	case EINVAL:
		return "the file system has no handles to report";
	default:
		return strerror(errno);
	}
}

/* The inode of an event's handle, with a reference, where the table has it. */
static struct inode *find_whole(struct fs *fs, const struct file_handle *reported)
{
	union {
		struct identity_handle handle;
		unsigned char space[sizeof(struct identity_handle) + MAX_HANDLE_SZ];
	} buffer;
	CLEANUP(close_fd) int fd = -1;
	uint64_t id;

	buffer.handle.mount = 0;
	buffer.handle.type = reported->handle_type;
	buffer.handle.bytes = reported->handle_bytes;
	memcpy(buffer.handle.data, reported->f_handle, reported->handle_bytes);
	id = identity_pack(&buffer.handle);
	if (id != 0)
		return inode_hold_id(fs, id == identity_pack(fs->root->handle) ? fs->root->nodeid : id);
	fd = identity_handle_open(fs->mounts.mount[0].fd, &buffer.handle, O_PATH);
	return fd < 0 ? NULL : inode_known(fs, fd, "");
}

static void find(struct watch *watch, const struct file_handle *reported, struct subjects *ret_found)
{
	uint64_t nodeids[FOUND_MAX];
	size_t count = 1;

	*ret_found = (struct subjects){.count = 0};
	if (reported->handle_bytes > MAX_HANDLE_SZ)
		return;
	if (watch->by_object)
		count = marks_find(&watch->marks, watch_hash(reported), nodeids, FOUND_MAX);
	for (size_t i = 0; i < count; i++) {
		struct inode *inode = watch->by_object ? inode_hold_id(watch->fs, nodeids[i])
						       : find_whole(watch->fs, reported);

		if (inode != NULL)
			ret_found->inodes[ret_found->count++] = inode;
	}
}

static void forget_attributes(struct watch *watch, struct inode *inode)
{
	session_forget_attributes(watch->fs->session, inode->nodeid);
	again_note(&watch->again, inode->nodeid, watch_clock_ms());
}

static void forget_content(struct watch *watch, struct inode *inode)
{
	struct file *file = file_peek(inode);

	/*
	 * Without a file, nobody has read it through the mount. And the kernel copies a write into its cache before it
	 * sends it: were the page dropped in between, the bytes of before the write would be fetched, and come to
	 * stay. While the mount writes a file, the next open sees to its pages, or the next look at open files.
	 */
	if (file == NULL || file_policy(file)->cache != CACHE_AUTO ||
	    (atomic_load(&file->writers) > 0 && !atomic_load(&watch->fs->skips_opens))) {
		forget_attributes(watch, inode);
		return;
	}
	file_note_event(watch->fs, inode, file);
	session_forget_content(watch->fs->session, inode->nodeid);
	again_note(&watch->again, inode->nodeid, watch_clock_ms());
}

static void forget_name(struct watch *watch, struct inode *directory, const char *name)
{
	session_forget_name(watch->fs->session, directory->nodeid, name);
	/* The listing, and the directory's times. */
	session_forget_content(watch->fs->session, directory->nodeid);
	again_note(&watch->again, directory->nodeid, watch_clock_ms());
}

void watch_forget_everything(struct watch *watch)
{
	struct fs *fs = watch->fs;

	session_forget_all_names(fs->session);
	for (int i = 0; i < INODE_SHARDS; i++) {
		uint64_t *ids;
		size_t count = inode_ids(&fs->inodes.by_id[i], &ids);

		for (size_t k = 0; k < count; k++)
			session_forget_content(fs->session, ids[k]);
		free(ids);
	}
}

/* What one event says it is about. */
struct subject {
	const struct file_handle *object;
	const struct file_handle *directory;
	const char *name;
};

/* @at is what follows the event's own part, up to @end. Records stand at multiples of four bytes. */
static void read_subject(const unsigned char *at, const unsigned char *end, struct subject *ret_subject)
{
	*ret_subject = (struct subject){0};
	while (at + sizeof(struct fanotify_event_info_header) <= end) {
		const struct fanotify_event_info_fid *info = (const void *)at;
		const struct file_handle *handle = (const void *)info->handle;

		if (info->hdr.len < sizeof(*info) + sizeof(*handle) || at + info->hdr.len > end)
			return;
		if (info->hdr.info_type == FAN_EVENT_INFO_TYPE_FID)
			ret_subject->object = handle;
		if (info->hdr.info_type == FAN_EVENT_INFO_TYPE_DFID)
			ret_subject->directory = handle;
		if (info->hdr.info_type == FAN_EVENT_INFO_TYPE_DFID_NAME) {
			ret_subject->directory = handle;
			ret_subject->name = (const char *)handle->f_handle + handle->handle_bytes;
		}
		at += info->hdr.len;
	}
	/* What happens to a directory itself is reported as to "." in it. */
	if (ret_subject->object == NULL && (ret_subject->name == NULL || strcmp(ret_subject->name, ".") == 0))
		ret_subject->object = ret_subject->directory;
}

bool watch_is_blind(const struct inode *inode)
{
	const struct file *file = file_peek((struct inode *)inode);

	return file != NULL && atomic_load(&file->unseen_writers) > 0;
}

/* Returns whether it concerned the mount. */
static bool change_names(struct watch *watch, const struct subject *subject)
{
	struct subjects directories;

	find(watch, subject->directory, &directories);
	for (size_t i = 0; i < directories.count; i++) {
		forget_name(watch, directories.inodes[i], subject->name);
		inode_unref(watch->fs, directories.inodes[i]);
	}
	return directories.count > 0;
}

static bool change_object(struct watch *watch, const struct subject *subject, bool content)
{
	struct subjects objects;
	bool concerns = false;

	find(watch, subject->object, &objects);
	for (size_t i = 0; i < objects.count; i++) {
		struct inode *inode = objects.inodes[i];

		if (!watch_is_blind(inode)) {
			concerns = true;
			if (content)
				forget_content(watch, inode);
			else
				forget_attributes(watch, inode);
		}
		inode_unref(watch->fs, inode);
	}
	return concerns;
}

static bool handle_event(struct watch *watch, const struct fanotify_event_metadata *event,
			 const unsigned char *bytes)
{
	struct subject subject;
	bool concerns = false;

	read_subject(bytes + event->metadata_len, bytes + event->event_len, &subject);
	if ((event->mask & WATCH_NAME_EVENTS) && subject.directory != NULL && subject.name != NULL)
		concerns = change_names(watch, &subject);
	if ((event->mask & WATCH_OBJECT_EVENTS) && subject.object != NULL)
		concerns |= change_object(watch, &subject, event->mask & (FAN_MODIFY | FAN_CLOSE_WRITE));
	if (concerns)
		atomic_fetch_add(&watch->events, 1);
	return concerns;
}

static void handle_overflow(struct watch *watch)
{
	if (atomic_fetch_add(&watch->overflows, 1) == 0)
		log_warning("changes in '%s' come faster than they can be watched: the kernel's cache of the "
			    "mount is dropped whenever some were missed",
			    watch->fs->backing_path);
	watch_forget_everything(watch);
}

/*
 * Reads what there is, up to a limit: whoever writes on this file system for each read that we do, as a tracer
 * of ours would, must not keep the thread from anything else.
 *
 * Return: true where there was something, and none of it concerned the mount.
 */
bool watch_read_events(struct watch *watch)
{
	bool concerned = false;
	int reads = 0;
	ssize_t got;

	for (; reads < READS_MAX && (got = read(watch->fd, watch->buffer, WATCH_BUFFER)) > 0; reads++) {
		struct fanotify_event_metadata event;

		for (const unsigned char *at = watch->buffer; got >= (ssize_t)sizeof(event);
		     at += event.event_len, got -= event.event_len) {
			memcpy(&event, at, sizeof(event));
			if (event.event_len < sizeof(event) || event.event_len > got)
				break;
			if (event.mask & FAN_Q_OVERFLOW) {
				handle_overflow(watch);
				concerned = true;
			} else if (event.pid != watch->self) {
				concerned |= handle_event(watch, &event, at);
			}
		}
	}
	return reads > 0 && !concerned;
}
