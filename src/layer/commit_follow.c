/* SPDX-License-Identifier: MIT */
/*
 * The way from a node to its object in BACKING, to write there. Where no handle leads to it, only paths do, and a commit
 * changes those: so it holds a descriptor of each of its objects from the beginning, when all of them lead somewhere.
 * What an interrupted commit has moved is found in the stage, or where the layer has it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "fs.h"
#include "layer/commit_private.h"
#include "layer/serve.h"
#include "util.h"

/* What is under a name, if it is what the inode stands for; else -ESTALE. */
static int open_same(struct inode *inode, int directory, const char *name, int flags)
{
	struct statx stx;
	int fd = openat(directory, name, flags | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? -ESTALE : -errno;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &stx) == 0 &&
	    commit_same(inode, &stx))
		return fd;
	close(fd);
	return -ESTALE;
}

struct wanted {
	struct fs *fs;
	struct inode *inode;
	int flags;
};

static int open_in(void *context, struct inode *directory, const char *name)
{
	const struct wanted *wanted = context;
	CLEANUP(close_fd) int fd = commit_open(wanted->fs, directory, O_PATH | O_DIRECTORY);

	return fd < 0 ? -ESTALE : open_same(wanted->inode, fd, name, wanted->flags);
}

/* Under one of the names that the layer has for it, or from which it moved it. */
static int open_by_name(struct fs *fs, struct inode *inode, uint64_t id, int flags)
{
	return subject_try_places(fs, id, &inode->key, open_in, &(struct wanted){fs, inode, flags});
}

static int reopen(int fd, int flags)
{
	int result = flags & O_PATH ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : openat(fd, ".", flags | O_CLOEXEC);

	return result < 0 ? -errno : result;
}

int commit_open(struct fs *fs, struct inode *inode, int flags)
{
	CLEANUP(free_pointer) char *path = NULL;
	struct node *node = layer_peek(inode);
	char staged[sizeof(fs->layer->stage) + 34], name[32];
	int result = -ESTALE, found;

	if (inode->handle != NULL && inode->handle->mount == 0)
		return identity_handle_open(fs->layer->writable, inode->handle, flags);
	LOCK_SCOPE(&fs->layer->lock);
	if (node != NULL && node->followed >= 0)
		return reopen(node->followed, flags);
	/* Of a file with several names it is one that may have been removed. */
	path = subject_origin_path(fs, inode);
	if (path != NULL)
		result = open_same(inode, fs->layer->writable, *path == '\0' ? "." : path, flags);
	if (result != -ESTALE || inode == fs->root)
		return result;
	found = layer_node(fs, inode, &node);
	if (found < 0 || atomic_load(&node->id) == 0)
		return found < 0 ? found : -ESTALE;
	commit_stage_name(atomic_load(&node->id), name);
	snprintf(staged, sizeof(staged), "%s/%s", fs->layer->stage, name);
	result = open_same(inode, fs->layer->writable, staged, flags);
	return result == -ESTALE ? open_by_name(fs, inode, atomic_load(&node->id), flags) : result;
}

static int keep_inode(struct commit *commit, struct inode *inode)
{
	size_t count = commit->followed.count;
	struct inode **inodes = commit->inodes;

	/* Room for a power of two. */
	if ((count & (count - 1)) == 0) {
		inodes = reallocarray(inodes, MAX(2 * count, 1), sizeof(struct inode *));
		if (inodes == NULL)
			return -ENOMEM;
		commit->inodes = inodes;
	}
	inodes[count] = inode;
	return 0;
}

static int say_limit(struct commit *commit, int error)
{
	return commit_fail(commit, error,
			   "without CAP_DAC_READ_SEARCH each object of a commit needs two descriptors: %s",
			   strerror(-error));
}

int commit_follow(struct commit *commit, uint64_t id)
{
	CLEANUP(subject_close) struct subject subject = {0};
	CLEANUP(close_fd) int fd = -1;
	struct fs *fs = commit->fs;
	struct node *node;
	int result;

	if (ids_has(&commit->followed, id))
		return 0;
	result = subject_open(fs, id, &subject);
	if (result == -EMFILE || result == -ENFILE)
		return say_limit(commit, result);
	if (result < 0 || !subject.has_origin || subject.inode == NULL || subject.inode == fs->root ||
	    (subject.inode->handle != NULL && subject.inode->handle->mount == 0))
		return result == -ENOENT ? 0 : result;
	result = layer_node(fs, subject.inode, &node);
	if (result == 0)
		result = fd = commit_open(fs, subject.inode, O_PATH);
	/* Somebody has removed it. */
	if (result == -ESTALE)
		return 0;
	if (result == -EMFILE || result == -ENFILE)
		return say_limit(commit, result);
	if (result >= 0)
		result = keep_inode(commit, subject.inode);
	if (result == 0)
		result = MIN(ids_add(&commit->followed, id), 0);
	if (result < 0)
		return result;
	node->followed = fd;
	fd = -1;
	/* With its lookup, so that what it stands for stays known. */
	subject.inode = NULL;
	return 0;
}

void commit_placed(struct inode *inode, int directory, const char *name)
{
	struct node *node = layer_peek(inode);
	int fd;

	if (node == NULL || node->followed < 0)
		return;
	fd = open_same(inode, directory, name, O_PATH);
	if (fd < 0)
		return;
	close(node->followed);
	node->followed = fd;
}

/* The inode's descriptors come to know a name that @fd was opened by; theirs is no more. */
static void renew(struct fs *fs, struct inode *inode, int fd)
{
	CLEANUP(close_fd) int again = -1;
	char number[16];

	(void)fd_slot_renew(&fs->fds, &inode->slots[FD_PATH], fd);
	if (fd_slot_peek(&inode->slots[FD_READ]) < 0)
		return;
	snprintf(number, sizeof(number), "%d", fd);
	again = openat(fs->proc_fd, number, O_RDONLY | O_NOATIME | O_CLOEXEC);
	if (again < 0)
		again = openat(fs->proc_fd, number, O_RDONLY | O_CLOEXEC);
	if (again >= 0)
		(void)fd_slot_renew(&fs->fds, &inode->slots[FD_READ], again);
}

void commit_refresh(struct commit *commit)
{
	struct fs *fs = commit->fs;

	for (size_t i = 0; i < commit->followed.count; i++) {
		CLEANUP(close_fd) int fd = -1;
		struct inode *inode = commit->inodes[i];
		const struct node *node = layer_peek(inode);

		if (S_ISDIR(inode->type) || node == NULL || node->followed < 0)
			continue;
		fd = open_by_name(fs, inode, commit->followed.list[i], O_PATH);
		if (fd < 0)
			fd = reopen(node->followed, O_PATH);
		if (fd >= 0)
			renew(fs, inode, fd);
	}
}

void commit_follow_end(struct commit *commit)
{
	for (size_t i = 0; i < commit->followed.count; i++) {
		struct inode *inode = commit->inodes[i];
		struct node *node;

		LAYER_SERVE_SCOPE(commit->fs);
		LOCK_SCOPE(&commit->fs->layer->lock);
		node = layer_peek(inode);
		if (node != NULL)
			close_fd(&node->followed);
		inode_forget(commit->fs, inode->nodeid, 1);
	}
	free_pointer(&commit->inodes);
	ids_fini(&commit->followed);
}
