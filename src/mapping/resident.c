/* SPDX-License-Identifier: MIT */
#include "mapping/resident.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "mapping/cache.h"
#include "mapping/windows.h"

#define RESIDENCY_CHUNK ((size_t)4096)	/* pages asked of one mincore(2) */
#define MAPPED_STEP ((uint64_t)1 << 30) /* bytes mapped for asking, at a time */

static int count_resident(unsigned char *bytes, size_t length, uint64_t *ret_resident)
{
	unsigned char pages[RESIDENCY_CHUNK];

	for (size_t at = 0; at < length; at += RESIDENCY_CHUNK * page_size()) {
		size_t step = MIN(length - at, RESIDENCY_CHUNK * page_size());

		if (mincore(bytes + at, step, pages) < 0)
			return -errno;
		for (size_t i = 0; i * page_size() < step; i++)
			*ret_resident += pages[i] & 1 ? page_size() : 0;
	}
	return 0;
}

int resident_bytes(int fd, uint64_t offset, uint64_t length, uint64_t *ret_resident)
{
	uint64_t at = page_round_down(offset), end = offset + length, resident = 0;
	int result = 0;

	while (at < end && result == 0) {
		size_t step = (size_t)MIN(end - at, MAPPED_STEP);
		unsigned char *bytes = mmap(NULL, step, PROT_READ, MAP_SHARED, fd, (off_t)at);

		if (bytes == MAP_FAILED)
			return -errno;
		result = count_resident(bytes, step, &resident);
		munmap(bytes, step);
		at += step;
	}
	if (result == 0)
		*ret_resident = resident;
	return result;
}

void resident_drop(int fd, uint64_t offset, uint64_t length)
{
	uint64_t start = page_round_down(offset);

	/* What stays is told by resident_bytes(). */
	(void)posix_fadvise(fd, (off_t)start, (off_t)(page_round_up(offset + length) - start),
			    POSIX_FADV_DONTNEED);
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
		/* A window that the kernel says nothing about has nothing that anybody could count on. */
		if (size > pin.window->offset)
			(void)count_resident(pin.window->bytes,
					     (size_t)MIN(size - pin.window->offset, pin.window->length),
					     &resident);
		window_unpin(&pin);
	}
}
