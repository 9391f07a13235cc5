/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_STRAIGHT_H
#define MEMMAPFS_STRAIGHT_H

/*
 * Replies sent straight from mapped bytes: the kernel takes references to the pages first, while the request
 * can still be answered otherwise, and copies out of them once, into the pages of the mount. (A reply written
 * from the mapping itself would be lost with the request where a page cannot appear.)
 *
 * Only for replies to the device: a ring takes its bytes from memory that it was given once.
 *
 * All of it belongs to the thread that calls.
 *
 * See: vmsplice(2), splice(2), pipe(7)
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "util.h"

/* Bytes of a reply from which this takes less than a copy does: a third less processor time; below, not less. */
#define STRAIGHT_MIN ((size_t)256 << 10)

/** straight_wanted() - is this the way for a reply of @length bytes to the request this thread is serving? */
bool straight_wanted(size_t length);

/**
 * straight_hold() - take hold of the pages of a reply
 * @bytes:  mapped and pinned, until straight_send() or straight_drop()
 * @length: all of it or nothing
 *
 * What is sent is what the pages have by then: the caller asks the file's size afterwards.
 * Blocks: until the pages are in memory.
 *
 * Return: are they held? If not, a page cannot appear, or the kernel allows no pipe so large, or no more.
 */
bool straight_hold(const void *bytes, size_t length);

/** straight_drop() - let go of what straight_hold() took; nothing is sent */
void straight_drop(void);

/** straight_held() - has this thread bytes that wait to be sent? */
bool straight_held(void);

/**
 * straight_send() - answer with the bytes held
 * @fd:     of the FUSE device
 * @header: struct fuse_out_header; the length it names is that of itself and of the bytes held together
 *
 * Return: as writev(2) on the device, with errno. Nothing is held afterwards.
 */
ssize_t straight_send(int fd, const void *header);

/*
 * A reply comes before every request that the kernel sends because of it. ThreadSanitizer sees that of read(2) and
 * write(2) of the device, but knows nothing of splice(2).
 */
#ifdef THREAD_SANITIZER
void __tsan_acquire(void *address);
void __tsan_release(void *address);
extern char straight_order;
#define STRAIGHT_REPLIES() __tsan_release(&straight_order)
#define STRAIGHT_REPLIED() __tsan_acquire(&straight_order)
#else
#define STRAIGHT_REPLIES() ((void)0)
#define STRAIGHT_REPLIED() ((void)0)
#endif

/**
 * straight_readahead() - what the kernel is to be told where a read-ahead of @wanted bytes is
 *
 * One request's worth, and the header of its reply, are a page more than a pipe takes without CAP_SYS_RESOURCE;
 * so the kernel gets a page less.
 */
uint64_t straight_readahead(uint64_t wanted);

/** straight_thread_end() - the thread ends: give back its pipe */
void straight_thread_end(void);

#endif
