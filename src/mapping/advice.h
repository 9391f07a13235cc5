/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_MAPPING_ADVICE_H
#define MEMMAPFS_MAPPING_ADVICE_H

/*
 * Hints to the kernel about a file's pages, named as in madvise(2). Some stand, and are given to every window
 * of the file as it is mapped; the others act once. Knows windows and descriptors.
 */

#include <stdbool.h>
#include <stdint.h>

#include "mapping/cache.h"

/* One row in advice.c each. */
enum advice {
	ADVICE_NORMAL,
	ADVICE_RANDOM,
	ADVICE_SEQUENTIAL,
	ADVICE_WILLNEED,
	ADVICE_DONTNEED,
	ADVICE_COLD,
	ADVICE_PAGEOUT,
	ADVICE_HUGEPAGE,
	ADVICE_NOHUGEPAGE,
	ADVICE_POPULATE_READ,
	ADVICE_COLLAPSE,
	ADVICE_COUNT,
};

/** advice_name() - "random" */
const char *advice_name(enum advice advice);

/**
 * advice_find() - the advice with this name
 * @ret_why: set on failure only: what to say about it, static
 *
 * Return: 0, -EINVAL for an unknown word, or -EPERM for one that destroys data.
 */
int advice_find(const char *name, enum advice *ret_advice, const char **ret_why);

/** advice_stands() - does the advice hold for windows mapped later, where it is given for a whole file? */
bool advice_stands(enum advice advice);

/**
 * advice_give() - madvise(2) of mapped bytes
 * @bytes:  of a shared file mapping, page-aligned
 * @length: > 0
 *
 * Return: 0 or -errno of madvise(2).
 */
int advice_give(unsigned char *bytes, size_t length, enum advice advice);

/**
 * advice_give_descriptor() - the same for reads by descriptor, as far as posix_fadvise(2) has it
 *
 * Only for the first three; the others are nothing to a descriptor. A refusal is not told: it is a hint.
 */
void advice_give_descriptor(int fd, enum advice advice);

/** advice_in_force() - the standing advice of a file: what was set, or what its policy says */
enum advice advice_in_force(const struct mapping *mapping);

/** advice_wants_huge() - 1, 0, or -1 where nobody said: huge pages for the file's windows? */
int advice_wants_huge(const struct mapping *mapping);

/**
 * mapping_advise_file() - hint about the whole file
 * @source: the file; windows that do not exist are not mapped for this, what stands is given to those to come
 * @stop:   asked between steps where it takes long; may be NULL
 *
 * `willneed` and `populate_read` do map: they are about bytes and not about mappings.
 *
 * Locks:  mapping->lock. None across anything that waits for the disk.
 * Blocks: for as long as the disk takes, where the advice reads or writes.
 *
 * Return: 0, -EINTR when stopped, the -errno of madvise(2), or of mmap(2) where it maps.
 */
int mapping_advise_file(struct mapping *mapping, const struct window_source *source, enum advice advice,
			const struct mapping_stop *stop);

/**
 * mapping_advise_range() - hint about [@offset, @offset + @length), which lies inside the file
 *
 * Rounded outwards to pages. Acts on the windows there are or has to be mapped for it, and does not stand.
 * A hint that divides a mapping costs the process one of its map slots, which are few: a file may have
 * WINDOW_SPLITS of those.
 *
 * Return: as mapping_advise_file(), -ENOMEM past WINDOW_SPLITS included.
 */
int mapping_advise_range(struct mapping *mapping, const struct window_source *source, enum advice advice,
			 uint64_t offset, uint64_t length, const struct mapping_stop *stop);

#endif
