/* SPDX-License-Identifier: MIT */
/*
 * Happy path: a fanotify mark on BACKING's file system reports who changed what, by file handle. A thread that
 * serves no request reads the events, passes over the daemon's own (the process id tells), finds the inode
 * by the id that its handle makes, and has the kernel forget pages, attributes, or a name.
 *
 * Races: an answer that was made before a change may reach the kernel after it was told to forget. The kernel
 * itself sees to those about inodes that it knows, mostly, and to names, for which it waits until requests
 * in that directory have ended. For the others attributes are forgotten twice more, a little later.
 *
 * What is mounted below BACKING, or no longer, raises no event: the list of mounts is looked at when it changes.
 *
 * Failure modes: events are lost in a queue that overflows: everything is forgotten. Nothing can be heard of
 * (no privilege, a network file system, one without ids): the kernel trusts what it is told for a second.
 */
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <time.h>
#include <unistd.h>

#include "again.h"
#include "file.h"
#include "fs.h"
#include "identity.h"
#include "inode.h"
#include "log.h"
#include "policy.h"
#include "session.h"
#include "util.h"

/* How long the kernel trusts what it is told while changes are heard of. */
#define LONG_S 3600
/* The same for names, where the kernel cannot be told to forget them all when events are lost. */
#define NAMES_S 10
/* FUSE_NOTIFY_INC_EPOCH */
#define MINOR_EPOCH 44
#define EVENTS_SIZE ((size_t)64 << 10)
#define READS_MAX 64
/* Between two looks at events none of which concerned the mount, or all of which were the daemon's own doing:
 * being woken for each would cost as much as what caused it. */
#define PAUSE_MS 2

#define EVENTS                                                                                               \
	(FAN_MODIFY | FAN_CLOSE_WRITE | FAN_ATTRIB | FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM |              \
	 FAN_MOVED_TO | FAN_ONDIR)
#define NAME_EVENTS (FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO)

struct watch {
	struct fs *fs;
	int fd;
	int stop_fd;
	int mounts_fd;	 /* /proc/self/mountinfo */
	uint64_t mounts; /* what it said of BACKING; the thread's */
	pid_t self;
	_Atomic bool running; /* the thread is to be joined, by whoever takes this back first */
	pthread_t thread;
	struct again again; /* the thread's */
	_Atomic uint64_t events;
	_Atomic uint64_t overflows;
	unsigned char *buffer; /* EVENTS_SIZE; the thread's */
};

static uint64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Whom to blame, in the words of the log; NULL where the mark stands. */
static const char *mark(struct fs *fs, int *ret_fd)
{
	CLEANUP(close_fd)
	int fd = fanotify_init(
		FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_FID | FAN_REPORT_DFID_NAME, 0);

	if (fd < 0)
		return errno == EPERM ? "it needs root" : strerror(errno);
	if (fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, EVENTS, fs->mounts.mount[0].fd, NULL) < 0)
		return errno == EPERM				? "it needs root"
		       : errno == EXDEV || errno == ENODEV	? "the file system has no id to report"
		       : errno == EOPNOTSUPP || errno == EINVAL ? "the file system has no handles to report"
								: strerror(errno);
	*ret_fd = fd;
	fd = -1;
	return NULL;
}

/* Is there anything that long trust would be given to? */
static bool is_wanted(const struct fs *fs)
{
	const struct options *options = &fs->options;

	/* What the layer has of a name, events of BACKING must not have forgotten. */
	return options->watch == WATCH_AUTO && fs->layer == NULL &&
	       (options->cache != CACHE_NONE || options->attr_timeout_s > 0 || options->entry_timeout_s > 0);
}

void watch_open(struct fs *fs)
{
	struct watch *watch;
	const char *why;
	int fd = -1;

	if (!is_wanted(fs))
		return;
	if (!fs->handles)
		why = "changes are reported by file handle, and there are none here";
	else if (fs->medium == MEDIUM_REMOTE)
		why = "other machines' changes raise no event";
	else
		why = mark(fs, &fd);
	if (why != NULL) {
		log_info("changes made directly in '%s' are not watched: %s; they are seen after a second",
			 fs->backing_path, why);
		return;
	}
	watch = calloc(1, sizeof(*watch));
	if (watch == NULL) {
		close(fd);
		return;
	}
	watch->fs = fs;
	watch->fd = fd;
	watch->self = getpid();
	watch->stop_fd = eventfd(0, EFD_CLOEXEC);
	watch->mounts_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	watch->buffer = malloc(EVENTS_SIZE);
	fs->watch = watch;
	if (watch->stop_fd < 0 || watch->mounts_fd < 0 || watch->buffer == NULL)
		watch_close(fs);
}

