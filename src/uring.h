/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_URING_H
#define MEMMAPFS_URING_H

/*
 * An io_uring of one thread with one submission at a time, in memory of the process's own.
 *
 * The library maps the ring's memory from the ring's descriptor, and such a mapping keeps the ring as long as the
 * address space is there. The daemon's may outlive it, in a process that apart_call() made: were it killed then, its
 * rings would keep the device open, and that process waiting. With memory of our own (Linux 6.5) the ring ends with its
 * descriptor.
 *
 * See: io_uring(7), io_uring_setup(2), io_uring_enter(2), io_uring_register(2)
 */

#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdint.h>

struct uring {
	int fd;		       /* owned */
	unsigned char *memory; /* owned; the rings' page, and that of the submission */
	struct io_uring_sqe *submission;
	_Atomic uint32_t *submission_tail, *completion_head, *completion_tail;
	struct io_uring_cqe *completions;
	uint32_t completion_mask;
	unsigned unsubmitted;
};

/**
 * uring_init() - an io_uring that belongs to the first thread that calls uring_enable(), with commands of 128 bytes
 *
 * Return: 0, -ENOMEM, or -errno of io_uring_setup(2): -EINVAL before Linux 6.6, -EPERM where it is forbidden.
 */
int uring_init(struct uring *uring);

/** uring_fini() - its thread has ended */
void uring_fini(struct uring *uring);

/** uring_enable() - before anything is submitted, by the thread that will. Return: 0 or -errno. */
int uring_enable(struct uring *uring);

/** uring_prepare() - the submission, zeroed, for the caller to fill; the one before has been submitted */
struct io_uring_sqe *uring_prepare(struct uring *uring);

/**
 * uring_enter() - submit what has been prepared
 * @wait: sleep until there is a completion
 *
 * Return: 0, or -errno of io_uring_enter(2), -EINTR among them: then what was prepared still is, unless it was taken.
 */
int uring_enter(struct uring *uring, bool wait);

/** uring_take() - the next completion's result. Return: is there one? */
bool uring_take(struct uring *uring, int *ret_result);

#endif
