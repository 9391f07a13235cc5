/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_MAPPING_STREAM_H
#define MEMMAPFS_MAPPING_STREAM_H

/*
 * Reading into the page cache from front to back. What MADV_WILLNEED reads comes in single pages; who reads on and
 * on gets large folios, which arrive faster and cost a tenth of the processor. On ext4 and a disk of 3.6 GB/s, in
 * GB/s: 1.3 by MADV_WILLNEED, 3.2 by reading on; with the disk's read-ahead at 128K, as most have it, 1.8 against
 * 2.9, while nobody else reads. But the kernel then reads ahead of the end as well: parts of files that are to be
 * read, and nothing else, are left to MADV_WILLNEED.
 */

#include <stdbool.h>
#include <stdint.h>

#include "mapping/cache.h"

struct stream {
	int fd;	     /* the caller's, for MADV_WILLNEED */
	int own;     /* a description whose read-ahead is nobody else's; -1: MADV_WILLNEED is to do */
	int pipe[2]; /* where what was read goes, and out of it to @null; with @own */
	int null;
	uint64_t at; /* has come so far */
};
#define STREAM_NONE ((struct stream){.fd = -1, .own = -1, .pipe = {-1, -1}, .null = -1})

/**
 * stream_begin() - begin to read [@offset, @end)
 * @fd:   open for reading; borrowed until stream_end()
 * @size: of the file, or UINT64_MAX where that is not known
 */
void stream_begin(int fd, uint64_t offset, uint64_t end, uint64_t size, struct stream *ret_stream);

/**
 * stream_on() - read on, at least to @until
 *
 * What cannot be read is left out: whoever needs it meets the reason.
 *
 * Blocks: for as long as the disk takes, or to hand over the request where the rest is left to MADV_WILLNEED.
 * Return: 0, or -EINTR when stopped.
 */
int stream_on(struct stream *stream, uint64_t until, const struct mapping_stop *stop);

/** stream_waits() - is what stream_on() was asked for in memory when it returns, and not only on its way? */
static inline bool stream_waits(const struct stream *stream)
{
	return stream->own >= 0;
}

/** stream_end() - accepts STREAM_NONE; also as CLEANUP() */
void stream_end(struct stream *stream);

#endif
