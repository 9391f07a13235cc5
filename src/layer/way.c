/* SPDX-License-Identifier: MIT */
/* The way from a record to its inode: by the handle of its object in BACKING, or by the paths that may lead there. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "below.h"
#include "fs.h"
#include "inode_private.h"
#include "layer/keep.h"
#include "layer/stack.h"
#include "layer/subject.h"
#include "util.h"

/* With a lookup counted, where the object under a name is that of the record; else -ESTALE. */
static int inode_at(struct fs *fs, int directory, const char *path, const struct node_row *row,
		    struct inode **ret_inode)
{
	CLEANUP(close_fd) int fd = open_below(directory, path, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
	struct found found;
	struct node *node;
	int result;

	if (fd < 0)
		return -ESTALE;
	result = inode_lookup_fd(fs, fd, &found);
	if (result < 0)
		return result;
	if (found.inode->key.dev != row->origin.dev || found.inode->key.ino != row->origin.ino ||
	    found.inode->key.birth_ns != row->origin.birth_ns)
		result = -ESTALE;
	else
		result = layer_node(fs, found.inode, &node);
	if (result < 0)
		inode_forget(fs, found.inode->nodeid, 1);
	else
		*ret_inode = found.inode;
	return result;
}

struct wanted {
	struct fs *fs;
	const struct node_row *row;
	struct inode **ret_inode;
};

static int inode_in(void *context, struct inode *directory, const char *name)
{
	const struct wanted *wanted = context;
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;

	if (inode_fd(wanted->fs, directory, FD_PATH, &use) < 0)
		return -ESTALE;
	return inode_at(wanted->fs, use.fd, name, wanted->row, wanted->ret_inode);
}

/*
 * An object of BACKING that no handle leads to. While a commit is under way, or was interrupted, it may be in the stage,
 * and afterwards where the layer has it.
 */
static int inode_by_path(struct fs *fs, const struct node_row *row, struct inode **ret_inode)
{
	int root = fs->mounts.mount[0].fd, result = -ESTALE;
	char staged[sizeof(fs->layer->stage) + 32];

	if (row->path != NULL)
		result = inode_at(fs, root, row->path, row, ret_inode);
	if (result == -ESTALE) {
		snprintf(staged, sizeof(staged), "%s/%" PRIx64, fs->layer->stage, row->id);
		result = inode_at(fs, root, staged, row, ret_inode);
	}
	if (result == -ESTALE)
		result = subject_try_places(fs, row->id, &row->origin, inode_in,
					    &(struct wanted){fs, row, ret_inode});
	return result;
}

static struct inode *inode_of_row(struct fs *fs, struct node_row *row, struct node *node)
{
	struct statx stx = {
		.stx_dev_major = LAYER_DEV_MAJOR,
		.stx_dev_minor = LAYER_DEV_MINOR,
		.stx_ino = row->id, /* the same in all layers */
		.stx_mode = row->stx.stx_mode,
	};
	struct inode *fresh;

	if (row->has_origin) {
		stx.stx_mask = STATX_BTIME;
		stx.stx_dev_major = major(row->origin.dev);
		stx.stx_dev_minor = minor(row->origin.dev);
		stx.stx_ino = row->origin.ino;
		stx.stx_btime.tv_sec = row->origin.birth_ns / 1000000000;
		stx.stx_btime.tv_nsec = (uint32_t)(row->origin.birth_ns % 1000000000);
	}
	fresh = inode_new(fs, &stx);
	if (fresh == NULL)
		return NULL;
	fresh->handle = row->handle;
	row->handle = NULL;
	atomic_init(&fresh->node, node);
	return inode_publish(fs, fresh);
}

int layer_inode_locked(struct fs *fs, const struct db_entry *entry, struct inode **ret_inode)
{
	struct identity_key key = {.dev = layer_dev(), .ino = entry->node};
	struct node_row row = {0};
	struct node *node;
	int result;

	if (entry->has_origin) {
		key = entry->origin;
		key.dev = keep_device(fs, key.dev);
	}
	if (inode_count_lookup(fs, &key, ret_inode))
		return 0;
	result = stack_node_locked(fs, &key, &row, &node);
	if (result < 0)
		return result == -ENOENT ? -EIO : result;
	row.origin.dev = keep_device(fs, row.origin.dev);
	if (row.has_origin && row.handle == NULL) {
		node_free(fs, node);
		result = inode_by_path(fs, &row, ret_inode);
		db_row_fini(&row);
		return result;
	}
	*ret_inode = inode_of_row(fs, &row, node);
	if (*ret_inode == NULL) {
		node_free(fs, node);
		result = -ENOMEM;
	}
	db_row_fini(&row);
	return result;
}
