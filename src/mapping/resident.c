/* SPDX-License-Identifier: MIT */
/* Which pages of a file's windows are in memory. */
#include <sys/mman.h>

#include "mapping/cache.h"
#include "mapping/windows.h"

#define RESIDENCY_CHUNK ((size_t)4096) /* pages asked of one mincore(2) */

static uint64_t window_resident(const struct window *window, uint64_t size)
{
	unsigned char pages[RESIDENCY_CHUNK];
	uint64_t resident = 0;
	size_t inside = size <= window->offset ? 0 : (size_t)MIN(size - window->offset, window->length);

	for (size_t at = 0; at < inside; at += RESIDENCY_CHUNK * page_size()) {
		size_t length = MIN(inside - at, RESIDENCY_CHUNK * page_size());

		if (mincore(window->bytes + at, length, pages) < 0)
			continue;
		for (size_t i = 0; i * page_size() < length; i++)
			resident += pages[i] & 1 ? page_size() : 0;
	}
	return resident;
}

uint64_t mapping_resident(struct mapping *mapping, uint64_t size)
{
	uint64_t resident = 0;
	size_t slot = 0;

	for (;;) {
		struct window_pin pin = {0};

		pthread_mutex_lock(&mapping->lock);
		pin.window = mapping_next_locked(mapping, &slot);
		pthread_mutex_unlock(&mapping->lock);
		if (pin.window == NULL)
			return resident;
		resident += window_resident(pin.window, size);
		window_unpin(&pin);
	}
}
