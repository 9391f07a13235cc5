/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_REQUEST_H
#define MEMMAPFS_REQUEST_H

/*
 * What a request says that the library's handlers are not told, because it is newer than the library.
 * Filled by the session before a handler runs, in the thread that runs it.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define REQUEST_GROUPS_MAX 32

/* Bytes of the largest write that one request carries. */
#define MAX_WRITE ((size_t)1 << 20)

struct request {
	uint32_t opcode;
	bool kill_setid;      /* WRITE, OPEN, SETATTR, CREATE: the caller may not keep set-id bits */
	bool acl_kill_setgid; /* SETXATTR of an ACL by somebody outside the file's group */
	bool wants_statx;     /* a GETATTR that is to be answered as STATX */
	bool impatient;	      /* answer without an object rather than wait for a descriptor for it */
	bool anonymous;	      /* a CREATE without a name: O_TMPFILE */
	bool ring;	      /* it came through io_uring, and goes back there */
	bool parallel;	      /* OPEN, CREATE: for the reply, several direct writes may come at once */
	int backing; /* OPEN, CREATE: for the reply, the backing file that the kernel is to use; or 0 */
	unsigned group_count;
	gid_t groups[REQUEST_GROUPS_MAX]; /* supplementary groups that matter here */
	/* Memory for the reply. It lies behind the request's header, arguments and names, and may hold
	 * the rest of a WRITE's or SETXATTR's data. */
	unsigned char *space;
	size_t space_size;
};

/** request_current() - the request that this thread is serving; zeroed outside of one */
struct request *request_current(void);

#endif
