/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_CONTENT_H
#define MEMMAPFS_LAYER_CONTENT_H

/*
 * The bytes of a layer's regular files. A file whose content is BACKING's alone is no business of this: see
 * content_is_own(). Otherwise reads go by runs of pages, from BACKING or from the page file; a write puts the
 * pages it touches, and only them, into the page file.
 *
 * node->lock is held while bytes are read or written: a page's bytes and whose they are change together.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct fs;
struct inode;
struct node;

/** content_is_own() - has the layer anything of this inode's content? Takes no lock. */
bool content_is_own(struct inode *inode);

/**
 * content_own() - from here on size and pages of the file are the layer's; none is copied
 *
 * Locks:  layer->lock, unless they are already.
 * Return: 0, -EFBIG for a file too large for a layer, or -errno of looking at BACKING's.
 */
int content_own(struct fs *fs, struct inode *inode, struct node **ret_node);

/* Reads BACKING's bytes into memory. Returns how many arrived; fewer where BACKING's file is shorter by now. */
typedef ssize_t content_reader(void *context, unsigned char *to, size_t length, uint64_t offset);

/**
 * content_read() - bytes of a file with content of its own
 * @reader: for clean runs
 *
 * What BACKING's file has lost since reads as zeros: its size is the layer's.
 *
 * Return: bytes, 0 at the end, or -errno of @reader or pread(2).
 */
ssize_t content_read(struct fs *fs, struct inode *inode, struct node *node, unsigned char *to, size_t length,
		     uint64_t offset, content_reader *reader, void *context);

/* Who changes a file, for its set-id bits. */
struct content_writer {
	bool kill_setid;   /* may not keep them */
	bool loses;	   /* and there are some */
	bool keeps_setgid; /* in the file's group: keeps a set-group-id bit without group execution */
	bool stores;	   /* through a mapping, which takes no capability away */
};

/**
 * content_write() - write bytes
 * @append: at the end, wherever that is
 * @offset: where to write; set to where it was written
 *
 * Return: bytes written, which are fewer than @size only where the layer is full; -ENOSPC, -EFBIG, -ENOMEM, or
 * -errno of the page file or of reading BACKING's rest of a page.
 */
ssize_t content_write(struct fs *fs, struct inode *inode, struct node *node, const char *data, size_t size,
		      bool append, const struct content_writer *writer, uint64_t *offset);

/** content_resize() - truncate or extend. Return: 0, or as content_write(). */
int content_resize(struct fs *fs, struct inode *inode, struct node *node, uint64_t size,
		   const struct content_writer *writer);

/**
 * content_allocate() - fallocate(2)
 * @mode: of fallocate(2); what no layer can is -EOPNOTSUPP
 *
 * Allocating gives what reads as zeros pages of its own; clean pages stay BACKING's, and writing them may still
 * find the layer full.
 */
int content_allocate(struct fs *fs, struct inode *inode, struct node *node, int mode, uint64_t offset,
		     uint64_t length, const struct content_writer *writer);

/** content_seek() - SEEK_DATA and SEEK_HOLE. Return: the offset, -ENXIO, or -errno of lseek(2). */
off_t content_seek(struct fs *fs, struct inode *inode, struct node *node, uint64_t offset, int whence);

#endif
