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
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "apart.h"
#include "file.h"
#include "fs.h"
#include "log.h"
#include "protocol.h"
#include "session.h"
#include "session_private.h"
#include "unopened.h"

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

/* As the kernel makes them for this mount (fuse_encode_fh(), Linux): nodeid and generation. */
#define FUSE_HANDLE_TYPE 0x81
struct fuse_file_handle {
	struct file_handle head;
	uint32_t id[3];
};

/* A file that clients may store to, as it is found on the mount: by handle, or below the root by name. */
struct client_file {
	uint64_t nodeid;
	char *path;  /* NULL where handles can be opened */
	bool writes; /* known to be open for writing */
};

static void fsync_client_file(int root, const struct client_file *client)
{
	struct fuse_file_handle handle = {
		.head = {.handle_bytes = sizeof(handle.id), .handle_type = FUSE_HANDLE_TYPE},
		.id = {(uint32_t)(client->nodeid >> 32), (uint32_t)client->nodeid, 0},
	};
	int flags = O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW, fd;

	if (client->path == NULL)
		fd = open_by_handle_at(root, &handle.head, O_RDONLY | flags);
	else if ((fd = openat(root, client->path, O_RDONLY | flags)) < 0)
		fd = openat(root, client->path, O_WRONLY | flags);
	if (fd < 0)
		return;
	/* What fails is recorded for the file's own handles. Where nobody tells who stores, most files have
	 * nothing to hand over, and need no sync of BACKING's. */
	if (client->writes)
		fsync(fd);
	else
		sync_file_range(fd, 0, 0,
				SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
					SYNC_FILE_RANGE_WAIT_AFTER);
	close(fd);
}

/* The path below BACKING, or NULL where the file has none: then nobody can come back to it either. */
static char *path_below(struct fs *fs, struct inode *inode)
{
	CLEANUP(free_pointer) char *name = inode_name(fs, inode);
	size_t length = strlen(fs->backing_path);

	if (name == NULL || strncmp(name, fs->backing_path, length) != 0 || name[length] != '/')
		return NULL;
	return strdup(name + length + 1);
}

/* False where the file cannot be found on the mount. */
static bool client_file_of(struct fs *fs, struct inode *inode, bool writes, struct client_file *ret_client)
{
	*ret_client = (struct client_file){
		.nodeid = atomic_load(&inode->nodeid),
		.path = fs->handles ? NULL : path_below(fs, inode),
		.writes = writes,
	};
	return fs->handles || ret_client->path != NULL;
}

/* Every file that was read or written: any of them may be mapped. */
static size_t used_files(struct fs *fs, struct client_file **ret_files)
{
	size_t count = 0;

	*ret_files = NULL;
	for (int i = 0; i < INODE_SHARDS; i++) {
		struct inode **inodes;
		size_t found = inode_hold_files(&fs->inodes.by_id[i], &inodes);
		struct client_file *larger = reallocarray(*ret_files, count + found + 1, sizeof(*larger));

		if (larger != NULL)
			*ret_files = larger;
		for (size_t k = 0; k < found; k++) {
			bool writes = atomic_load(&file_peek(inodes[k])->writers) > 0;

			if (larger != NULL)
				count += client_file_of(fs, inodes[k], writes, &larger[count]);
			inode_unref(fs, inodes[k]);
		}
		free(inodes);
	}
	return count;
}

static size_t open_for_writing(struct fs *fs, struct client_file **ret_files)
{
	size_t size = atomic_load(&fs->handle_table.count), count = 0;
	struct client_file *files = calloc(size + 1, sizeof(files[0]));
	struct inode *inode;
	uint64_t id = 0;

	*ret_files = files;
	while (files != NULL && count < size &&
	       (id = handle_table_next(&fs->handle_table, id, inode_ref, &inode)) != 0) {
		struct file *file = file_peek(inode);

		if (file != NULL && atomic_load(&file->writers) > 0)
			count += client_file_of(fs, inode, true, &files[count]);
		inode_unref(fs, inode);
	}
	return count;
}

