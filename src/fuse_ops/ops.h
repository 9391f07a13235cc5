/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_OPS_H
#define MEMMAPFS_OPS_H

/*
 * The FUSE operations, a file a family, and what they share. A handler finds its inode, calls down and
 * replies exactly once; helpers never reply. The kernel may forget an inode as soon as it has the
 * reply: whatever touches it, the use of its descriptors included, ends before that.
 */

#include <fuse_lowlevel.h>

#include "creds.h"
#include "fs.h"
#include "inode.h"
#include "request.h"

/** ops_table() - the handlers; static. The session's userdata is the struct fs. */
const struct fuse_lowlevel_ops *ops_table(void);

/** cow_ops_table() - the handlers of mode=cow, see cow.h; static */
const struct fuse_lowlevel_ops *cow_ops_table(void);

/** op_fs() - the file system of a request */
static inline struct fs *op_fs(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* Where a request looks names up, and the moment before it did; see watch.h. */
struct sight {
	const struct inode *directory; /* NULL: it has no name */
	uint64_t moment;
};

/** op_sight() - for a request that is about to look names up in @directory */
struct sight op_sight(struct fs *fs, struct inode *directory);

/**
 * op_fill_entry() - what a reply to a look-up says
 * @sight: taken before the look-up; NULL: nothing is heard of changes
 * @found: has the lookup counted
 */
void op_fill_entry(struct fs *fs, const struct sight *sight, const struct found *found,
		   struct fuse_entry_param *ret_entry);

/** op_stat() - struct statx as the mount shows it: inode numbers made distinct */
void op_stat(struct fs *fs, const struct statx *stx, struct stat *ret_stat);

/**
 * op_begin() - the inode of a request; answers it with ESTALE and returns NULL where there is none
 */
struct inode *op_begin(fuse_req_t req, fuse_ino_t nodeid);

/**
 * op_changes() - may this mount be changed? Answers the request with EROFS and returns false where not.
 */
bool op_changes(fuse_req_t req);

/**
 * op_become_writer() - let the kernel treat set-id bits, and what is held back for root, as for the caller
 * @fd:     the file that is about to change
 * @known:  what file_change_begin() saw of it, or NULL
 * @keeps:  the caller may keep set-id bits (CAP_FSETID)
 * @length: bytes that the change may take from the file system
 *
 * The thread becomes the caller only where the kernel decides by who it is: a set-group-id bit without group
 * execution, and a file system that runs full. End with creds_restore().
 *
 * Return: the file has set-id bits, which the change takes away. The kernel leaves that to the daemon and goes
 * on executing by the mode it knows: where the answer tells no mode, op_setid_lost() is due before it.
 */
bool op_become_writer(fuse_req_t req, int fd, const struct stat *known, bool keeps, uint64_t length,
		      struct creds *ret_creds);

/**
 * op_in_group() - is the caller in the group?
 *
 * Most requests do not tell the caller's supplementary groups: then /proc is asked, which takes some 20
 * microseconds; who cannot be seen there is in none. To be called where it decides something only.
 */
bool op_in_group(fuse_req_t req, gid_t gid);

/** op_is_owner() - is the caller root, or this user? */
static inline bool op_is_owner(fuse_req_t req, uid_t uid)
{
	return fuse_req_ctx(req)->uid == 0 || fuse_req_ctx(req)->uid == uid;
}

/** op_sets_nothing() - does a SETATTR set no attribute, as chown(2) with -1 for both does? */
bool op_sets_nothing(int to_set);

/** op_is_dots() - "." or "..", which are entries of every directory and are never looked up */
bool op_is_dots(const char *name);

/** op_setid_lost() - the kernel must not believe in the file's set-id bits any longer */
void op_setid_lost(const struct fs *fs, const struct inode *inode);

/**
 * op_cache_is_old() - have others changed a file that nobody opens, since the kernel cached of it?
 * @fd: open backing file, borrowed; -1: one is opened where it is needed
 *
 * True once for each change: the caller has the kernel drop the pages.
 */
bool op_cache_is_old(struct fs *fs, struct inode *inode, int fd, off_t size, const struct timespec *mtime,
		     bool reads);

/** op_may() - may the caller access the inode so, by BACKING's own judgement? @mask: of access(2). Return: 0 or -errno. */
int op_may(fuse_req_t req, struct inode *inode, int mask);

/** op_statx() - statx(2) of an inode. Return: 0 or -errno. */
int op_statx(struct fs *fs, struct inode *inode, struct statx *ret_stx);

/** op_reply_attributes() - answers with attributes, which the kernel may trust for @timeout seconds */
void op_reply_attributes(fuse_req_t req, const struct statx *stx, double timeout);

/* What handlers of open files need on every call. */
struct open_file {
	struct fs *fs;
	struct inode *inode;
	struct file *file;
	struct handle *handle;
};

/**
 * op_begin_open() - inode, file and handle of a request on an open file; answers with ESTALE or EBADF and
 * returns false where there are none
 */
bool op_begin_open(fuse_req_t req, fuse_ino_t nodeid, const struct fuse_file_info *fi,
		   struct open_file *ret_open);

/** op_begin_write() - the file is about to be changed through a descriptor for writing; end with op_end_write() */
void op_begin_write(const struct open_file *open);

/** op_end_write() - it has been, and the request uses the descriptor no more */
void op_end_write(const struct open_file *open);

/**
 * op_open_handle() - open a regular inode for the kernel: what OPEN and CREATE share
 * @created: descriptor that this very request made the file with, consumed where it can be used and then
 *           set to -1; NULL for a file that was there
 *
 * Return: 0 with @fi filled for the reply, or -errno.
 */
int op_open_handle(fuse_req_t req, struct inode *inode, int *created, struct fuse_file_info *fi);

/** op_sync_flags() - O_SYNC or O_DSYNC where a handle's writes that bypass the kernel's cache wait for the disk */
int op_sync_flags(const struct fs *fs, int flags);

/**
 * op_cache_flags() - what the kernel may do with the pages it has cached of a file that is being opened
 * @created: by this very request, or else nothing that others changed of its size is to be told
 * @fd:      open backing file; borrowed
 *
 * Return: 0 with @fi filled, or -ESTALE: the kernel looks the name up again and opens once more.
 */
int op_cache_flags(fuse_req_t req, struct file *file, bool created, int fd, struct fuse_file_info *fi);

/**
 * op_finish_write() - sync what was written as its rules say, count it, and answer
 * @size, @offset: as asked for
 * @put:    bytes that were written, or -errno
 * @extent: where they lie
 * @lasting: they are on the disk already
 */
void op_finish_write(fuse_req_t req, const struct open_file *open, const struct fuse_file_info *fi,
		     size_t size, uint64_t offset, ssize_t put, const struct extent *extent, bool lasting);

/* mode=cow: reads of bytes that are BACKING's, several for one request. */
struct clean_source {
	const struct open_file *open;
	struct fd_use use;
	uint64_t size; /* of BACKING's file */
	bool by_call;  /* by pread(2) only */
};

/** op_clean_begin() - Return: 0 or -errno of opening BACKING's file; end with op_clean_end() in any case */
int op_clean_begin(struct clean_source *source, const struct open_file *open);

/** op_clean_read() - a content_reader (layer/content.h): out of windows, or by pread(2) */
ssize_t op_clean_read(void *context, unsigned char *to, size_t length, uint64_t offset);

void op_clean_end(struct clean_source *source);

/** op_close_handle() - undo op_open_handle() */
void op_close_handle(struct fs *fs, uint64_t id);

/**
 * op_release_handle() - answer RELEASE of a file: sync what close(2) is to sync, and close the handle
 * @close: what undoes its opening
 */
void op_release_handle(fuse_req_t req, uint64_t id, void (*close)(struct fs *fs, uint64_t id));

/**
 * op_locks_release_handle() - the handle goes: locks of owners that only it had (OFD locks) go
 *
 * Blocks: for the server of a remote BACKING, as op_locks_release() does. Locks: file->lock.
 */
void op_locks_release_handle(struct file *file, uint64_t id);

/** op_locks_release() - a lock owner closed a descriptor of the file: its fcntl(2) locks go */
void op_locks_release(struct file *file, uint64_t owner);

/** ops_cancel_waits() - end every wait for a lock and return when none is left */
void ops_cancel_waits(struct fs *fs);

/* Reserved attributes, user.memmapfs.*, and commands: answered by the daemon; see control.h. */
bool control_is_reserved(const char *name);

/** op_reply_value() - answers with a value, or with its length where that was asked for; @length may be -errno */
void op_reply_value(fuse_req_t req, const char *value, ssize_t length, size_t size);

/** op_without_reserved() - take reserved names out of a list, in place. Return: the new length. */
ssize_t op_without_reserved(char *list, ssize_t length);

/** control_attribute() - the value of a reserved attribute: malloc'ed. Return: its length or -errno. */
ssize_t control_attribute(struct fs *fs, struct inode *inode, const char *name, char **ret_value);

/** control_set_attribute() - set a reserved attribute; answers the request */
void control_set_attribute(fuse_req_t req, struct inode *inode, const char *name, const char *value,
			   size_t size);

/**
 * control_reply - answers a request that was submitted, exactly once
 * @result: of control_run()
 * @text:   its reply, borrowed; may be NULL
 *
 * May run in another thread than the one that submitted: request_current() is not the request there.
 */
typedef void control_reply(fuse_req_t req, int result, const char *text);

/**
 * control_submit() - have a command of control.h run, here or in a thread of its own, and answered
 * @inode:    of the request; borrowed, the command takes a reference if it outlives the call
 * @name:     the command; copied
 * @value:    @size bytes, without a zero at the end; copied
 * @may_read: the caller may read the file
 * @reply:    called once, before or after the call returns
 */
void control_submit(fuse_req_t req, struct inode *inode, const char *name, const char *value, size_t size,
		    bool may_read, control_reply *reply);

/** control_ioctl() - a request by CONTROL_IOCTL of control_protocol.h; answers it */
void control_ioctl(fuse_req_t req, struct inode *inode, const struct fuse_file_info *fi, const void *in,
		   size_t in_size, size_t out_size);

void op_init(void *userdata, struct fuse_conn_info *conn);
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t nodeid, uint64_t lookups);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void op_getattr(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t nodeid, struct stat *attr, int to_set, struct fuse_file_info *fi);
void op_readlink(fuse_req_t req, fuse_ino_t nodeid);
void op_access(fuse_req_t req, fuse_ino_t nodeid, int mask);
void op_statfs(fuse_req_t req, fuse_ino_t nodeid);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_link(fuse_req_t req, fuse_ino_t nodeid, fuse_ino_t parent, const char *name);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	       const char *new_name, unsigned flags);
void op_open(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t nodeid, int datasync, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t nodeid, size_t size, off_t offset, struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t nodeid, const char *data, size_t size, off_t offset,
	      struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t nodeid, int mode, off_t offset, off_t length,
		  struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t nodeid, off_t offset, int whence, struct fuse_file_info *fi);
void op_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t in_offset, struct fuse_file_info *in_fi,
			fuse_ino_t out, off_t out_offset, struct fuse_file_info *out_fi, size_t length,
			int flags);
void op_opendir(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t nodeid, size_t size, off_t offset, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t nodeid, size_t size, off_t offset, struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi);
void op_fsyncdir(fuse_req_t req, fuse_ino_t nodeid, int datasync, struct fuse_file_info *fi);
void op_setxattr(fuse_req_t req, fuse_ino_t nodeid, const char *name, const char *value, size_t size,
		 int flags);
void op_getxattr(fuse_req_t req, fuse_ino_t nodeid, const char *name, size_t size);
void op_listxattr(fuse_req_t req, fuse_ino_t nodeid, size_t size);
void op_removexattr(fuse_req_t req, fuse_ino_t nodeid, const char *name);
void op_getlk(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi, struct flock *lock);
void op_setlk(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi, struct flock *lock, int sleep);
void op_flock(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi, int operation);
void op_ioctl(fuse_req_t req, fuse_ino_t nodeid, unsigned command, void *arg, struct fuse_file_info *fi,
	      unsigned flags, const void *in, size_t in_size, size_t out_size);

#endif
