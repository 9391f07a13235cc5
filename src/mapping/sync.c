/* SPDX-License-Identifier: MIT */
#include "mapping/sync.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

int mapping_mark_dirty(struct mapping *mapping, uint64_t offset, uint64_t length, int64_t *ret_growth)
{
	uint64_t before;

	*ret_growth = 0;
	if (length == 0)
		return 0;
	LOCK_SCOPE(&mapping->lock);
	if (mapping->dirty == NULL) {
		mapping->dirty = calloc(1, sizeof(*mapping->dirty));
		if (mapping->dirty == NULL)
			return -ENOMEM;
	}
	before = dirty_bytes(mapping->dirty);
	dirty_add(mapping->dirty, offset, length);
	*ret_growth = (int64_t)(dirty_bytes(mapping->dirty) - before);
	return 0;
}

void mapping_take_dirty(struct mapping *mapping, struct dirty_set *ret_set)
{
	LOCK_SCOPE(&mapping->lock);
	if (mapping->dirty == NULL) {
		ret_set->count = 0;
		return;
	}
	*ret_set = *mapping->dirty;
	free(mapping->dirty);
	mapping->dirty = NULL;
}

uint64_t mapping_dirty_bytes(struct mapping *mapping)
{
	LOCK_SCOPE(&mapping->lock);
	return mapping->dirty == NULL ? 0 : dirty_bytes(mapping->dirty);
}

int mapping_msync(struct mapping *mapping, const struct window_source *source, const struct extent *extent,
		  uint64_t *ret_lost)
{
	struct window_source shared = *source;
	uint64_t end = MIN(extent->end, source->size);
	uint64_t at = page_round_down(extent->start);

	shared.shared = true;
	shared.quiet = true;
	while (at < end) {
		struct window_pin pin = {0};
		size_t length;
		int result = mapping_pin(mapping, &shared, at, (size_t)MIN(end - at, SIZE_MAX / 2), &pin);

		if (result < 0)
			return result;
		length = pin.length;
		if (msync(pin.bytes, length, MS_SYNC) < 0)
			result = -errno;
		window_unpin(&pin);
		if (result < 0) {
			*ret_lost = at;
			return result;
		}
		at += length;
	}
	return 0;
}
