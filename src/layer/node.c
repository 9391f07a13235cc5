/* SPDX-License-Identifier: MIT */
/* One node: where it was found, what it looks like, its page file. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "file.h"
#include "fs.h"
#include "inode_private.h"
#include "layer/layer.h"
#include "layer/origin.h"
#include "layer/serve.h"
#include "layer/stack.h"
#include "util.h"

struct node_stat node_stat_of(const struct statx *stx)
{
	return (struct node_stat){
		.stx_mode = stx->stx_mode,
		.stx_uid = stx->stx_uid,
		.stx_gid = stx->stx_gid,
		.stx_nlink = stx->stx_nlink,
		.stx_rdev_major = stx->stx_rdev_major,
		.stx_rdev_minor = stx->stx_rdev_minor,
		.stx_size = stx->stx_size,
		.stx_atime = packed_time(stx->stx_atime),
		.stx_mtime = packed_time(stx->stx_mtime),
		.stx_ctime = packed_time(stx->stx_ctime),
		.stx_btime = packed_time(stx->stx_btime),
	};
}

struct statx node_stat_statx(const struct node_stat *stat)
{
	return (struct statx){
		.stx_mask = STATX_BASIC_STATS | STATX_BTIME,
		.stx_mode = stat->stx_mode,
		.stx_uid = stat->stx_uid,
		.stx_gid = stat->stx_gid,
		.stx_nlink = stat->stx_nlink,
		.stx_rdev_major = stat->stx_rdev_major,
		.stx_rdev_minor = stat->stx_rdev_minor,
		.stx_size = stat->stx_size,
		.stx_atime = unpacked_time(stat->stx_atime),
		.stx_mtime = unpacked_time(stat->stx_mtime),
		.stx_ctime = unpacked_time(stat->stx_ctime),
		.stx_btime = unpacked_time(stat->stx_btime),
	};
}

int layer_backing_statx(struct fs *fs, struct inode *inode, struct statx *ret_stx)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	int result = inode_fd(fs, inode, FD_PATH, &use);

	if (result < 0)
		return result;
	if (statx(use.fd, "", AT_EMPTY_PATH | fs->statx_flags, STATX_BASIC_STATS | STATX_BTIME, ret_stx) < 0)
		return -errno;
	return 0;
}

void layer_place_set(struct fs *fs, struct inode *inode, struct inode *parent, const char *name)
{
	struct node *node = layer_peek(inode);
	struct inode *before;
	char *copy, *old;

	if (node == NULL || inode == fs->root)
		return;
	pthread_mutex_lock(&fs->layer->place_lock);
	if (node->parent == parent && (parent == NULL || strcmp(node->name, name) == 0)) {
		pthread_mutex_unlock(&fs->layer->place_lock);
		return;
	}
	before = node->parent;
	old = node->name;
	copy = parent == NULL ? NULL : strdup(name);
	node->name = copy;
	node->parent = copy == NULL ? NULL : parent;
	if (copy != NULL)
		inode_ref(parent);
	pthread_mutex_unlock(&fs->layer->place_lock);
	free(old);
	if (before != NULL)
		inode_unref(fs, before);
}

struct inode *layer_parent(struct fs *fs, struct inode *inode)
{
	const struct node *node = layer_peek(inode);
	struct inode *parent;

	LOCK_SCOPE(&fs->layer->place_lock);
	parent = inode == fs->root || node == NULL ? inode : node->parent;
	if (parent != NULL)
		inode_ref(parent);
	return parent;
}

char *layer_path(struct fs *fs, struct inode *inode)
{
	char path[PATH_MAX + 1];
	size_t at = PATH_MAX;

	path[at] = '\0';
	LOCK_SCOPE(&fs->layer->place_lock);
	while (inode != fs->root) {
		const struct node *node = layer_peek(inode);
		size_t length = node == NULL || node->name == NULL ? 0 : strlen(node->name);

		if (length == 0 || length + 1 > at)
			return NULL;
		at -= length;
		memcpy(path + at, node->name, length);
		path[--at] = '/';
		inode = node->parent;
	}
	if (at < strlen(fs->backing_path))
		return NULL;
	if (strcmp(fs->backing_path, "/") != 0) {
		at -= strlen(fs->backing_path);
		memcpy(path + at, fs->backing_path, strlen(fs->backing_path));
	}
	return strdup(path[at] == '\0' ? "/" : path + at);
}

/* Pages of data, and of what BACKING has as many as may still be seen; in units of 512 bytes. */
static uint64_t blocks_of(const struct node *node, uint64_t backing_blocks)
{
	uint64_t clean = pages_clean(&node->pages) * (LAYER_PAGE / 512);

	return pages_data(&node->pages) * (LAYER_PAGE / 512) +
	       MIN(clean, lower_blocks(node->lower, backing_blocks));
}

static void take_attributes(const struct node_stat *from, struct statx *to)
{
	to->stx_mode = from->stx_mode;
	to->stx_uid = from->stx_uid;
	to->stx_gid = from->stx_gid;
	to->stx_nlink = from->stx_nlink;
	to->stx_atime = unpacked_time(from->stx_atime);
	to->stx_ctime = unpacked_time(from->stx_ctime);
}

