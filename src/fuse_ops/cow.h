/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_COW_H
#define MEMMAPFS_COW_H

/*
 * The FUSE operations of mode=cow that are not those of ops.h: they change the layer and never BACKING. Locks
 * are not among them: the kernel keeps those of this mount itself.
 */

#include "fuse_ops/ops.h"
#include "layer/content.h"

/**
 * cow_writer() - what becomes of set-id bits as the caller of this request changes a file
 * @kill_setid: the kernel says that the caller may not keep them
 */
struct content_writer cow_writer(fuse_req_t req, struct inode *inode, bool kill_setid);

/** cow_open_handle() - as op_open_handle() */
int cow_open_handle(fuse_req_t req, struct inode *inode, bool created, struct fuse_file_info *fi);

/** cow_close_handle() - undo cow_open_handle(): what writing changed goes into the layer's record */
void cow_close_handle(struct fs *fs, uint64_t id);

/**
 * cow_note() - see to it that what writing changed of a node gets into its record, before anybody forgets it
 *
 * In memory at once; in a kept layer once its pages are on the disk. The caller holds the inode.
 */
int cow_note(struct fs *fs, struct inode *inode, struct node *node);

void cow_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void cow_setattr(fuse_req_t req, fuse_ino_t nodeid, struct stat *attr, int to_set, struct fuse_file_info *fi);
void cow_readlink(fuse_req_t req, fuse_ino_t nodeid);
void cow_statfs(fuse_req_t req, fuse_ino_t nodeid);
void cow_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void cow_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void cow_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void cow_link(fuse_req_t req, fuse_ino_t nodeid, fuse_ino_t parent, const char *name);
void cow_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void cow_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void cow_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void cow_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		const char *new_name, unsigned flags);
void cow_open(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi);
void cow_release(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi);
void cow_read(fuse_req_t req, fuse_ino_t nodeid, size_t size, off_t offset, struct fuse_file_info *fi);
void cow_write(fuse_req_t req, fuse_ino_t nodeid, const char *data, size_t size, off_t offset,
	       struct fuse_file_info *fi);
void cow_fallocate(fuse_req_t req, fuse_ino_t nodeid, int mode, off_t offset, off_t length,
		   struct fuse_file_info *fi);
void cow_lseek(fuse_req_t req, fuse_ino_t nodeid, off_t offset, int whence, struct fuse_file_info *fi);
void cow_opendir(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi);
void cow_readdir(fuse_req_t req, fuse_ino_t nodeid, size_t size, off_t offset, struct fuse_file_info *fi);
void cow_readdirplus(fuse_req_t req, fuse_ino_t nodeid, size_t size, off_t offset, struct fuse_file_info *fi);
void cow_setxattr(fuse_req_t req, fuse_ino_t nodeid, const char *name, const char *value, size_t size,
		  int flags);
void cow_getxattr(fuse_req_t req, fuse_ino_t nodeid, const char *name, size_t size);
void cow_listxattr(fuse_req_t req, fuse_ino_t nodeid, size_t size);
void cow_removexattr(fuse_req_t req, fuse_ino_t nodeid, const char *name);

#endif
