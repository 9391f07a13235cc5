/* SPDX-License-Identifier: MIT */
/*
 * Bytes and attributes of one object. A file that is in BACKING is written in place: the layer keeps its pages until
 * the file is on the disk, so that whoever reads on the mount sees the same bytes throughout, and writing them
 * again after an interruption comes to the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>

#include "fs.h"
#include "layer/acl.h"
#include "layer/command.h"
#include "layer/commit_private.h"
#include "layer/name_list.h"
#include "layer/stack.h"
#include "layer/xattrs.h"
#include "util.h"

/* Copied at a time; whoever writes the file waits no longer than for that. */
#define CHUNK ((size_t)4 << 20)
/* The disk is told to write when so much of the file lies behind. */
#define SEND (UINT64_C(32) << 20)

static int write_all(int fd, const char *from, size_t length, uint64_t offset)
{
	while (length > 0) {
		ssize_t put = pwrite(fd, from, length, (off_t)offset);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		from += put;
		length -= (size_t)put;
		offset += (uint64_t)put;
	}
	return 0;
}

static int read_all(int fd, char *to, size_t length, uint64_t offset)
{
	while (length > 0) {
		ssize_t got = pread(fd, to, length, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EIO;
		to += got;
		length -= (size_t)got;
		offset += (uint64_t)got;
	}
	return 0;
}

struct copy {
	struct commit *commit;
	struct inode *inode;
	struct node *node;
	struct fd_use pages;
	int fd;	       /* BACKING's file */
	uint64_t size; /* that it has */
	char *buffer;
	uint64_t sent; /* up to here the disk has been told to write */
	bool clones;   /* pages may be shared with the page file, as far as is known */
	bool below;    /* only what the bases have */
};

/* Zeros where the file has bytes; past its end they come by themselves. */
static int copy_zeros(struct copy *copy, uint64_t from, uint64_t end)
{
	end = MIN(end, copy->size);
	if (from >= end)
		return 0;
	if (fallocate(copy->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
		      (off_t)(end - from)) == 0)
		return 0;
	if (errno != EOPNOTSUPP)
		return -errno;
	memset(copy->buffer, 0, CHUNK);
	for (int result = 0; from < end; from += MIN(end - from, CHUNK)) {
		result = write_all(copy->fd, copy->buffer, (size_t)MIN(end - from, CHUNK), from);
		if (result < 0)
			return result;
	}
	return 0;
}

/* The disk works while the next bytes are copied, instead of all of it when the file is synced. */
static void send_to_disk(struct copy *copy, uint64_t end)
{
	if (!copy->commit->fs->layer->kept || end < copy->sent + SEND)
		return;
	sync_file_range(copy->fd, (off_t)copy->sent, (off_t)(end - copy->sent), SYNC_FILE_RANGE_WRITE);
	copy->sent = end;
}

/* Where both files are on one file system that can share blocks. Whole pages: the end of the file is cut later. */
static bool clone_data(struct copy *copy, int pages, uint64_t from, uint64_t end)
{
	struct file_clone_range range = {
		.src_fd = pages,
		.src_offset = from,
		.src_length = (end - from + LAYER_PAGE - 1) / LAYER_PAGE * LAYER_PAGE,
		.dest_offset = from,
	};

	copy->clones = copy->clones && ioctl(copy->fd, FICLONERANGE, &range) == 0;
	return copy->clones;
}

static int copy_bytes(struct copy *copy, int pages, uint64_t from, uint64_t end)
{
	int result = 0;

	if (!clone_data(copy, pages, from, end)) {
		result = read_all(pages, copy->buffer, (size_t)(end - from), from);
		if (result == 0)
			result = write_all(copy->fd, copy->buffer, (size_t)(end - from), from);
		if (result == 0)
			send_to_disk(copy, end);
	}
	atomic_fetch_add(&copy->commit->fs->layer->progress.done, end - from);
	return result;
}

/* From the layer's page file, or from a base's. */
static int copy_data(struct copy *copy, struct lower *lower, uint64_t from, uint64_t end)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct fs *fs = copy->commit->fs;
	int result = 0;

	if (lower != NULL) {
		result = lower_page_file(fs, copy->inode, lower, &use);
		return result < 0 ? result : copy_bytes(copy, use.fd, from, end);
	}
	if (copy->pages.fd < 0)
		result = layer_page_file(fs, copy->inode, copy->node, true, &copy->pages);
	return result < 0 ? result : copy_bytes(copy, copy->pages.fd, from, end);
}

