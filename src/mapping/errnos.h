/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_MAPPING_ERRNOS_H
#define MEMMAPFS_MAPPING_ERRNOS_H

/*
 * One table of what mmap(2), msync(2), madvise(2) and mlock(2) can answer: the errno's name, what the
 * user is told, and what the daemon does about it.
 */

#include <stdatomic.h>
#include <stdbool.h>

enum mapping_call { CALL_MMAP, CALL_MSYNC, CALL_MADVISE, CALL_MLOCK };

enum mapping_action {
	ACTION_FALL_BACK, /* serve the file by pread(2) and pwrite(2), count it, say it once */
	ACTION_EVICT,	  /* let windows go and try again, then ACTION_FALL_BACK */
	ACTION_REPORT,	  /* hand the errno to whoever asked or wrote */
	ACTION_IGNORE,	  /* a hint that was not taken */
};

struct mapping_errno {
	enum mapping_call call;
	int number;
	const char *name;    /* "ENODEV" */
	const char *message; /* what the user is told; a clause without a full stop */
	enum mapping_action action;
};

/**
 * mapping_errno_find() - the row of one answer
 * @call:   which system call
 * @number: its errno, positive
 *
 * Return: the row; for an errno the manual does not name, the call's row with number 0, which reports.
 * Static, never NULL.
 */
const struct mapping_errno *mapping_errno_find(enum mapping_call call, int number);

/** mapping_errno_row() - row @index of the table, or NULL past the last */
const struct mapping_errno *mapping_errno_row(unsigned index);

/** struct mapping_said - which rows were told to the user already; zero it to start */
struct mapping_said {
	_Atomic unsigned long rows;
};

/** mapping_errno_first() - true for exactly one caller a row and @said */
bool mapping_errno_first(struct mapping_said *said, const struct mapping_errno *row);

#endif
