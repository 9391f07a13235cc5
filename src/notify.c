/* SPDX-License-Identifier: MIT */
/*
 * What the daemon asks of the kernel: to hand over what it holds dirty of the mount, and to forget what it
 * has cached. Each call waits for the kernel, which may wait for the workers: never from one of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "file.h"
#include "fs.h"
#include "log.h"
#include "protocol.h"
#include "session.h"
#include "session_private.h"

#define PRUNE_BATCH 256

/*
 * The root of the mount, as a client of it, or -1. By way of a copy of the mount that has no place in the
 * tree, where the daemon may make one: an open file of the mount itself would make umount(8) fail as busy.
 */
static int open_own_root(const struct session *session)
{
	const char *path = session->fs->mount_path;
	int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK;
	CLEANUP(close_fd)
	int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_NO_AUTOMOUNT);
	int fd = tree < 0 ? open(path, flags) : openat(tree, ".", flags);
	struct stat info;

	if (fd >= 0 && fstat(fd, &info) == 0 && info.st_dev == atomic_load(&session->fs->own_dev))
		return fd;
	close_fd(&fd);
	return -1;
}

int session_flush_clients(struct session *session)
{
	CLEANUP(close_fd) int fd = open_own_root(session);

	if (fd < 0)
		return 0;
	return syncfs(fd) < 0 ? -errno : 0;
}

/* As the kernel makes them for this mount (fuse_encode_fh(), Linux): nodeid and generation. */
#define FUSE_HANDLE_TYPE 0x81
struct fuse_file_handle {
	struct file_handle head;
	uint32_t id[3];
};

static void fsync_client_file(int mount_fd, uint64_t nodeid)
{
	struct fuse_file_handle handle = {
		.head = {.handle_bytes = sizeof(handle.id), .handle_type = FUSE_HANDLE_TYPE},
		.id = {(uint32_t)(nodeid >> 32), (uint32_t)nodeid, 0},
	};
	CLEANUP(close_fd)
	int fd = open_by_handle_at(mount_fd, &handle.head, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	/* What fails here is recorded for the file's own handles. */
	if (fd >= 0 && fsync(fd) < 0)
		log_debug("fsync nodeid %llu: %s", (unsigned long long)nodeid, strerror(errno));
}

/* The nodeids of files that are open for writing: a malloc'ed array. */
static size_t open_for_writing(struct fs *fs, uint64_t **ret_nodeids)
{
	size_t size = atomic_load(&fs->handle_table.count), count = 0;
	uint64_t *nodeids = calloc(size + 1, sizeof(nodeids[0])), id = 0;
	struct inode *inode;

	*ret_nodeids = nodeids;
	while (nodeids != NULL && count < size &&
	       (id = handle_table_next(&fs->handle_table, id, inode_ref, &inode)) != 0) {
		struct file *file = file_peek(inode);

		if (file != NULL && atomic_load(&file->writers) > 0)
			nodeids[count++] = atomic_load(&inode->nodeid);
		inode_unref(fs, inode);
	}
	return count;
}

int session_fsync_clients(struct session *session)
{
	CLEANUP(free_pointer) uint64_t *nodeids = NULL;
	CLEANUP(close_fd) int fd = open_own_root(session);
	int result = session_flush_clients(session);
	size_t count;

	if (fd < 0)
		return result;
	count = open_for_writing(session->fs, &nodeids);
	for (size_t i = 0; i < count; i++)
		fsync_client_file(fd, nodeids[i]);
	return result;
}

void session_forget_content(struct session *session, uint64_t nodeid)
{
	fuse_lowlevel_notify_inval_inode(session->fuse, nodeid, 0, 0);
}

/* The next inodes that are kept by descriptor, from where the last call stopped. */
static size_t oldest_kept(struct session *session, uint64_t *nodeids, size_t wanted)
{
	struct fd_cache *fds = &session->fs->fds;
	size_t found = 0;

	LOCK_SCOPE(&fds->lock);
	for (size_t steps = fds->capacity; steps > 0 && found < wanted; steps--) {
		struct fd_owner *owner = &fds->owners[session->forget_hand];
		struct inode *inode = owner->object;

		session->forget_hand = (session->forget_hand + 1) % fds->capacity;
		if (owner->slot != NULL && owner->kind == FD_PATH && inode->handle == NULL &&
		    inode != session->fs->root && atomic_load(&inode->nodeid) != 0)
			nodeids[found++] = atomic_load(&inode->nodeid);
	}
	return found;
}

void session_ask_to_forget(struct session *session)
{
	uint64_t nodeids[PRUNE_BATCH];
	struct protocol_notify_prune prune = {0};
	struct fuse_out_header header = {.error = PROTOCOL_NOTIFY_PRUNE};
	struct iovec iov[] = {{&header, sizeof(header)}, {&prune, sizeof(prune)}, {nodeids, 0}};
	size_t count;

	LOCK_SCOPE(&session->forget_lock);
	count = oldest_kept(session, nodeids, PRUNE_BATCH);
	if (count == 0)
		return;
	prune.count = (uint32_t)count;
	iov[2].iov_len = count * sizeof(nodeids[0]);
	header.len = (uint32_t)(sizeof(header) + sizeof(prune) + iov[2].iov_len);
	if (atomic_load(&session->protocol.kernel_minor) >= PROTOCOL_MINOR_PRUNE &&
	    writev(session->fd, iov, 3) >= 0)
		return;
	/* An older kernel: let it drop its caches of names and inodes that nobody uses. */
	for (size_t i = 0; i < count; i++)
		fuse_lowlevel_notify_inval_inode(session->fuse, nodeids[i], -1, 0);
}