/* One run from @at on, as it is at this moment. Returns 1 at the end of the file. */
static int copy_run(struct copy *copy, uint64_t *at)
{
	struct node *node = copy->node;
	struct lower *lower = NULL;
	enum page_kind kind;
	uint64_t size, next;
	int result = 0;

	pthread_rwlock_rdlock(&node->lock);
	size = node->stx.stx_size;
	if (*at < size) {
		next = pages_run(&node->pages, *at, size, &kind);
		if (kind == PAGES_CLEAN)
			next = lower_run(node->lower, *at, next, &kind, &lower);
		else if (copy->below)
			kind = PAGES_CLEAN;
		if (kind == PAGES_DATA)
			next = MIN(next, *at + CHUNK);
		if (kind == PAGES_DATA)
			result = copy_data(copy, lower, *at, next);
		else if (kind == PAGES_ZERO)
			result = copy_zeros(copy, *at, next);
		*at = next;
	} else {
		result = ftruncate(copy->fd, (off_t)size) < 0 ? -errno : 1;
	}
	pthread_rwlock_unlock(&node->lock);
	return result;
}

static int copy_content(struct commit *commit, struct inode *inode, int fd, bool below)
{
	CLEANUP(free_pointer) char *buffer = malloc(CHUNK);
	struct copy copy = {.commit = commit,
			    .inode = inode,
			    .node = layer_peek(inode),
			    .pages = FD_USE_NONE,
			    .fd = fd,
			    .buffer = buffer,
			    .clones = commit->fs->layer->kept,
			    .below = below};
	uint64_t at = 0;
	struct stat info;
	int result = 0;

	if (buffer == NULL || fstat(fd, &info) < 0)
		return buffer == NULL ? -ENOMEM : -errno;
	copy.size = (uint64_t)info.st_size;
	while (result == 0) {
		result = copy_run(&copy, &at);
		if (result == 0 && commit->stop->gave_up != NULL &&
		    commit->stop->gave_up(commit->stop->context))
			result = -EINTR;
	}
	fd_use_end(&copy.pages);
	return MIN(result, 0);
}

int commit_fill(struct commit *commit, struct inode *inode, const char *name)
{
	CLEANUP(close_fd) int fd = -1;

	if (lower_content(layer_peek(inode)->lower) == NULL)
		return 0;
	fd = openat(commit->stage, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : copy_content(commit, inode, fd, true);
}

/* Extended attributes that BACKING's object has and the layer's not. */
static int drop_xattrs(struct fs *fs, uint64_t id, const char *path)
{
	CLEANUP(free_pointer) char *list = NULL;
	ssize_t size = listxattr(path, NULL, 0), length;

	if (size <= 0)
		return size < 0 && errno != EOPNOTSUPP ? -errno : 0;
	list = malloc((size_t)size);
	length = list == NULL ? 0 : listxattr(path, list, (size_t)size);
	for (ssize_t at = 0; at < length; at += (ssize_t)strlen(list + at) + 1) {
		CLEANUP(free_pointer) void *value = NULL;

		if (db_xattr_get(fs->layer->db, id, list + at, &value) == -ENODATA &&
		    removexattr(path, list + at) < 0 && errno != ENODATA && errno != EPERM)
			return -errno;
	}
	return list == NULL ? -ENOMEM : 0;
}

static int note_name(void *context, const char *name)
{
	return name_list_add(context, name);
}

static int write_xattrs(struct fs *fs, uint64_t id, const char *path)
{
	struct name_list list = {0};
	int result = db_xattrs(fs->layer->db, id, note_name, &list);

	if (result == 0)
		result = drop_xattrs(fs, id, path);
	for (size_t at = 0; at < list.length && result == 0; at += strlen(list.names + at) + 1) {
		CLEANUP(free_pointer) void *value = NULL;
		ssize_t size = db_xattr_get(fs->layer->db, id, list.names + at, &value);

		if (size >= 0 && setxattr(path, list.names + at, value, (size_t)size, 0) < 0)
			result = -errno;
	}
	free(list.names);
	return result;
}

static struct timespec time_of(const struct statx_timestamp *time, bool own)
{
	if (!own)
		return (struct timespec){.tv_nsec = UTIME_OMIT};
	return (struct timespec){time->tv_sec, time->tv_nsec};
}

/* Owner, extended attributes, mode, times: each may change those before it, and none those after it. */
static int write_attributes(struct commit *commit, const struct subject *subject, const struct statx *stx,
			    uint32_t own, int fd)
{
	struct timespec times[] = {time_of(&stx->stx_atime, own & OWN_ATTRIBUTES),
				   time_of(&stx->stx_mtime, own & (OWN_MTIME | OWN_CONTENT))};
	char path[32];
	int result = 0;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if ((own & OWN_ATTRIBUTES) && fchownat(fd, "", stx->stx_uid, stx->stx_gid, AT_EMPTY_PATH) < 0)
		return -errno;
	if (own & OWN_XATTRS)
		result = write_xattrs(commit->fs, subject->id, path);
	if (result == 0 && (own & OWN_ATTRIBUTES) && !S_ISLNK(subject->type) &&
	    chmod(path, stx->stx_mode & 07777) < 0)
		result = -errno;
	if (result == 0 && utimensat(AT_FDCWD, path, times, 0) < 0)
		result = -errno;
	return result;
}

/*
 * An object that is written here may lie under names that the layer covers, by now also those the commit began with:
 * the next commit would take what was written for somebody else's work. So the names are told what it looks like
 * afterwards, but for those that were wrong about it before: there somebody else was at it.
 */
static int note(struct commit *commit, const struct inode *inode, int fd,
		int (*call)(struct layer_db *db, const struct identity_key *key, const struct statx *now))
{
	struct layer_db *db = commit->fs->layer->db;
	struct statx now;
	int result;

	LOCK_SCOPE(&commit->fs->layer->lock);
	result = db_has_covered(db);
	if (result <= 0)
		return result;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &now) < 0)
		return -errno;
	result = db_begin(db);
	return result < 0 ? result : db_end(db, call(db, &inode->key, &now));
}

