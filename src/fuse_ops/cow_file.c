/* SPDX-License-Identifier: MIT */
/*
 * mode=cow: files. As long as nothing of a file's content is the layer's it is read as in the other modes;
 * the first write, or a change of its size, makes content.h the one to ask.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "file.h"
#include "fuse_ops/cow.h"
#include "handle.h"
#include "layer/layer.h"
#include "log.h"
#include "pager.h"
#include "policy.h"
#include "sync.h"

/* The kernel's cache follows BACKING only where bytes of BACKING's may be read. */
static int cache_flags(fuse_req_t req, struct inode *inode, struct file *file, const struct node *node,
		       bool created, struct fuse_file_info *fi)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	bool own = content_is_own(inode);
	int result;

	if (!node->has_origin) {
		fi->direct_io = file_policy(file)->cache == CACHE_NONE;
		fi->keep_cache = !fi->direct_io;
		return 0;
	}
	result = inode_fd(op_fs(req), inode, FD_READ, &use);
	/* Gone from BACKING: what the layer has of it is still there. */
	if (result == -ESTALE && own)
		return 0;
	return result < 0 ? result : op_cache_flags(req, file, created || own, use.fd, fi);
}

int cow_open_handle(fuse_req_t req, struct inode *inode, bool created, struct fuse_file_info *fi)
{
	struct fs *fs = op_fs(req);
	struct handle *handle;
	struct node *node;
	struct file *file;
	int result = file_get(fs, inode, &file);

	if (result == 0)
		result = layer_node(fs, inode, &node);
	if (result == 0)
		result = handle_new(&fs->handle_table, inode, fi->flags, &handle);
	if (result < 0)
		return result;
	inode_ref(inode);
	pager_apply(fs, inode, file);
	file_open(file, handle);
	atomic_fetch_add(&fs->writers, flags_write(fi->flags));
	result = cache_flags(req, inode, file, node, created, fi);
	handle->direct = fi->direct_io;
	if (result < 0) {
		cow_close_handle(fs, handle->id);
		return result;
	}
	fi->fh = handle->id;
	return 0;
}

void cow_close_handle(struct fs *fs, uint64_t id)
{
	struct handle *handle = handle_find(&fs->handle_table, id);
	struct node *node = handle == NULL ? NULL : layer_peek(handle->inode);
	int result;

	/* While the handle holds the inode: nobody reads its record in the meantime. */
	if (node != NULL && handle_writes(handle) && (result = cow_note(fs, handle->inode, node)) < 0) {
		CLEANUP(free_pointer) char *name = inode_name(fs, handle->inode);

		log_error("save '%s' in the layer: %s", name == NULL ? "?" : name, strerror(-result));
	}
	op_close_handle(fs, id);
}

int cow_note(struct fs *fs, struct inode *inode, struct node *node)
{
	bool unsaved;

	if (!fs->layer->kept)
		return layer_save(fs, inode, node);
	pthread_rwlock_rdlock(&node->lock);
	unsaved = node->unsaved;
	pthread_rwlock_unlock(&node->lock);
	/* The disk comes first. Until then somebody has to hold the node. */
	if (unsaved)
		sync_later(fs, inode);
	return 0;
}

void cow_open(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi)
{
	struct fs *fs = op_fs(req);
	struct inode *inode = op_begin(req, nodeid);
	int result;

	if (inode == NULL)
		return;
	result = fs->read_only && flags_write(fi->flags) ? -EROFS : cow_open_handle(req, inode, false, fi);
	if (result < 0)
		fuse_reply_err(req, -result);
	else if (fuse_reply_open(req, fi) < 0)
		cow_close_handle(fs, fi->fh);
}

void cow_release(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi)
{
	(void)nodeid;
	op_release_handle(req, fi->fh, cow_close_handle);
}

/* What BACKING has not any more reads as zeros; what cannot be read is an error and never zeros. */
static ssize_t read_nothing(void *context, unsigned char *to, size_t length, uint64_t offset)
{
	const int *result = context;

	(void)to;
	(void)length;
	(void)offset;
	return *result == -ESTALE ? 0 : *result;
}

