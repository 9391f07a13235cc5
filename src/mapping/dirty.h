/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_MAPPING_DIRTY_H
#define MEMMAPFS_MAPPING_DIRTY_H

/*
 * The byte ranges of one file that were written and not yet synced, in constant memory: up to
 * DIRTY_EXTENTS extents, the two closest of which are merged when one more is needed. Syncing more
 * than was written is allowed, less is not. Knows no file and no window.
 */

#include <stddef.h>
#include <stdint.h>

#define DIRTY_EXTENTS 16

struct extent {
	uint64_t start; /* first byte */
	uint64_t end;	/* first byte after it */
};

struct dirty_set {
	size_t count;
	struct extent
		extents[DIRTY_EXTENTS +
			1]; /* one more only inside dirty_add(); ascending, apart by at least one byte */
};

/**
 * dirty_add() - note that @length bytes from @offset were written
 * @set:    zeroed or used before; the caller serializes
 * @offset: first byte
 * @length: bytes; 0 adds nothing; the sum must not overflow
 */
void dirty_add(struct dirty_set *set, uint64_t offset, uint64_t length);

/** dirty_bytes() - bytes covered by the extents, an upper bound of what was written */
uint64_t dirty_bytes(const struct dirty_set *set);

#endif