/* Does a commit of it change what names note? Owner, mode and extended attributes change neither size nor mtime. */
static bool has_times(const struct subject *subject, uint32_t own)
{
	return S_ISREG(subject->type) && (own & (OWN_CONTENT | OWN_MTIME));
}

int commit_note_before(struct commit *commit)
{
	struct layer_db *db = commit->fs->layer->db;
	int result = db_has_covered(db);
	struct statx now;

	if (result <= 0 || commit->finishing)
		return MIN(result, 0);
	result = db_begin(db);
	if (result < 0)
		return result;
	for (size_t i = 0; i < commit->nodes.count && result == 0; i++) {
		CLEANUP(subject_close) struct subject subject = {0};

		result = subject_open(commit->fs, commit->nodes.list[i], &subject);
		if (result == 0 && subject.inode != NULL && has_times(&subject, subject.own) &&
		    layer_backing_statx(commit->fs, subject.inode, &now) == 0)
			result = db_covered_before(db, &subject.inode->key, &now);
		if (result == -ENOENT)
			result = 0;
	}
	return db_end(db, result);
}

/* For a commit that is repeated after an error: so far the difference is this one's doing. */
static void note_content(struct node *node, int fd)
{
	struct statx now;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &now) < 0)
		return;
	pthread_rwlock_wrlock(&node->lock);
	node->before = origin_state(&now);
	node->unsaved = true;
	pthread_rwlock_unlock(&node->lock);
}

/* @result: of the content, which may have been written in part; @ret_noted: of the layer's own records */
static int write_object_end(struct commit *commit, const struct subject *subject, bool content, int fd,
			    int result, int *ret_noted)
{
	struct node *node = layer_peek(subject->inode);
	struct statx stx;
	uint32_t own;

	LOCK_SCOPE(&commit->fs->layer->lock);
	pthread_rwlock_rdlock(&node->lock);
	stx = node_stat_statx(&node->stx);
	own = atomic_load(&node->own);
	pthread_rwlock_unlock(&node->lock);
	if (result == 0)
		result = write_attributes(commit, subject, &stx, own, fd);
	if (content)
		note_content(node, fd);
	if (content && !commit->fs->layer->kept)
		*ret_noted = layer_save(commit->fs, subject->inode, node);
	if (*ret_noted == 0 && has_times(subject, own))
		*ret_noted = note(commit, subject->inode, fd, db_covered_now);
	return result;
}

static int write_object(struct commit *commit, const struct subject *subject, uint64_t *ret_version,
			int *ret_noted)
{
	bool content = S_ISREG(subject->type) && (subject->own & OWN_CONTENT);
	CLEANUP(close_fd) int fd = commit_open(commit->fs, subject->inode, O_PATH | O_NOFOLLOW);
	CLEANUP(close_fd) int file = -1;
	char link[32];
	int result = 0;

	if (fd < 0)
		return fd;
	/* An interrupted one has written, too; what was wrong before that is marked. */
	if (!commit->finishing && has_times(subject, subject->own))
		*ret_noted = note(commit, subject->inode, fd, db_covered_before);
	if (*ret_noted < 0)
		return *ret_noted;
	*ret_version = atomic_load(&layer_peek(subject->inode)->version);
	if (content) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		file = open(link, O_WRONLY | O_CLOEXEC);
		if (file < 0)
			return -errno;
		result = copy_content(commit, subject->inode, file, false);
	}
	result = write_object_end(commit, subject, content, fd, result, ret_noted);
	/* Before the layer's pages go. */
	if (result == 0 && content && commit->fs->layer->kept && fsync(file) < 0)
		result = -errno;
	return result;
}

int commit_write(struct commit *commit, const struct subject *subject, uint64_t *ret_version)
{
	CLEANUP(free_pointer) char *path = NULL;
	int noted = 0, result = write_object(commit, subject, ret_version, &noted);

	if (noted < 0)
		return commit_fail(commit, noted, "cannot note in the layer what BACKING has: %s",
				   strerror(-noted));
	/* What is gone from BACKING stays in the layer. */
	if (result == 0 || result == -EINTR || result == -ESTALE)
		return result;
	path = subject_path(commit->fs, subject->id);
	/* A file that was removed meanwhile, and its pages with it. */
	if (path == NULL && !S_ISDIR(subject->type))
		return -ESTALE;
	return commit_fail(commit, result, "cannot write '%s' in BACKING: %s", path == NULL ? "?" : path,
			   strerror(-result));
}