static double chosen(double given, double otherwise)
{
	return given >= 0 ? given : otherwise;
}

void watch_settle(struct fs *fs, unsigned minor)
{
	const struct options *options = &fs->options;
	double names = minor >= MINOR_EPOCH ? LONG_S : NAMES_S;

	fs->trust[0] = (struct trust){
		.attr_s = chosen(options->attr_timeout_s, 1),
		.entry_s = chosen(options->entry_timeout_s, 1),
		.negative_s = chosen(options->negative_timeout_s, 0),
	};
	fs->trust[1] = (struct trust){
		.attr_s = chosen(options->attr_timeout_s, LONG_S),
		.entry_s = chosen(options->entry_timeout_s, names),
		.negative_s = chosen(options->negative_timeout_s, names),
	};
}

bool watch_covers(const struct fs *fs, const struct inode *inode)
{
	/* The mark is on one file system; others may be mounted below BACKING. */
	return fs->watch != NULL && inode->handle != NULL && inode->key.dev == fs->root_dev;
}

/* By the mount's clients, with whose process id the kernel writes: theirs and others' cannot be told apart. */
static bool is_written_unseen(const struct inode *inode)
{
	const struct file *file = file_peek((struct inode *)inode);

	return file != NULL && atomic_load(&file->unseen_writers) > 0;
}

const struct trust *watch_trust(const struct fs *fs, const struct inode *inode)
{
	return &fs->trust[watch_covers(fs, inode) && !is_written_unseen(inode)];
}

void watch_counts(const struct fs *fs, uint64_t *ret_events, uint64_t *ret_overflows)
{
	*ret_events = fs->watch == NULL ? 0 : atomic_load(&fs->watch->events);
	*ret_overflows = fs->watch == NULL ? 0 : atomic_load(&fs->watch->overflows);
}

/* The inode of an event's handle, with a reference, where the table has it. */
static struct inode *find(struct watch *watch, const struct file_handle *reported)
{
	union {
		struct identity_handle handle;
		unsigned char space[sizeof(struct identity_handle) + MAX_HANDLE_SZ];
	} buffer;
	struct fs *fs = watch->fs;
	CLEANUP(close_fd) int fd = -1;
	uint64_t id;

