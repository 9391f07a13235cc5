/* SPDX-License-Identifier: MIT */
/* Descriptors of inodes: opening them, and which of them must stay. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "file.h"
#include "fs.h"
#include "inode.h"
#include "layer/layer.h"
#include "layer/serve.h"
#include "pager.h"
#include "util.h"

/*
 * Is this descriptor all that keeps an open file alive? BACKING may have removed its name, and then no
 * handle leads back to it.
 */
static bool is_last_thread(const struct inode *inode, enum fd_kind kind)
{
	struct file *file = atomic_load(&((struct inode *)inode)->file);
	struct stat info;

	if (file == NULL || !file_may_be_open(file))
		return false;
	for (int other = 0; other < FD_KINDS; other++) {
		if (other != (int)kind && fd_slot_peek(&inode->slots[other]) >= 0)
			return false;
	}
	return fstat(fd_slot_peek(&inode->slots[kind]), &info) == 0 && info.st_nlink == 0;
}

bool inode_slot_keeps(const void *object, enum fd_kind kind)
{
	const struct inode *inode = object;
	struct file *file;

	if (kind == FD_LAYER)
		return false;
	if (atomic_load(&inode->sticky))
		return true;
	if (inode->handle != NULL)
		return is_last_thread(inode, kind);
	if (kind == FD_PATH)
		return true;
	/* Without handles a descriptor is opened with the daemon's permissions of then, which may have
	 * gone since: who has the file open must not notice. */
	file = atomic_load(&((struct inode *)inode)->file);
	return file != NULL && atomic_load(&file->openers) > 0;
}

static int open_again(struct fs *fs, struct inode *inode, int flags)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	char number[16];
	int fd;

	for (int kind = 0; kind < FD_KINDS && use.fd < 0; kind++)
		fd_slot_use(&fs->fds, &inode->slots[kind], &use);
	if (use.fd < 0) {
		if (inode->handle == NULL)
			return fs->layer != NULL ? layer_open_pages(fs, inode) : -ESTALE;
		do {
			fd = identity_handle_open(fs->mounts.mount[inode->handle->mount].fd, inode->handle,
						  flags);
		} while (fd < 0 && fd_cache_relieve(&fs->fds, -fd));
		return fd;
	}
	snprintf(number, sizeof(number), "%d", use.fd);
	do {
		fd = openat(fs->proc_fd, number, flags | O_CLOEXEC);
	} while (fd < 0 && fd_cache_relieve(&fs->fds, errno));
	return fd < 0 ? -errno : fd;
}

int inode_open(struct fs *fs, struct inode *inode, int flags)
{
	LAYER_SERVE_SCOPE(fs);
	int fd;

	if (fs->layer == NULL || (flags & O_PATH))
		return open_again(fs, inode, flags);
	/* BACKING is only read, and without leaving a trace. */
	if ((flags & O_ACCMODE) != O_RDONLY)
		return -EROFS;
	fd = open_again(fs, inode, flags | O_NOATIME);
	return fd == -EPERM ? open_again(fs, inode, flags) : fd;
}

int inode_fd(struct fs *fs, struct inode *inode, enum fd_kind kind, struct fd_use *ret_use)
{
	LAYER_SERVE_SCOPE(fs);
	static const int flags[] = {[FD_PATH] = O_PATH, [FD_READ] = O_RDONLY, [FD_WRITE] = O_RDWR};
	int fd;

	/* The one that the others were opened through first: it knows the file's name best. */
	if (kind == FD_PATH && fd_slot_use(&fs->fds, &inode->slots[FD_PATH], ret_use))
		return 0;
	if (kind != FD_PATH && !(kind == FD_READ && atomic_load(&inode->write_only)) &&
	    fd_slot_use(&fs->fds, &inode->slots[FD_WRITE], ret_use))
		return 0;
	if (kind != FD_WRITE && fd_slot_use(&fs->fds, &inode->slots[FD_READ], ret_use))
		return 0;
	if (kind == FD_PATH && fd_slot_use(&fs->fds, &inode->slots[FD_WRITE], ret_use))
		return 0;
	fd = inode_open(fs, inode, flags[kind]);
	if (fd == -EACCES && kind == FD_WRITE) {
		fd = inode_open(fs, inode, O_WRONLY);
		if (fd >= 0)
			atomic_store(&inode->write_only, true);
	}
	/* chattr +a: whoever opens it for writing only appends, and may do no more. */
	if (fd == -EPERM && kind == FD_WRITE)
		fd = inode_open(fs, inode, O_RDWR | O_APPEND);
	if (fd < 0)
		return fd;
	if (kind != FD_PATH)
		pager_descriptor(inode, fd);
	fd_slot_fill(&fs->fds, &inode->slots[kind], inode, kind, fd, ret_use);
	return 0;
}
