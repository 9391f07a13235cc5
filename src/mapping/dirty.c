/* SPDX-License-Identifier: MIT */
#include "mapping/dirty.h"

#include <string.h>

static void remove_at(struct dirty_set *set, size_t at, size_t count)
{
	memmove(&set->extents[at], &set->extents[at + count],
		(set->count - at - count) * sizeof(set->extents[0]));
	set->count -= count;
}

/* One extent less: the smallest gap becomes dirty. */
static void merge_closest(struct dirty_set *set)
{
	size_t best = 0;

	for (size_t i = 1; i + 1 < set->count; i++) {
		if (set->extents[i + 1].start - set->extents[i].end <
		    set->extents[best + 1].start - set->extents[best].end)
			best = i;
	}
	set->extents[best].end = set->extents[best + 1].end;
	remove_at(set, best + 1, 1);
}

void dirty_add(struct dirty_set *set, uint64_t offset, uint64_t length)
{
	struct extent added = {offset, offset + length};
	size_t at = 0, last;

	if (length == 0)
		return;
	while (at < set->count && set->extents[at].end < added.start)
		at++;
	for (last = at; last < set->count && set->extents[last].start <= added.end; last++) {
		if (set->extents[last].start < added.start)
			added.start = set->extents[last].start;
		if (set->extents[last].end > added.end)
			added.end = set->extents[last].end;
	}
	if (last > at) {
		set->extents[at] = added;
		remove_at(set, at + 1, last - at - 1);
		return;
	}
	memmove(&set->extents[at + 1], &set->extents[at], (set->count - at) * sizeof(set->extents[0]));
	set->extents[at] = added;
	if (++set->count > DIRTY_EXTENTS)
		merge_closest(set);
}

uint64_t dirty_bytes(const struct dirty_set *set)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < set->count; i++)
		sum += set->extents[i].end - set->extents[i].start;
	return sum;
}
