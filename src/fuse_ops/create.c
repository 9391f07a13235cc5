/* SPDX-License-Identifier: MIT */
/*
 * New names. Objects are made as their caller, with its ids, the group that matters and its umask, by
 * the one system call that makes them: nobody sees them with another owner.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "creds.h"
#include "fuse_ops/ops.h"
#include "sync.h"

/* A directory to make something in, and the caller's identity put on, until the block ends. */
struct place {
	struct fd_use parent;
	struct creds creds;
};

static void place_leave(struct place *place)
{
	creds_restore(&place->creds);
	fd_use_end(&place->parent);
}

static int place_enter(fuse_req_t req, fuse_ino_t parent, struct inode **ret_directory,
		       struct place *ret_place)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct fs *fs = op_fs(req);
	struct inode *directory = inode_find(fs, parent);
	int result;

	*ret_place = (struct place){.parent = FD_USE_NONE};
	*ret_directory = directory;
	if (directory == NULL)
		return -ESTALE;
	if (fs->read_only)
		return -EROFS;
	if (atomic_load(&directory->covered))
		return -EBUSY;
	creds_keep_setid(fs, true);
	result = inode_fd(fs, directory, FD_PATH, &ret_place->parent);
	if (result == 0)
		result = creds_become(fs, ctx->uid, ctx->gid, ctx->umask, request_current(),
				      &ret_place->creds);
	/* The kernel has checked the caller; of its groups the request names but one. */
	if (result == 0)
		creds_override(&ret_place->creds, true);
	return result;
}

/* Answers with the entry that was made, once the place is left. */
static void reply_made(fuse_req_t req, int result, struct inode *directory, const char *name)
{
	struct fs *fs = op_fs(req);
	struct fuse_entry_param entry;
	struct sight sight;
	struct found found;

	if (result == 0) {
		sync_names_changed(fs, directory);
		sight = op_sight(fs, directory);
		result = inode_lookup(fs, directory, name, &found);
	}
	if (result < 0) {
		fuse_reply_err(req, -result);
		return;
	}
	op_fill_entry(fs, &sight, &found, &entry);
	if (fuse_reply_entry(req, &entry) < 0)
		inode_forget(fs, entry.ino, 1);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	CLEANUP(place_leave) struct place place;
	struct inode *directory;
	int result = place_enter(req, parent, &directory, &place);

	if (result == 0 && mknodat(place.parent.fd, name, mode, rdev) < 0)
		result = -errno;
	place_leave(&place);
	reply_made(req, result, directory, name);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	CLEANUP(place_leave) struct place place;
	struct inode *directory;
	int result = place_enter(req, parent, &directory, &place);

	if (result == 0 && mkdirat(place.parent.fd, name, mode) < 0)
		result = -errno;
	place_leave(&place);
	reply_made(req, result, directory, name);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	CLEANUP(place_leave) struct place place;
	struct inode *directory;
	int result = place_enter(req, parent, &directory, &place);

	if (result == 0 && symlinkat(target, place.parent.fd, name) < 0)
		result = -errno;
	place_leave(&place);
	reply_made(req, result, directory, name);
}

void op_link(fuse_req_t req, fuse_ino_t nodeid, fuse_ino_t parent, const char *name)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	CLEANUP(fd_use_end) struct fd_use into = FD_USE_NONE;
	struct fs *fs = op_fs(req);
	struct inode *inode = op_begin(req, nodeid);
	struct inode *directory;
	char number[16];
	int result;

	if (inode == NULL || !op_changes(req))
		return;
	directory = inode_find(fs, parent);
	if (directory == NULL)
		result = -ESTALE;
	else if (atomic_load(&directory->covered))
		result = -EBUSY;
	else
		result = inode_fd(fs, inode, FD_PATH, &use);
	if (result == 0)
		result = inode_fd(fs, directory, FD_PATH, &into);
	snprintf(number, sizeof(number), "%d", use.fd);
	if (result == 0 && linkat(fs->proc_fd, number, into.fd, name, AT_SYMLINK_FOLLOW) < 0)
		result = -errno;
	fd_use_end(&use);
	fd_use_end(&into);
	reply_made(req, result, directory, name);
}

/* Opens what a racing client or BACKING put under the name: as the caller, and only a regular file. */
static int open_existing(struct fs *fs, int parent_fd, const char *name, int flags)
{
	CLEANUP(close_fd) int fd = openat(parent_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat info;
	char number[16];
	int opened;

	if (fd < 0 || fstat(fd, &info) < 0)
		return -errno;
	if (S_ISLNK(info.st_mode))
		return -ELOOP;
	if (S_ISDIR(info.st_mode))
		return -EISDIR;
	if (!S_ISREG(info.st_mode))
		return -ENXIO;
	snprintf(number, sizeof(number), "%d", fd);
	/* Truncated later, with the care that takes; whether the caller may, is asked now. */
	if ((flags & O_TRUNC) && (flags & O_ACCMODE) == O_RDONLY)
		flags = O_RDWR;
	opened = openat(fs->proc_fd, number, (flags & O_ACCMODE) | O_CLOEXEC);
	return opened < 0 ? -errno : opened;
}

/* Makes the file, and returns a descriptor that its inode can be found by. */
static int create_file(struct fs *fs, const struct place *place, const char *name, mode_t mode, int flags,
		       bool *ret_created)
{
	int fd;

	*ret_created = true;
	do {
		if (request_current()->anonymous)
			fd = openat(place->parent.fd, ".", O_TMPFILE | O_RDWR | (flags & O_EXCL) | O_CLOEXEC,
				    mode);
		else
			fd = openat(place->parent.fd, name,
				    O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, mode);
	} while (fd < 0 && fd_cache_relieve(&fs->fds, errno));
	if (fd >= 0)
		return fd;
	if (errno != EEXIST || (flags & O_EXCL))
		return -errno;
	*ret_created = false;
	/* Whose file that is, and whether the caller may open it, nobody has checked. */
	creds_override(&place->creds, false);
	return open_existing(fs, place->parent.fd, name, flags);
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	CLEANUP(place_leave) struct place place;
	CLEANUP(close_fd) int fd = -1;
	struct fs *fs = op_fs(req);
	struct fuse_entry_param entry;
	struct inode *directory;
	struct sight sight = {0};
	struct found found;
	bool created = false;
	int result = place_enter(req, parent, &directory, &place);

	if (result == 0) {
		sight = op_sight(fs, directory);
		fd = create_file(fs, &place, name, mode, fi->flags, &created);
		result = fd < 0 ? fd : 0;
	}
	place_leave(&place);
	if (result == 0 && created && !request_current()->anonymous)
		sync_names_changed(fs, directory);
	if (result == 0)
		result = inode_lookup_fd(fs, fd, &found);
	if (result < 0) {
		fuse_reply_err(req, -result);
		return;
	}
	if (created)
		fi->flags &= ~O_TRUNC; /* there is nothing to truncate */
	result = op_open_handle(req, found.inode, created ? &fd : NULL, fi);
	if (result < 0) {
		inode_forget(fs, found.inode->nodeid, 1);
		fuse_reply_err(req, -result);
		return;
	}
	op_fill_entry(fs, &sight, &found, &entry);
	if (fuse_reply_create(req, &entry, fi) < 0) {
		op_close_handle(fs, fi->fh);
		inode_forget(fs, entry.ino, 1);
	}
}
