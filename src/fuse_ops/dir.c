/* SPDX-License-Identifier: MIT */
/*
 * Directories. A handle has a descriptor of its own and a buffer of raw entries; the offsets handed to
 * the kernel are BACKING's, so a listing goes on where it was even after the buffer is gone.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuse_ops/ops.h"
#include "handle.h"
#include "unopened.h"

#define ENTRIES_SIZE ((size_t)32 << 10)

void op_opendir(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi)
{
	struct fs *fs = op_fs(req);
	struct inode *inode = op_begin(req, nodeid);
	struct handle *handle;
	int result;

	if (inode == NULL)
		return;
	/* The kernel asks no more after this, and gives requests no handle. */
	if (atomic_load_explicit(&fs->skips_opendirs, memory_order_relaxed)) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	result = handle_new(&fs->handle_table, inode, fi->flags, &handle);
	if (result < 0) {
		fuse_reply_err(req, -result);
		return;
	}
	inode_ref(inode);
	handle->fd = inode_open(fs, inode, O_RDONLY | O_DIRECTORY);
	if (handle->fd < 0) {
		result = handle->fd;
		handle->fd = -1;
		handle_free(&fs->handle_table, handle);
		inode_unref(fs, inode);
		fuse_reply_err(req, -result);
		return;
	}
	fi->fh = handle->id;
	if (fuse_reply_open(req, fi) < 0) {
		handle_free(&fs->handle_table, handle);
		inode_unref(fs, inode);
	}
}

void op_releasedir(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi)
{
	struct fs *fs = op_fs(req);
	struct handle *handle = handle_find(&fs->handle_table, fi->fh);
	struct inode *inode;

	(void)nodeid;
	if (handle != NULL) {
		inode = handle->inode;
		handle_free(&fs->handle_table, handle);
		inode_unref(fs, inode);
	}
	fuse_reply_err(req, 0);
}

/* The entry at the handle's position, read in if need be; NULL at the end. */
static int next_entry_locked(struct handle *handle, struct dirent64 **ret_entry)
{
	ssize_t got;

	if (handle->position >= handle->length) {
		if (handle->entries == NULL)
			handle->entries = malloc(ENTRIES_SIZE);
		if (handle->entries == NULL)
			return -ENOMEM;
		got = getdents64(handle->fd, handle->entries, ENTRIES_SIZE);
		handle->position = 0;
		handle->length = got > 0 ? (size_t)got : 0;
		if (got <= 0) {
			*ret_entry = NULL;
			return got < 0 ? -errno : 0;
		}
	}
	*ret_entry = (struct dirent64 *)(handle->entries + handle->position);
	return 0;
}

static int seek_locked(struct handle *handle, off_t offset)
{
	if (handle->offset == offset)
		return 0;
	if (lseek(handle->fd, offset, SEEK_SET) < 0)
		return -errno;
	handle->position = handle->length = 0;
	handle->offset = offset;
	return 0;
}

/* One entry into the reply, without attributes where there is no @sight; returns its size, larger than @space when it does not fit. */
static size_t add_entry(fuse_req_t req, struct handle *handle, const struct dirent64 *entry,
			const struct sight *sight, char *to, size_t space)
{
	struct fs *fs = op_fs(req);
	struct fuse_entry_param param = {0};
	struct found found;
	size_t size;

	param.attr.st_ino = inode_number(fs, handle->inode->key.dev, entry->d_ino);
	param.attr.st_mode = (mode_t)DTTOIF(entry->d_type);
	if (sight == NULL)
		return fuse_add_direntry(req, to, space, entry->d_name, &param.attr, entry->d_off);
	/* Asked first how large it would be: a lookup that is not told must not be counted. */
	size = fuse_add_direntry_plus(req, NULL, 0, entry->d_name, NULL, 0);
	if (size > space)
		return size;
	if (!op_is_dots(entry->d_name) && unopened_lookup(fs, handle->inode, entry->d_name, &found) == 0)
		op_fill_entry(fs, sight, &found, &param);
	return fuse_add_direntry_plus(req, to, space, entry->d_name, &param, entry->d_off);
}

