/* SPDX-License-Identifier: MIT */
/*
 * mode=cow: listing directories. A handle reads all names when it is first asked, and again when it is asked
 * from the beginning; an offset is a place in what it has read. So every entry that is there all the time comes
 * once, whatever is made and removed meanwhile.
 */
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "fuse_ops/cow.h"
#include "handle.h"
#include "layer/layer.h"
#include "layer/names.h"

void cow_opendir(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi)
{
	struct fs *fs = op_fs(req);
	struct inode *inode = op_begin(req, nodeid);
	struct handle *handle;
	int result;

	if (inode == NULL)
		return;
	result = handle_new(&fs->handle_table, inode, fi->flags, &handle);
	if (result < 0) {
		fuse_reply_err(req, -result);
		return;
	}
	inode_ref(inode);
	fi->fh = handle->id;
	if (fuse_reply_open(req, fi) < 0) {
		handle_free(&fs->handle_table, handle);
		inode_unref(fs, inode);
	}
}

struct snapshot {
	char *entries; /* records of getdents64(2), as the handle keeps them */
	size_t length, size;
};

static int snapshot_add(void *context, const char *name, uint64_t ino, mode_t type)
{
	struct snapshot *snapshot = context;
	size_t length = offsetof(struct dirent64, d_name) + strlen(name) + 1;
	struct dirent64 *entry;
	char *entries;

	length = (length + sizeof(uint64_t) - 1) / sizeof(uint64_t) * sizeof(uint64_t);
	if (snapshot->length + length > snapshot->size) {
		snapshot->size = MAX(snapshot->size * 2, 4096);
		entries = realloc(snapshot->entries, snapshot->size);
		if (entries == NULL)
			return -ENOMEM;
		snapshot->entries = entries;
	}
	entry = (struct dirent64 *)(snapshot->entries + snapshot->length);
	snapshot->length += length;
	entry->d_ino = ino;
	entry->d_off = (off_t)snapshot->length;
	entry->d_reclen = (unsigned short)length;
	entry->d_type = (unsigned char)IFTODT(type);
	memcpy(entry->d_name, name, strlen(name) + 1);
	return 0;
}

static int read_names(struct fs *fs, struct inode *inode, struct handle *handle)
{
	struct inode *parent = layer_parent(fs, inode);
	/* Removed while it was open: nothing is above it. */
	const struct inode *above = parent == NULL ? inode : parent;
	struct snapshot snapshot = {0};
	int result = snapshot_add(&snapshot, ".", inode_number(fs, inode->key.dev, inode->key.ino), S_IFDIR);

	if (result == 0)
		result = snapshot_add(&snapshot, "..", inode_number(fs, above->key.dev, above->key.ino),
				      S_IFDIR);
	if (parent != NULL)
		inode_unref(fs, parent);
	if (result == 0)
		result = layer_list(fs, inode, snapshot_add, &snapshot);
	if (result < 0) {
		free(snapshot.entries);
		return result;
	}
	free(handle->entries);
	handle->entries = snapshot.entries;
	handle->length = snapshot.length;
	handle->position = 0;
	return 0;
}

/*
 * The first entry at @offset or after it. Anybody who has the directory open may ask for any offset (lseek(2)), also
 * for one between two entries. Entries are counted from where the last reply began, which is seldom far.
 */
static size_t seek_locked(struct handle *handle, uint64_t offset)
{
	size_t at = offset >= handle->position ? handle->position : 0;

	while (at < handle->length && at < offset)
		at += ((const struct dirent64 *)(handle->entries + at))->d_reclen;
	handle->position = at;
	return at;
}

/* One entry into the reply; returns its size, larger than @space when it does not fit. */
static size_t add_entry(fuse_req_t req, struct inode *directory, const struct dirent64 *entry, bool plus,
			char *to, size_t space)
{
	struct fs *fs = op_fs(req);
	struct fuse_entry_param param = {0};
	struct found found;
	size_t size;

	param.attr.st_ino = entry->d_ino;
	param.attr.st_mode = (mode_t)DTTOIF(entry->d_type);
	if (!plus)
		return fuse_add_direntry(req, to, space, entry->d_name, &param.attr, entry->d_off);
	/* Asked first how large it would be: a lookup that is not told must not be counted. */
	size = fuse_add_direntry_plus(req, NULL, 0, entry->d_name, NULL, 0);
	if (size > space)
		return size;
	if (!op_is_dots(entry->d_name) && layer_lookup(fs, directory, entry->d_name, &found) == 0)
		op_fill_entry(fs, NULL, &found, &param);
	return fuse_add_direntry_plus(req, to, space, entry->d_name, &param, entry->d_off);
}

static void read_entries(fuse_req_t req, size_t size, off_t offset, struct fuse_file_info *fi, bool plus)
{
	struct fs *fs = op_fs(req);
	struct handle *handle = handle_find(&fs->handle_table, fi->fh);
	struct request *request = request_current();
	char *reply = (char *)request->space;
	size_t used = 0, added, at = 0;
	int result = 0;

	if (handle == NULL) {
		fuse_reply_err(req, EBADF);
		return;
	}
	size = MIN(size, request->space_size);
	pthread_mutex_lock(&handle->lock);
	if (offset == 0 || handle->entries == NULL)
		result = read_names(fs, handle->inode, handle);
	if (result == 0)
		at = seek_locked(handle, (uint64_t)offset);
	while (result == 0 && at < handle->length) {
		const struct dirent64 *entry = (struct dirent64 *)(handle->entries + at);

		added = add_entry(req, handle->inode, entry, plus, reply + used, size - used);
		if (added > size - used)
			break;
		used += added;
		at = (size_t)entry->d_off;
	}
	pthread_mutex_unlock(&handle->lock);
	if (result < 0)
		fuse_reply_err(req, -result);
	else
		fuse_reply_buf(req, reply, used);
}

void cow_readdir(fuse_req_t req, fuse_ino_t nodeid, size_t size, off_t offset, struct fuse_file_info *fi)
{
	(void)nodeid;
	read_entries(req, size, offset, fi, false);
}

void cow_readdirplus(fuse_req_t req, fuse_ino_t nodeid, size_t size, off_t offset, struct fuse_file_info *fi)
{
	(void)nodeid;
	request_current()->impatient = true;
	read_entries(req, size, offset, fi, true);
}