int layer_statx(struct fs *fs, struct inode *inode, struct statx *ret_stx)
{
	LAYER_SERVE_SCOPE(fs);
	struct node *node;
	uint32_t own;
	int result = layer_node(fs, inode, &node);

	if (result < 0)
		return result;
	if (node->has_origin) {
		result = layer_backing_statx(fs, inode, ret_stx);
		/* Gone behind the mount's back: what is known of it stays. */
		if (result < 0 && atomic_load(&node->id) == 0 && node->lower == NULL)
			return result;
		origin_watch(fs, inode, node, result, ret_stx);
	}
	own = atomic_load_explicit(&node->own, memory_order_acquire);
	if ((own & OWN_ALL) == 0 && result == 0)
		return 0;
	pthread_rwlock_rdlock(&node->lock);
	own = atomic_load_explicit(&node->own, memory_order_acquire);
	if (!node->has_origin || result < 0) {
		*ret_stx = node_stat_statx(&node->stx);
		ret_stx->stx_mask = STATX_BASIC_STATS | STATX_BTIME;
		ret_stx->stx_blksize = LAYER_PAGE;
		ret_stx->stx_blocks = 0;
		ret_stx->stx_attributes = ret_stx->stx_attributes_mask = 0;
		ret_stx->stx_dev_major = major(inode->key.dev);
		ret_stx->stx_dev_minor = minor(inode->key.dev);
		ret_stx->stx_ino = inode->key.ino;
	}
	if (own & OWN_ATTRIBUTES)
		take_attributes(&node->stx, ret_stx);
	if (own & (OWN_MTIME | OWN_CONTENT))
		ret_stx->stx_mtime = unpacked_time(node->stx.stx_mtime);
	if ((own & OWN_CONTENT) && S_ISREG(inode->type)) {
		ret_stx->stx_size = node->stx.stx_size;
		ret_stx->stx_blocks = blocks_of(node, ret_stx->stx_blocks);
	}
	pthread_rwlock_unlock(&node->lock);
	return 0;
}

int layer_page_file(struct fs *fs, struct inode *inode, struct node *node, bool create,
		    struct fd_use *ret_use)
{
	int fd;

	if (fd_slot_use(&fs->fds, &node->slot, ret_use))
		return 0;
	do {
		fd = store_file(&fs->layer->store, atomic_load(&node->id), create);
	} while (fd < 0 && fd_cache_relieve(&fs->fds, -fd));
	if (fd < 0)
		return fd;
	fd_slot_fill(&fs->fds, &node->slot, inode, FD_LAYER, fd, ret_use);
	return 0;
}

struct mapping *layer_page_windows(struct fs *fs, struct node *node)
{
	struct mapping *windows = atomic_load_explicit(&node->windows, memory_order_acquire), *fresh;

	if (windows != NULL)
		return windows;
	fresh = calloc(1, sizeof(*fresh));
	if (fresh == NULL || mapping_init(fresh, &fs->windows) < 0) {
		free(fresh);
		return NULL;
	}
	mapping_set_paging(fresh, &fs->layer->page_paging);
	if (atomic_compare_exchange_strong(&node->windows, &windows, fresh))
		return fresh;
	mapping_fini(fresh);
	free(fresh);
	return windows;
}

void layer_leave_page_file(struct fs *fs, struct node *node)
{
	struct mapping *windows = atomic_load(&node->windows);

	fd_slot_close(&fs->fds, &node->slot);
	if (windows != NULL)
		mapping_drop(windows, false);
}

int layer_open_pages(struct fs *fs, struct inode *inode)
{
	const struct node *node = layer_peek(inode);
	uint64_t id = node == NULL ? 0 : atomic_load(&node->id);
	int fd;

	if (node == NULL || node->has_origin)
		return -ESTALE;
	fd = id != 0 ? store_file(&fs->layer->store, id, false) : -ENOENT;
	for (struct lower *lower = node->lower; lower != NULL && fd == -ENOENT; lower = lower->next)
		fd = store_file(&lower->base->store, lower->id, false);
	return fd == -ENOENT ? -ESTALE : fd;
}

int layer_adopt(struct fs *fs, struct inode *inode, int directory, const char *name, const struct statx *stx,
		const struct identity_handle *handle)
{
	struct node *node = layer_peek(inode);
	struct identity_key key = identity_of_statx(stx);
	struct identity_handle *copy = NULL;
	struct file *file = file_peek(inode);
	struct fd_use use;
	int fd = -1;

	if (handle != NULL) {
		copy = malloc(sizeof(*copy) + handle->bytes);
		if (copy == NULL)
			return -ENOMEM;
		memcpy(copy, handle, sizeof(*copy) + handle->bytes);
	} else {
		fd = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return -errno;
	}
	/* Those of the page file, or of what there was before. */
	for (int kind = 0; kind < FD_KINDS; kind++)
		fd_slot_close(&fs->fds, &inode->slots[kind]);
	if (file != NULL)
		mapping_drop(&file->mapping, false);
	inode_become(fs, inode, &key, copy);
	if (fd >= 0) {
		fd_slot_fill(&fs->fds, &inode->slots[FD_PATH], inode, FD_PATH, fd, &use);
		fd_use_end(&use);
		/* Of what it stood for before. */
		if (node->followed >= 0) {
			close(node->followed);
			node->followed = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		}
	}
	pthread_rwlock_wrlock(&node->lock);
	node->has_origin = true;
	atomic_fetch_or(&node->own, OWN_ATTRIBUTES | OWN_MTIME);
	node->before = origin_state(stx);
	pthread_rwlock_unlock(&node->lock);
	return 0;
}
