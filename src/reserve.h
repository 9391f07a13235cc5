/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_RESERVE_H
#define MEMMAPFS_RESERVE_H

/*
 * Blocks that a file system such as ext4 holds back for root. A daemon that runs as root must not hand them to
 * other users; writing as the caller costs two changes of credentials, which only a file system that runs
 * full is worth.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Zeroed to start. */
struct reserve {
	_Atomic int64_t unasked; /* bytes that may still be written before the file system is asked again */
	_Atomic uint32_t second; /* CLOCK_MONOTONIC, of the last answer, which holds for that long */
	_Atomic bool scarce;	 /* it said: what is left may soon be the reserve */
};

/**
 * reserve_near() - could so many bytes more come out of what is held back for root?
 * @fd:     open file on BACKING, borrowed
 * @length: bytes about to be written or allocated; clipped to what a file can have
 *
 * False with at least a quarter of a GiB left for everybody. Takes no lock; asks fstatfs(2) once a second and
 * once in 64 MiB, and every time while space is scarce. Other writers of BACKING could use up the rest
 * within that second.
 */
bool reserve_near(struct reserve *reserve, int fd, uint64_t length);

#endif