	if (reported->handle_bytes > MAX_HANDLE_SZ)
		return NULL;
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

static void forget_attributes(struct watch *watch, struct inode *inode)
{
	session_forget_attributes(watch->fs->session, inode->nodeid);
	again_note(&watch->again, inode->nodeid, clock_ms());
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
	again_note(&watch->again, inode->nodeid, clock_ms());
}

static void forget_name(struct watch *watch, struct inode *directory, const char *name)
{
	session_forget_name(watch->fs->session, directory->nodeid, name);
	/* The listing, and the directory's times. */
	session_forget_content(watch->fs->session, directory->nodeid);
	again_note(&watch->again, directory->nodeid, clock_ms());
}

static void forget_everything(struct watch *watch)
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

/* Returns whether it concerned the mount. */
static bool handle_event(struct watch *watch, const struct fanotify_event_metadata *event,
			 const unsigned char *bytes)
{
	struct fs *fs = watch->fs;
	struct inode *inode = NULL, *directory = NULL;
	struct subject subject;

	read_subject(bytes + event->metadata_len, bytes + event->event_len, &subject);
	if ((event->mask & NAME_EVENTS) && subject.directory != NULL && subject.name != NULL)
		directory = find(watch, subject.directory);
	if ((event->mask & (FAN_MODIFY | FAN_CLOSE_WRITE | FAN_ATTRIB)) && subject.object != NULL)
		inode = find(watch, subject.object);
	if (inode != NULL && is_written_unseen(inode)) {
		inode_unref(fs, inode);
		inode = NULL;
	}
	if (directory == NULL && inode == NULL)
		return false;
	atomic_fetch_add(&watch->events, 1);
	if (directory != NULL) {
		forget_name(watch, directory, subject.name);
		inode_unref(fs, directory);
	}
	if (inode != NULL) {
		if (event->mask & (FAN_MODIFY | FAN_CLOSE_WRITE))
			forget_content(watch, inode);
		else
			forget_attributes(watch, inode);
		inode_unref(fs, inode);
	}
	return true;
}

static void handle_overflow(struct watch *watch)
{
	if (atomic_fetch_add(&watch->overflows, 1) == 0)
		log_warning("changes in '%s' come faster than they can be watched: the kernel's cache of the "
			    "mount is dropped whenever some were missed",
			    watch->fs->backing_path);
	forget_everything(watch);
}

/*
 * Reads what there is, up to a limit: whoever writes on this file system for each read that we do, as a tracer
 * of ours would, must not keep the thread from anything else.
 *
 * Return: true where there was something, and none of it concerned the mount.
 */
static bool read_events(struct watch *watch)
{
	bool concerned = false;
	int reads = 0;
	ssize_t got;

	for (; reads < READS_MAX && (got = read(watch->fd, watch->buffer, EVENTS_SIZE)) > 0; reads++) {
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

static void look_again(struct watch *watch)
{
	uint64_t id;
	bool all;

	while ((id = again_take(&watch->again, clock_ms(), &all)) != 0)
		session_forget_attributes(watch->fs->session, id);
	if (all)
		forget_everything(watch);
}

/* A line's mount point, its fifth word, begins with BACKING's path; with blanks in that, all lines count. */
static bool is_below(const struct fs *fs, const char *line)
{
	if (strpbrk(fs->backing_path, " \t\n\\") != NULL)
		return true;
	for (int word = 1; word < 5 && line != NULL; word++)
		line = strchr(line + 1, ' ');
	return line != NULL && strncmp(line + 1, fs->backing_path, strlen(fs->backing_path)) == 0;
}

/* A number that stands for the mounts that lie in BACKING. */
static uint64_t read_mounts(const struct watch *watch)
{
	CLEANUP(close_fd) int fd = dup(watch->mounts_fd);
	uint64_t hash = 0;
	char *line = NULL;
	size_t size = 0;
	FILE *stream = fd < 0 || lseek(fd, 0, SEEK_SET) < 0 ? NULL : fdopen(fd, "r");

	if (stream == NULL)
		return 0;
	fd = -1;
	while (getline(&line, &size, stream) > 0) {
		if (!is_below(watch->fs, line))
			continue;
		for (const char *at = line; *at != '\0'; at++)
			hash = (hash ^ (unsigned char)*at) * UINT64_C(0x100000001B3);
	}
	free(line);
	fclose(stream);
	return hash;
}

static void look_at_mounts(struct watch *watch)
{
	uint64_t mounts = read_mounts(watch);

	if (mounts != watch->mounts)
		session_forget_all_names(watch->fs->session);
	watch->mounts = mounts;
}

static void *watch_run(void *argument)
{
	struct watch *watch = argument;
	struct pollfd fds[] = {{.fd = watch->stop_fd, .events = POLLIN},
			       {.fd = watch->fd, .events = POLLIN},
			       {.fd = watch->mounts_fd, .events = POLLPRI}};
	int pause = 0;

	watch->mounts = read_mounts(watch);

	for (;;) {
		int wait = again_wait_ms(&watch->again, clock_ms());

		/* While it pauses nobody has to wake it. */
		if (pause > 0 && poll(fds, 1, pause) > 0)
			break;
		if (poll(fds, 3, wait) < 0 && errno != EINTR)
			break;
		if (fds[0].revents != 0)
			break;
		if (fds[2].revents != 0)
			look_at_mounts(watch);
		pause = read_events(watch) ? PAUSE_MS : 0;
		look_again(watch);
	}
	return NULL;
}

int watch_start(struct fs *fs)
{
	struct watch *watch = fs->watch;
	int result;

	if (watch == NULL)
		return 0;
	result = -pthread_create(&watch->thread, NULL, watch_run, watch);
	atomic_store(&watch->running, result == 0);
	return result;
}

void watch_stop(struct fs *fs)
{
	struct watch *watch = fs->watch;
	uint64_t one = 1;

	/* Main and the thread that unmounts may both come here: one of them joins, and main waits for the other. */
	if (watch == NULL || !atomic_exchange(&watch->running, false))
		return;
	if (write(watch->stop_fd, &one, sizeof(one)) < 0)
		log_error("eventfd: %s", strerror(errno));
	pthread_join(watch->thread, NULL);
}

void watch_close(struct fs *fs)
{
	struct watch *watch = fs->watch;

	if (watch == NULL)
		return;
	close_fd(&watch->fd);
	close_fd(&watch->stop_fd);
	close_fd(&watch->mounts_fd);
	free(watch->buffer);
	free(watch);
	fs->watch = NULL;
}
