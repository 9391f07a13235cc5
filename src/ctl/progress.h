/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CTL_PROGRESS_H
#define MEMMAPFS_CTL_PROGRESS_H

/* A line on a terminal that tells how far something is: bytes, percentage, rate and time left. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct progress {
	bool shown; /* wanted, and stderr is a terminal */
	uint64_t done, all;
	struct timespec began, printed;
	uint64_t rate; /* bytes a second, smoothed; 0 while unknown */
	uint64_t done_then;
};

/** progress_begin() - @all bytes are to be dealt with */
void progress_begin(struct progress *progress, bool wanted, uint64_t all);

/** progress_add() - @bytes more are done; prints a few times a second */
void progress_add(struct progress *progress, uint64_t bytes);

/** progress_end() - the line's last state, and a new line */
void progress_end(struct progress *progress);

/** progress_line() - the text without control characters, at most @size - 1 bytes */
void progress_line(const struct progress *progress, double seconds, char *ret_line, size_t size);

#endif