static void read_entries(fuse_req_t req, struct handle *handle, size_t size, off_t offset, bool plus)
{
	struct request *request = request_current();
	char *reply = (char *)request->space;
	struct dirent64 *entry;
	struct sight sight = {0};
	size_t used = 0, added;
	int result;

	if (plus)
		sight = op_sight(op_fs(req), handle->inode);
	size = MIN(size, request->space_size);
	pthread_mutex_lock(&handle->lock);
	result = seek_locked(handle, offset);
	while (result == 0) {
		result = next_entry_locked(handle, &entry);
		if (result < 0 || entry == NULL)
			break;
		if (atomic_load(&handle->inode->covered) && !op_is_dots(entry->d_name)) {
			handle->position += entry->d_reclen;
			handle->offset = entry->d_off;
			continue;
		}
		added = add_entry(req, handle, entry, plus ? &sight : NULL, reply + used, size - used);
		if (added > size - used)
			break;
		used += added;
		handle->position += entry->d_reclen;
		handle->offset = entry->d_off;
	}
	pthread_mutex_unlock(&handle->lock);
	/* An error after some entries is found again by the next call. */
	if (result < 0 && used == 0)
		fuse_reply_err(req, -result);
	else
		fuse_reply_buf(req, reply, used);
}

/* Without a handle the directory is opened for the one request. */
static void read_once(fuse_req_t req, fuse_ino_t nodeid, size_t size, off_t offset, bool plus)
{
	struct inode *inode = op_begin(req, nodeid);
	struct handle once = {.inode = inode, .lock = PTHREAD_MUTEX_INITIALIZER};

	if (inode == NULL)
		return;
	once.fd = inode_open(op_fs(req), inode, O_RDONLY | O_DIRECTORY);
	if (once.fd < 0) {
		fuse_reply_err(req, -once.fd);
		return;
	}
	read_entries(req, &once, size, offset, plus);
	free(once.entries);
	close(once.fd);
}

static void answer_entries(fuse_req_t req, fuse_ino_t nodeid, size_t size, off_t offset,
			   const struct fuse_file_info *fi, bool plus)
{
	struct handle *handle = handle_find(&op_fs(req)->handle_table, fi->fh);

	if (fi->fh == 0)
		read_once(req, nodeid, size, offset, plus);
	else if (handle == NULL || handle->fd < 0)
		fuse_reply_err(req, EBADF);
	else
		read_entries(req, handle, size, offset, plus);
}

void op_readdir(fuse_req_t req, fuse_ino_t nodeid, size_t size, off_t offset, struct fuse_file_info *fi)
{
	answer_entries(req, nodeid, size, offset, fi, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t nodeid, size_t size, off_t offset, struct fuse_file_info *fi)
{
	request_current()->impatient = true;
	answer_entries(req, nodeid, size, offset, fi, true);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t nodeid, int datasync, struct fuse_file_info *fi)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct fs *fs = op_fs(req);
	struct handle *handle = handle_find(&fs->handle_table, fi->fh);
	struct inode *inode = op_begin(req, nodeid);
	int result = 0, fd;

	if (inode == NULL)
		return;
	if (fi->fh == 0)
		result = inode_fd(fs, inode, FD_READ, &use);
	else if (handle == NULL || handle->fd < 0)
		result = -EBADF;
	fd = fi->fh == 0 ? use.fd : result < 0 ? -1 : handle->fd;
	if (result == 0 && fs->options.fsync == FSYNC_HONOR && (datasync ? fdatasync(fd) : fsync(fd)) < 0)
		result = -errno;
	fd_use_end(&use);
	fuse_reply_err(req, -result);
}