/*
 * For apart_call(), as syncfs(2) waits as well: on some kernels for the pages, on all of them for what the kernel's
 * writer waits for, such as the SETATTR of a time that a store has changed.
 */
static int flush_all(void *argument)
{
	CLEANUP(close_fd) int root = open_own_root(argument);

	return root >= 0 && syncfs(root) < 0 ? -errno : 0;
}

struct client_files {
	const struct session *session;
	const struct client_file *files;
	size_t count;
};

/* For apart_call() */
static int fsync_each(void *argument)
{
	const struct client_files *work = argument;
	CLEANUP(close_fd) int root = open_own_root(work->session);

	for (size_t i = 0; i < work->count && root >= 0; i++)
		fsync_client_file(root, &work->files[i]);
	return 0;
}

int session_flush_clients(struct session *session)
{
	return apart_call(flush_all, session);
}

int session_fsync_clients(struct session *session)
{
	int result = session_flush_clients(session), error = 0;
	bool unopened = unopened_may_store(session->fs);
	struct client_file *files;
	size_t count = unopened ? used_files(session->fs, &files) : open_for_writing(session->fs, &files);

	if (count > 0)
		error = apart_call(fsync_each, &(struct client_files){session, files, count});
	for (size_t i = 0; i < count; i++)
		free(files[i].path);
	free(files);
	return error < 0 ? error : result;
}

void session_forget_content(struct session *session, uint64_t nodeid)
{
	fuse_lowlevel_notify_inval_inode(session->fuse, nodeid, 0, 0);
}

int session_backing_open(struct session *session, int fd)
{
	struct protocol_backing_map map = {.fd = fd};
	int backing = ioctl(session->fd, PROTOCOL_BACKING_OPEN, &map);

	return backing < 0 ? -errno : backing;
}

void session_backing_close(struct session *session, int backing)
{
	uint32_t number = (uint32_t)backing;

	/* Fails where the connection is gone, and all of them with it. */
	if (ioctl(session->fd, PROTOCOL_BACKING_CLOSE, &number) < 0)
		log_debug("backing file %u: %s", number, strerror(errno));
}

void session_forget_attributes(struct session *session, uint64_t nodeid)
{
	fuse_lowlevel_notify_inval_inode(session->fuse, nodeid, -1, 0);
}

void session_forget_name(struct session *session, uint64_t directory, const char *name)
{
	fuse_lowlevel_notify_inval_entry(session->fuse, directory, name, strlen(name));
}

void session_forget_all_names(struct session *session)
{
	struct fuse_out_header header = {.error = PROTOCOL_NOTIFY_INC_EPOCH, .len = sizeof(header)};

	/* An older kernel refuses it; there names are trusted for a short time only. */
	if (write(session->fd, &header, sizeof(header)) < 0)
		log_debug("the kernel cannot drop all names: %s", strerror(errno));
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

bool session_prune(struct session *session, const uint64_t *nodeids, size_t count)
{
	struct protocol_notify_prune prune = {.count = (uint32_t)count};
	struct fuse_out_header header = {.error = PROTOCOL_NOTIFY_PRUNE};
	struct iovec iov[] = {{&header, sizeof(header)},
			      {&prune, sizeof(prune)},
			      {(void *)nodeids, count * sizeof(nodeids[0])}};

	if (count == 0)
		return true;
	header.len = (uint32_t)(sizeof(header) + sizeof(prune) + iov[2].iov_len);
	return atomic_load(&session->protocol.kernel_minor) >= PROTOCOL_MINOR_PRUNE &&
	       writev(session->fd, iov, 3) >= 0;
}

void session_forget_entries(struct session *session)
{
	uint64_t nodeids[PRUNE_BATCH];
	size_t count;

	LOCK_SCOPE(&session->forget_lock);
	count = oldest_kept(session, nodeids, PRUNE_BATCH);
	if (session_prune(session, nodeids, count))
		return;
	/* An older kernel: let it drop its caches of names and inodes that nobody uses. */
	for (size_t i = 0; i < count; i++)
		fuse_lowlevel_notify_inval_inode(session->fuse, nodeids[i], -1, 0);
}
