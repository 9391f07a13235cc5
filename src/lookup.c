/* SPDX-License-Identifier: MIT */
/*
 * Happy path of a look-up: one statx(2) names the object, its key is found in the table, the kernel's
 * count goes up. For an object not seen before a file handle is asked for, so that no descriptor
 * needs to stay open; without handles (or privileges) an O_PATH descriptor stands for it.
 *
 * Failure modes: the name changes between statx and the handle (the handle's own inode number tells);
 * the descriptor limit is reached where descriptors are all there is (the kernel is asked to forget
 * entries, the look-up waits a while for that); an inode number is used again for a new object while
 * the kernel still knows the old one (the birth time tells, the old one leaves the key table).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "fs.h"
#include "inode.h"
#include "inode_private.h"
#include "layer/layer.h"
#include "layer/serve.h"
#include "request.h"
#include "session.h"
#include "util.h"

#define FORGET_WAIT_MS 2000
/* How long all workers may be at something else: on a busy machine they are so for moments. */
#define UNATTENDED_MS 100

/* Waits until the kernel has forgotten enough for one more descriptor. */
static int wait_for_descriptor(struct fs *fs)
{
	int unattended_ms = 0;

	for (int waited_ms = 0; atomic_load(&fs->fds.count) >= fs->fds.limit; waited_ms += 5) {
		if (fd_cache_shrink(&fs->fds, 1) > 0)
			return 0;
		/* Only workers take in what the kernel forgets, and a listing must not wait at each name. */
		unattended_ms = atomic_load(&fs->idle_workers) == 0 ? unattended_ms + 5 : 0;
		if (waited_ms >= FORGET_WAIT_MS || unattended_ms > UNATTENDED_MS ||
		    request_current()->impatient)
			return -ENFILE;
		session_forget_later(fs->session, 0);
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	}
	return 0;
}

/* An inode that is kept by descriptor. @fd is consumed. */
static int make_by_fd(struct fs *fs, const struct statx *stx, int fd, struct inode **ret_inode)
{
	struct inode *inode;
	struct fd_use use;

	inode = inode_new(fs, stx);
	if (inode == NULL) {
		close(fd);
		return -ENOMEM;
	}
	fd_slot_fill(&fs->fds, &inode->slots[FD_PATH], inode, FD_PATH, fd, &use);
	if (use.slot == NULL) {
		fd_use_end(&use);
		inode_free(fs, inode);
		return -ENFILE;
	}
	fd_use_end(&use);
	if (atomic_load(&fs->fds.count) > fs->fds.limit / 4 * 3)
		session_forget_later(fs->session, 0);
	*ret_inode = inode_publish(fs, inode);
	return 0;
}

/*
 * A new inode for a name, or for the open object that an empty name stands for. The descriptor is
 * opened first and described afterwards, so that nothing can change in between.
 */
static int make_kept(struct fs *fs, int directory_fd, const char *name, struct found *ret_found)
{
	CLEANUP(close_fd) int fd = -1;
	char number[16];
	int result = wait_for_descriptor(fs);

	if (result < 0)
		return result;
	snprintf(number, sizeof(number), "%d", directory_fd);
	do {
		fd = *name != '\0' ? openat(directory_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC)
				   : openat(fs->proc_fd, number, O_PATH | O_CLOEXEC);
	} while (fd < 0 && fd_cache_relieve(&fs->fds, errno));
	if (fd < 0)
		return -errno;
	if (statx(fd, "", AT_EMPTY_PATH | fs->statx_flags, STATX_WANTED, &ret_found->stx) < 0)
		return -errno;
	result = make_by_fd(fs, &ret_found->stx, fd, &ret_found->inode);
	fd = -1;
	return result;
}

/* @stx describes what @name led to a moment ago. */
static int make(struct fs *fs, int directory_fd, const char *name, struct found *ret_found)
{
	struct identity_handle *handle = NULL;
	const struct statx *stx = &ret_found->stx;
	uint64_t packed;
	int mount = fs_mount_index(fs, directory_fd, name, stx);
	struct inode *inode;

	/* An object without a name may be out of reach of its handle, once nobody has it open. */
	if (mount < 0 || stx->stx_nlink == 0 || identity_handle_new(directory_fd, name, mount, &handle) < 0)
		return make_kept(fs, directory_fd, name, ret_found);
	packed = identity_pack(handle);
	if (packed == 0 || (uint32_t)packed != stx->stx_ino) {
		/* Another object has the name by now, or the handle does not say which it belongs to. */
		CLEANUP(close_fd) int fd = identity_handle_open(fs->mounts.mount[mount].fd, handle, O_PATH);

		if (fd < 0 ||
		    statx(fd, "", AT_EMPTY_PATH | fs->statx_flags, STATX_WANTED, &ret_found->stx) < 0) {
			free(handle);
			return fd < 0 ? fd : -errno;
		}
	}
	inode = inode_new(fs, stx);
	if (inode == NULL) {
		free(handle);
		return -ENOMEM;
	}
	inode->handle = handle;
	ret_found->inode = inode_publish(fs, inode);
	return 0;
}