void cow_read(fuse_req_t req, fuse_ino_t nodeid, size_t size, off_t offset, struct fuse_file_info *fi)
{
	CLEANUP(op_clean_end) struct clean_source source = {.use = FD_USE_NONE};
	struct request *request = request_current();
	struct open_file open;
	struct node *node;
	ssize_t got;
	int result;

	if (!op_begin_open(req, nodeid, fi, &open))
		return;
	if (!content_is_own(open.inode)) {
		op_read(req, nodeid, size, offset, fi);
		return;
	}
	node = layer_peek(open.inode);
	result = node->has_origin ? op_clean_begin(&source, &open) : -ESTALE;
	got = content_read(open.fs, open.inode, node, request->space, MIN(size, request->space_size),
			   (uint64_t)offset, result == 0 ? op_clean_read : read_nothing,
			   result == 0 ? (void *)&source : &result);
	op_clean_end(&source);
	if (got < 0) {
		fs_count(open.fs, FAULTS_IO, 1);
		fuse_reply_err(req, (int)-got);
		return;
	}
	fs_count(open.fs, IO_READS, 1);
	fs_count(open.fs, IO_READ_BYTES, (uint64_t)got);
	file_count_io(open.file, (uint64_t)got, false);
	fuse_reply_buf(req, (const char *)request->space, (size_t)got);
}

void cow_write(fuse_req_t req, fuse_ino_t nodeid, const char *data, size_t size, off_t offset,
	       struct fuse_file_info *fi)
{
	struct content_writer writer = {0};
	struct extent extent = {0, 0};
	struct open_file open;
	struct node *node;
	ssize_t put;
	bool append;

	if (!op_begin_open(req, nodeid, fi, &open))
		return;
	/* The kernel's own write-back knows where bytes belong, and so does it where it collects writes. */
	append = (fi->flags & O_APPEND) && !fi->writepage && !open.fs->options.writeback;
	put = content_own(open.fs, open.inode, &node);
	extent.start = (uint64_t)offset;
	if (put == 0) {
		writer = cow_writer(req, open.inode, request_current()->kill_setid);
		/* Where the kernel collects writes it does not say which of them were stores. */
		writer.stores = fi->writepage && !open.fs->options.writeback;
		put = content_write(open.fs, open.inode, node, data, size, append, &writer, &extent.start);
	}
	if (writer.loses)
		op_setid_lost(open.fs, open.inode);
	if (put < 0)
		fs_count(open.fs, put == -ENOSPC ? FAULTS_NOSPACE : FAULTS_IO, put == -ENOSPC || put == -EIO);
	else
		extent.end = extent.start + (uint64_t)put;
	op_finish_write(req, &open, fi, size, (uint64_t)offset, put, &extent, false);
}

void cow_fallocate(fuse_req_t req, fuse_ino_t nodeid, int mode, off_t offset, off_t length,
		   struct fuse_file_info *fi)
{
	struct content_writer writer = {0};
	struct open_file open;
	struct node *node;
	bool failed = false;
	int result;

	if (!op_changes(req) || !op_begin_open(req, nodeid, fi, &open))
		return;
	result = content_own(open.fs, open.inode, &node);
	if (result == 0) {
		/* The kernel does not say whether the caller may keep set-id bits here: only root may. */
		writer = cow_writer(req, open.inode, fuse_req_ctx(req)->uid != 0);
		result = content_allocate(open.fs, open.inode, node, mode, (uint64_t)offset, (uint64_t)length,
					  &writer);
	}
	if (writer.loses)
		op_setid_lost(open.fs, open.inode);
	if (result == 0)
		result = sync_written(open.fs, open.inode, open.file, (uint64_t)offset, (uint64_t)length, 0,
				      &failed);
	if (failed)
		sync_error(open.fs, open.inode, open.file, open.handle, true);
	fuse_reply_err(req, -result);
}

void cow_lseek(fuse_req_t req, fuse_ino_t nodeid, off_t offset, int whence, struct fuse_file_info *fi)
{
	struct open_file open;
	off_t found;

	if (!op_begin_open(req, nodeid, fi, &open))
		return;
	if (!content_is_own(open.inode) || open.fs->options.writeback ||
	    (whence != SEEK_DATA && whence != SEEK_HOLE)) {
		op_lseek(req, nodeid, offset, whence, fi);
		return;
	}
	found = content_seek(open.fs, open.inode, layer_peek(open.inode), (uint64_t)offset, whence);
	if (found < 0)
		fuse_reply_err(req, (int)-found);
	else
		fuse_reply_lseek(req, found);
}
