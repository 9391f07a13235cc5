/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_IDENTITY_H
#define MEMMAPFS_IDENTITY_H

/*
 * What a backing object is, apart from its names: (device, inode number, birth time) to recognize it,
 * and, where the file system and the privileges allow, a file handle to open it again without
 * keeping a descriptor. Knows system calls; no inode table and no FUSE.
 */

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* A file handle of name_to_handle_at(2) in its own size. */
struct identity_handle {
	int mount; /* index of the mount it belongs to; see struct mounts */
	int type;
	unsigned bytes;
	unsigned char data[];
};

/* (dev, ino) alone comes back when a file is deleted and another created: the birth time tells. */
struct identity_key {
	uint64_t dev;
	uint64_t ino;
	int64_t birth_ns; /* 0 where the file system keeps none */
};

/**
 * identity_of_statx() - the key of what statx(2) described; ask for STATX_BASIC_STATS | STATX_BTIME
 */
struct identity_key identity_of_statx(const struct statx *stx);

/** identity_stat() - struct statx as the struct stat that libfuse wants */
void identity_stat(const struct statx *stx, struct stat *ret_stat);

/**
 * identity_handle_new() - the file handle of a name, or of an open descriptor
 * @directory_fd: directory, or the object itself with an empty @name
 * @mount:        index to note in the handle
 * @ret_handle:   set on success only; the caller frees it
 *
 * Return: 0, or
 *   -EOPNOTSUPP  the file system has no handles
 *   -EOVERFLOW   handles of a size never seen
 *   -ENOMEM, and -errno of name_to_handle_at(2)
 */
int identity_handle_new(int directory_fd, const char *name, int mount, struct identity_handle **ret_handle);

/**
 * identity_handle_open() - open what a handle names
 * @mount_fd: a descriptor on its file system, not O_PATH
 * @flags:    of open(2); O_CLOEXEC is added
 *
 * Return: a descriptor, or the -errno of open_by_handle_at(2); -ESTALE when the object is gone.
 */
int identity_handle_open(int mount_fd, const struct identity_handle *handle, int flags);

/**
 * identity_pack() - the 64-bit id that a handle's inode number and generation make
 *
 * Only for handle types whose layout is known and inode numbers below 2^32; the same object has the
 * same id in every run, which is what lets handles of NFS clients outlive the daemon.
 *
 * Return: the id, or 0 where there is none.
 */
uint64_t identity_pack(const struct identity_handle *handle);

/**
 * identity_unpack() - a handle made from an id and another handle of the same file system
 * @like: a handle whose type and fixed parts are taken over
 *
 * Return: 0, -EOPNOTSUPP for handle types that cannot be made, or -ENOMEM.
 */
int identity_unpack(uint64_t id, const struct identity_handle *like, struct identity_handle **ret_handle);

#endif
