/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_MAPPING_RESIDENCY_H
#define MEMMAPFS_MAPPING_RESIDENCY_H

/*
 * Which pages of a backing file are in the page cache, mapped by anybody or not. Asked of cachestat(2), which
 * tells the truth or EPERM. mincore(2), for kernels before 6.5, calls every page resident to a process that
 * may not write the file: such a question is answered EPERM here as well.
 */

#include <stddef.h>
#include <stdint.h>

#include "mapping/cache.h"

/* Holes longer than this are not preloaded: those of a disk image would fill the memory with zeros. */
#define LONG_HOLE (UINT64_C(64) << 20)

/* Bytes, in whole pages. */
struct residency {
	uint64_t cached;
	uint64_t dirty;	    /* of these; 0 where the kernel does not tell */
	uint64_t writeback; /* of these; 0 where the kernel does not tell */
};

/**
 * residency_count() - how much of a range is cached
 * @fd:     file open for reading; borrowed
 * @offset: first byte, rounded down to a page
 * @length: bytes; 0 is nothing
 *
 * Return: 0, or
 *   -EPERM       the kernel does not tell this process, which neither owns the file nor may write it
 *   -EOPNOTSUPP  this file system has no answer (hugetlbfs, of a part of a file with holes)
 *   -errno of mmap(2) or mincore(2)
 *
 * See: cachestat(2), mincore(2)
 */
int residency_count(int fd, uint64_t offset, uint64_t length, struct residency *ret_residency);

/**
 * residency_runs() - the runs of cached pages of a range, in ascending order
 * @length:    @offset + @length does not exceed INT64_MAX, less a page
 * @stop:      asked again and again; may be NULL
 * @runs:      room for @max extents
 * @ret_count: how many were found
 * @ret_next:  the end of the range, or where to go on when @runs was full
 *
 * Return: as residency_count(), or -EINTR when stopped.
 */
int residency_runs(int fd, uint64_t offset, uint64_t length, const struct mapping_stop *stop,
		   struct extent *runs, size_t max, size_t *ret_count, uint64_t *ret_next);

/** residency_drop() - have the kernel drop clean pages that nobody maps or locks, those at the edges too */
void residency_drop(int fd, uint64_t offset, uint64_t length);

#endif