/* Below BACKING the mount's own root is the directory it covers, and is never entered. */
static int lookup_covered(struct fs *fs, struct found *ret_found)
{
	struct identity_key key;
	int result = 0;

	if (fs->covered_fd < 0)
		return -ELOOP;
	if (statx(fs->covered_fd, "", AT_EMPTY_PATH, STATX_WANTED, &ret_found->stx) < 0)
		return -errno;
	key = identity_of_statx(&ret_found->stx);
	if (!inode_count_lookup(fs, &key, &ret_found->inode))
		result = make_kept(fs, fs->covered_fd, "", ret_found);
	if (result == 0 && ret_found->inode != fs->root)
		atomic_store(&ret_found->inode->covered, true);
	return result;
}

static int lookup_at(struct fs *fs, int directory_fd, const char *name, struct found *ret_found)
{
	int flags = *name == '\0' ? AT_EMPTY_PATH : AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
	struct identity_key key;

	/* Without asking first: the answer tells whether asking would be asking ourselves. */
	if (statx(directory_fd, name, flags | AT_STATX_DONT_SYNC, STATX_WANTED, &ret_found->stx) < 0)
		return -errno;
	key = identity_of_statx(&ret_found->stx);
	if (key.dev == atomic_load_explicit(&fs->own_dev, memory_order_relaxed))
		return lookup_covered(fs, ret_found);
	if (fs->statx_flags == 0 && statx(directory_fd, name, flags, STATX_WANTED, &ret_found->stx) < 0)
		return -errno;
	key = identity_of_statx(&ret_found->stx);
	if (inode_count_lookup(fs, &key, &ret_found->inode))
		return 0;
	return make(fs, directory_fd, name, ret_found);
}

int inode_lookup_fd(struct fs *fs, int fd, struct found *ret_found)
{
	return lookup_at(fs, fd, "", ret_found);
}

int inode_lookup(struct fs *fs, struct inode *directory, const char *name, struct found *ret_found)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	CLEANUP(close_fd) int parent = -1;
	int result = inode_fd(fs, directory, FD_PATH, &use), tries = 0;

	if (result < 0)
		return result;
	if (strcmp(name, ".") == 0 || (directory == fs->root && strcmp(name, "..") == 0))
		return lookup_at(fs, use.fd, "", ret_found);
	if (strcmp(name, "..") != 0 && atomic_load(&directory->covered))
		return -ENOENT;
	if (strcmp(name, "..") != 0) {
		do
			result = lookup_at(fs, use.fd, name, ret_found);
		while (result == -ESTALE && ++tries < REPLACED_TRIES);
		return result;
	}
	parent = openat(use.fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		return -errno;
	/* The directory may have been moved out of BACKING, by somebody who may do that there. */
	if (!fs_walk_contains(fs, parent))
		return -ESTALE;
	return lookup_at(fs, parent, "", ret_found);
}

int inode_lookup_id(struct fs *fs, uint64_t nodeid, struct found *ret_found)
{
	CLEANUP(free_pointer) struct identity_handle *handle = NULL;
	CLEANUP(close_fd) int fd = -1;
	CLEANUP(free_pointer) char *path = NULL;
	size_t prefix = strlen(fs->backing_path);
	char number[32];
	int result;

	if (!fs->handles || fs->root->handle == NULL)
		return -ESTALE;
	result = identity_unpack(nodeid, fs->root->handle, &handle);
	if (result < 0)
		return -ESTALE;
	fd = identity_handle_open(fs->mounts.mount[handle->mount].fd, handle, O_PATH);
	if (fd < 0)
		return -ESTALE;
	/* A forged handle must not lead out of BACKING. */
	if (statx(fd, "", AT_EMPTY_PATH | fs->statx_flags, STATX_WANTED, &ret_found->stx) < 0)
		return -ESTALE;
	if (S_ISDIR(ret_found->stx.stx_mode)) {
		if (!fs_walk_contains(fs, fd))
			return -ESTALE;
	} else {
		path = calloc(1, PATH_MAX + 1);
		snprintf(number, sizeof(number), "%d", fd);
		if (path == NULL || readlinkat(fs->proc_fd, number, path, PATH_MAX) < 0 ||
		    strncmp(path, fs->backing_path, prefix) != 0 || (prefix > 1 && path[prefix] != '/'))
			return -ESTALE;
	}
	return lookup_at(fs, fd, "", ret_found);
}

char *inode_name(struct fs *fs, struct inode *inode)
{
	LAYER_SERVE_SCOPE(fs);
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	char number[16];
	char *path = calloc(1, PATH_MAX + 1), *found;

	if (path == NULL)
		return NULL;
	if (fs->layer != NULL && (found = layer_path(fs, inode)) != NULL) {
		free(path);
		return found;
	}
	if (inode_fd(fs, inode, FD_PATH, &use) == 0) {
		snprintf(number, sizeof(number), "%d", use.fd);
		if (readlinkat(fs->proc_fd, number, path, PATH_MAX) > 0)
			return path;
	}
	snprintf(path, PATH_MAX, "inode %llu", (unsigned long long)inode->key.ino);
	return path;
}

int inode_hold(struct fs *fs, struct inode *inode)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	int fd;

	if (fd_slot_use(&fs->fds, &inode->slots[FD_PATH], &use))
		return 0;
	fd = inode_open(fs, inode, O_PATH);
	if (fd < 0)
		return fd;
	fd_slot_fill(&fs->fds, &inode->slots[FD_PATH], inode, FD_PATH, fd, &use);
	return 0;
}

int inode_keep(struct fs *fs, struct inode *inode)
{
	atomic_store(&inode->sticky, true);
	/* The path descriptor itself: one for reading or writing goes when nobody reads or writes. */
	return inode_hold(fs, inode);
}
