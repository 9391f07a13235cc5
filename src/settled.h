/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_SETTLED_H
#define MEMMAPFS_SETTLED_H

/*
 * What a file was like when somebody looked who could not miss a later change: one fstat(2) after a read then tells
 * that the file was the same all along, and its bytes the file's.
 *
 * A look counts that comes so long after the file's ctime that every later change must move it, whatever the file
 * system's time stamps are worth. Until then a file may have been cut and have grown again unnoticed:
 *  - Where the size is the same in the end, something has cut the file if anything has changed it (a write that is
 *    still going on may have moved the ctime long ago, and only adds).
 *  - What cuts moves the size before the bytes go, and the ctime before anything else may change the size: whoever
 *    finds the size afterwards and then the ctime, as fstat(2) does, finds one of them changed.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* One look that counts. */
struct settled_look {
	int64_t ctime_ns; /* wraps as 64 bits do */
	uint64_t size;
};

/* The last one; each half may be of the look before it, which counts as well. */
struct settled {
	_Atomic int64_t ctime_ns; /* 0: there was none */
	_Atomic uint64_t size;	  /* written before ctime_ns */
};

/** settled_note() - somebody has looked at a regular file, whether it counts or not. Takes no lock. */
void settled_note(struct settled *settled, const struct stat *info);

/** settled_last() - Return: false where no look has counted. Takes no lock. */
bool settled_last(const struct settled *settled, struct settled_look *ret_look);

/** settled_drop() - the file has changed since: no look counts until the next one does. Takes no lock. */
void settled_drop(struct settled *settled);

/** settled_since() - has the file been as it is @now ever since @look? */
bool settled_since(const struct settled_look *look, const struct stat *now);

#endif
