/* SPDX-License-Identifier: MIT */
/*
 * Happy path: fanotify reports what others change, of BACKING's file system as a whole or of the objects that were
 * asked for. A thread that serves no request reads the events and has the kernel forget what they are about.
 *
 * Races: an answer that was made before a change may reach the kernel after it was told to forget. The kernel
 * itself sees to those about inodes that it knows, mostly, and to names, for which it waits until requests
 * in that directory have ended. For the others attributes are forgotten twice more, a little later.
 *
 * An object that is asked for may have changed between an earlier look at it and that. So marks are counted, and an
 * answer is trusted for long only where the mark is older than the look: see watch_trust().
 *
 * What is mounted below BACKING, or no longer, raises no event: the list of mounts is looked at when it changes.
 *
 * Failure modes: events are lost in a queue that overflows: everything is forgotten. Nothing can be heard of
 * (a network file system, one without ids): the kernel trusts what it is told for a second.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "file.h"
#include "fs.h"
#include "inode.h"
#include "log.h"
#include "session.h"
#include "util.h"
#include "watch_private.h"

/* How long the kernel trusts what it is told while changes are heard of. */
#define LONG_S 3600
/* The same for names, where the kernel cannot be told to forget them all when events are lost. */
#define NAMES_S 10
/* FUSE_NOTIFY_INC_EPOCH */
#define MINOR_EPOCH 44
/* Between two looks at events none of which concerned the mount, or all of which were the daemon's own doing:
 * being woken for each would cost as much as what caused it. */
#define PAUSE_MS 2

uint64_t watch_clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Is there anything that long trust would be given to? */
static bool is_wanted(const struct fs *fs)
{
	const struct options *options = &fs->options;

	/* What the layer has of a name, events of BACKING must not have forgotten. */
	return options->watch == WATCH_AUTO && fs->layer == NULL &&
	       (options->cache != CACHE_NONE || options->attr_timeout_s > 0 || options->entry_timeout_s > 0);
}

/* Whom to blame where nothing can be heard of, in the words of the log; else NULL. */
static const char *begin(struct watch *watch)
{
	struct fs *fs = watch->fs;

	if (fs->medium == MEDIUM_REMOTE)
		return "other machines' changes raise no event";
	watch->fd = watch_open_group();
	if (watch->fd < 0)
		return watch->fd == -EPERM    ? "the kernel needs root for it"
		       : watch->fd == -EMFILE ? "this user is at the limit of fs.fanotify.max_user_groups"
					      : strerror(-watch->fd);
	/* Objects that are found by handle have no descriptor that would keep their marks. */
	watch->by_object = !fs->handles;
	return watch->by_object ? watch_mark_root(watch) : watch_mark_all(fs, watch->fd);
}

/* Accepts NULL and a half-built one. */
static void watch_free(struct watch *watch)
{
	if (watch == NULL)
		return;
	close_fd(&watch->fd);
	close_fd(&watch->stop_fd);
	close_fd(&watch->mounts_fd);
	marks_fini(&watch->marks);
	free(watch->buffer);
	free(watch);
}

static struct watch *watch_new(struct fs *fs)
{
	struct watch *watch = calloc(1, sizeof(*watch));

	if (watch == NULL)
		return NULL;
	watch->fs = fs;
	watch->fd = -1;
	watch->self = getpid();
	watch->stop_fd = eventfd(0, EFD_CLOEXEC);
	watch->mounts_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	watch->buffer = malloc(WATCH_BUFFER);
	if (marks_init(&watch->marks) == 0 && watch->stop_fd >= 0 && watch->mounts_fd >= 0 &&
	    watch->buffer != NULL)
		return watch;
	watch_free(watch);
	return NULL;
}

void watch_open(struct fs *fs)
{
	struct watch *watch = is_wanted(fs) ? watch_new(fs) : NULL;
	const char *why;

	if (watch == NULL)
		return;
	why = begin(watch);
	if (why == NULL) {
		fs->watch = watch;
		return;
	}
	log_info("changes made directly in '%s' are not watched: %s; they are seen after a second",
		 fs->backing_path, why);
	watch_free(watch);
	atomic_store(&fs->root->mark, NULL);
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

bool watch_is_whole(const struct fs *fs)
{
	return fs->watch != NULL && !fs->watch->by_object;
}

bool watch_covers(const struct fs *fs, const struct inode *inode)
{
	/* The mark is on one file system; others may be mounted below BACKING. */
	return watch_is_whole(fs) && inode->handle != NULL && inode->key.dev == fs->root_dev;
}

/* Was the inode marked at that moment? */
static bool is_marked(const struct inode *inode, uint64_t moment)
{
	const struct mark *mark = atomic_load(&((struct inode *)inode)->mark);

	return mark != NULL && mark->number <= moment;
}

const struct trust *watch_trust(const struct fs *fs, uint64_t moment, const struct inode *inode)
{
	if (fs->watch == NULL)
		return &fs->trust[0];
	if (fs->watch->by_object)
		return &fs->trust[is_marked(inode, moment)];
	return &fs->trust[watch_covers(fs, inode) && !watch_is_blind(inode)];
}

const struct trust *watch_trust_name(const struct fs *fs, uint64_t moment, const struct inode *directory,
				     const struct inode *inode)
{
	if (fs->watch == NULL || !fs->watch->by_object)
		return watch_trust(fs, moment, inode);
	return &fs->trust[directory != NULL && is_marked(directory, moment)];
}

void watch_count(const struct fs *fs, struct watch_counts *ret_counts)
{
	struct watch *watch = fs->watch;

	*ret_counts = (struct watch_counts){0};
	if (watch == NULL)
		return;
	ret_counts->events = atomic_load(&watch->events);
	ret_counts->overflows = atomic_load(&watch->overflows);
	ret_counts->objects = marks_count(&watch->marks);
}

static void look_again(struct watch *watch)
{
	uint64_t id;
	bool all;

	while ((id = again_take(&watch->again, watch_clock_ms(), &all)) != 0)
		session_forget_attributes(watch->fs->session, id);
	if (all)
		watch_forget_everything(watch);
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
		int wait = again_wait_ms(&watch->again, watch_clock_ms());

		/* While it pauses nobody has to wake it. */
		if (pause > 0 && poll(fds, 1, pause) > 0)
			break;
		if (poll(fds, 3, wait) < 0 && errno != EINTR)
			break;
		if (fds[0].revents != 0)
			break;
		if (fds[2].revents != 0)
			look_at_mounts(watch);
		pause = watch_read_events(watch) ? PAUSE_MS : 0;
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
	watch_free(fs->watch);
	fs->watch = NULL;
}
