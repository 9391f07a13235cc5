/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_CONTENT_PRIVATE_H
#define MEMMAPFS_LAYER_CONTENT_PRIVATE_H

/* What content.c, which writes, content_read.c, and space.c, which deals with holes, share. */

#include "fds.h"
#include "layer/content.h"
#include "layer/layer.h"

/* A file being read or changed; node->lock is held. Descriptors are opened when they are needed. */
struct access {
	struct fs *fs;
	struct inode *inode;
	struct node *node;
	struct fd_use pages, backing;
};

/** access_end() - let the descriptors go; also as CLEANUP() */
void access_end(struct access *access);

/** access_pages() - have the page file open, made if need be. Return: 0 or -errno. */
int access_pages(struct access *access);

/** access_read_data() - bytes of data pages. Return: 0, or -errno; -EIO where the page file has fewer. */
int access_read_data(struct access *access, unsigned char *to, size_t length, uint64_t offset);

/** access_read_clean() - clean bytes, from the bases and BACKING; zeros where those have none any more. Return: 0, -errno. */
int access_read_clean(struct access *access, unsigned char *to, size_t length, uint64_t offset);

/**
 * access_put_part() - write bytes that lie in one page
 *
 * Where the page is no data yet it is written whole; it is for the caller to make it data.
 */
int access_put_part(struct access *access, const void *data, size_t size, uint64_t offset);

/** access_unreserve() - count out what was counted in to make these bytes' pages data */
void access_unreserve(struct access *access, uint64_t offset, size_t size);

/** content_touch_locked() - the file was changed. Return: content_drop_capability() is to be called as well. */
bool content_touch_locked(struct node *node, const struct content_writer *writer);

/** content_drop_capability() - without node->lock: take security.capability away, if there is any */
void content_drop_capability(struct fs *fs, struct inode *inode);

#endif
