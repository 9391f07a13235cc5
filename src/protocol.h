/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_PROTOCOL_H
#define MEMMAPFS_PROTOCOL_H

/*
 * The parts of the FUSE protocol that are newer than the headers this is built with.
 * Source: include/uapi/linux/fuse.h, Linux 6.18 (protocol 7.45).
 */

#include <linux/fuse.h>
#include <linux/ioctl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct request;

#define PROTOCOL_TMPFILE 51
#define PROTOCOL_STATX 52

#define PROTOCOL_HANDLE_KILLPRIV_V2 (UINT64_C(1) << 28)
#define PROTOCOL_SETXATTR_EXT (UINT64_C(1) << 29)
#define PROTOCOL_INIT_EXT (UINT64_C(1) << 30)
#define PROTOCOL_CREATE_SUPP_GROUP (UINT64_C(1) << 34)
#define PROTOCOL_DIRECT_IO_ALLOW_MMAP (UINT64_C(1) << 36)
#define PROTOCOL_PASSTHROUGH (UINT64_C(1) << 37)
#define PROTOCOL_OVER_IO_URING (UINT64_C(1) << 41)

#define PROTOCOL_OPEN_PARALLEL_DIRECT_WRITES (1u << 6)
#define PROTOCOL_OPEN_PASSTHROUGH (1u << 7)

#define PROTOCOL_EXT_GROUPS 32
#define PROTOCOL_NOTIFY_INC_EPOCH 8
#define PROTOCOL_NOTIFY_PRUNE 9
#define PROTOCOL_MINOR_PRUNE 45
#define PROTOCOL_SETATTR_KILL_SUIDGID (1u << 11)
#define PROTOCOL_SETXATTR_ACL_KILL_SGID (1u << 0)
#define PROTOCOL_OPEN_KILL_SUIDGID (1u << 0)
#define PROTOCOL_WRITE_KILL_SUIDGID (1u << 2)

struct protocol_header {
	uint32_t len;
	uint32_t opcode;
	uint64_t unique;
	uint64_t nodeid;
	uint32_t uid;
	uint32_t gid;
	uint32_t pid;
	uint16_t total_extlen; /* of extensions at the end, in 8-byte units */
	uint16_t padding;
};

struct protocol_ext_header {
	uint32_t size;
	uint32_t type;
};

struct protocol_notify_prune {
	uint32_t count;
	uint32_t padding;
	uint64_t spare;
};

struct protocol_backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};

#define PROTOCOL_BACKING_OPEN _IOW(229, 1, struct protocol_backing_map)
#define PROTOCOL_BACKING_CLOSE _IOW(229, 2, uint32_t)

/* File systems that BACKING may itself be stacked on, and this mount be a layer of. */
#define PROTOCOL_STACK_DEPTH 1

#define PROTOCOL_RING_REGISTER 1
#define PROTOCOL_RING_COMMIT_AND_FETCH 2

/* The command of an io_uring submission to the device. */
struct protocol_ring_command {
	uint64_t flags;
	uint64_t commit_id;
	uint16_t queue;
	uint8_t padding[6];
};

/* What stands beside a request's names and bytes, in memory of their own. */
struct protocol_ring_headers {
	unsigned char header[128];   /* struct protocol_header; for the answer, struct fuse_out_header */
	unsigned char argument[128]; /* the request's first argument */
	uint64_t flags;
	uint64_t commit_id; /* to be named with the answer */
	uint32_t payload_size;
	uint32_t padding;
	uint64_t reserved;
};

struct protocol_setxattr {
	uint32_t size;
	uint32_t flags;
	uint32_t setxattr_flags;
	uint32_t padding;
};

#define PROTOCOL_SETXATTR_OLD_SIZE ((size_t)8)
#define PROTOCOL_MINOR_SETXATTR_EXT 33

struct protocol_sx_time {
	int64_t tv_sec;
	uint32_t tv_nsec;
	int32_t reserved;
};

struct protocol_statx {
	uint32_t mask;
	uint32_t blksize;
	uint64_t attributes;
	uint32_t nlink;
	uint32_t uid;
	uint32_t gid;
	uint16_t mode;
	uint16_t spare0;
	uint64_t ino;
	uint64_t size;
	uint64_t blocks;
	uint64_t attributes_mask;
	struct protocol_sx_time atime;
	struct protocol_sx_time btime;
	struct protocol_sx_time ctime;
	struct protocol_sx_time mtime;
	uint32_t rdev_major;
	uint32_t rdev_minor;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint64_t spare2[14];
};

struct protocol_statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec;
	uint32_t flags;
	uint64_t spare[2];
	struct protocol_statx stat;
};

/* What the two sides of a connection said of themselves in INIT; zeroed before. */
struct protocol {
	_Atomic uint32_t kernel_minor;
	_Atomic uint32_t library_minor;
	_Atomic uint64_t offered; /* the kernel's capability bits, flags2 in the upper half */
};

/**
 * protocol_prepare() - note what a request says beyond the library's knowledge, and rewrite it into what
 * the library knows
 * @buffer:  a request as read from the device, at least a header long; changed in place
 * @request: zeroed but for the reply's memory; filled
 *
 * Return: the request's new length.
 */
size_t protocol_prepare(struct protocol *protocol, unsigned char *buffer, size_t length,
			struct request *request);

/**
 * protocol_complete_init() - add the capabilities that the library does not know to its reply to INIT
 * @reply:  struct fuse_init_out, changed in place
 * @wanted: PROTOCOL_DIRECT_IO_ALLOW_MMAP, PROTOCOL_PASSTHROUGH, PROTOCOL_OVER_IO_URING, or none; others are asked
 *          for always
 *
 * Return: those of @wanted that the kernel offers.
 */
uint64_t protocol_complete_init(struct protocol *protocol, void *reply, size_t length, uint64_t wanted);

/**
 * protocol_complete_open() - add what the library does not know to its reply to OPEN, CREATE or TMPFILE
 * @reply:    struct fuse_open_out, which struct fuse_entry_out stands before or not; changed in place
 * @backing:  the kernel's number of the backing file; 0: none
 * @parallel: several writes that bypass the kernel's cache may come at once
 */
void protocol_complete_open(void *reply, size_t length, int backing, bool parallel);

#endif
