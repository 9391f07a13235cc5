/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CONTROL_PROTOCOL_H
#define MEMMAPFS_CONTROL_PROTOCOL_H

/*
 * What memmapfsctl and the daemon say to each other: one ioctl(2) on any file or directory of the mount that
 * is open for reading. It works on read-only mounts, where attributes cannot be set, and brings the reason
 * of a refusal, which an errno cannot. Knows no command; those are in fuse_ops/control.c.
 *
 * FUSE hands a daemon only as many bytes as the number of the ioctl says, at most 16383 in each direction.
 */

#include <stdint.h>
#include <sys/ioctl.h>

#define CONTROL_NAME_SIZE 32
#define CONTROL_TEXT_SIZE 12288

enum control_operation {
	CONTROL_GET, /* tell; the text is an argument, and may be empty */
	CONTROL_SET, /* do; the text is what */
};

struct control_message {
	char name[CONTROL_NAME_SIZE]; /* in: command, with a NUL at the end */
	uint32_t operation;	      /* in: enum control_operation */
	int32_t status;	   /* out: 0 or an errno, positive; the text then is its reason, or empty */
	uint32_t length;   /* in: bytes of the text; out: bytes of the answer, which is cut off at
				       * CONTROL_TEXT_SIZE - 1 */
	uint32_t reserved; /* 0 */
	char text[CONTROL_TEXT_SIZE]; /* in and out; out with a NUL at the end */
};

/* The size is part of the number: another layout is another ioctl. */
#define CONTROL_IOCTL _IOWR('m', 0xF5, struct control_message)

#endif
