/* SPDX-License-Identifier: MIT */
/* The ways in which mmap(2) makes a window: plainly, aligned for huge pages, and on hugetlbfs. */
#include <errno.h>
#include <sys/mman.h>

#include "mapping/windows.h"

/*
 * mmap(2) where an address and the offset that it shows lie alike in their huge pages: otherwise no entry of
 * the page tables can map a whole one.
 */
static void *map_aligned(const struct window_source *source, uint64_t start, size_t length, int protection,
			 int flags, size_t huge)
{
	unsigned char *reserved, *bytes;
	void *mapped;
	size_t before;

	reserved = mmap(NULL, length + huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (reserved == MAP_FAILED)
		return mmap(NULL, length, protection, flags, source->fd, (off_t)start);
	before = (size_t)((start - (uintptr_t)reserved) & (huge - 1));
	bytes = reserved + before;
	mapped = mmap(bytes, length, protection, flags | MAP_FIXED, source->fd, (off_t)start);
	if (mapped == MAP_FAILED) {
		int error = errno;

		munmap(reserved, length + huge);
		errno = error;
		return MAP_FAILED;
	}
	if (before > 0)
		munmap(reserved, before);
	munmap(bytes + length, huge - before);
	return mapped;
}

/*
 * hugetlbfs moves a file's end to that of a mapping that can be written, if the file has become shorter meanwhile:
 * only mmap(2) does that, and not mprotect(2).
 */
static void *map_huge_pages(const struct window_source *source, uint64_t start, size_t length)
{
	void *bytes = mmap(NULL, length, PROT_READ, MAP_SHARED | MAP_NORESERVE, source->fd, (off_t)start);

	if (bytes != MAP_FAILED && source->store && mprotect(bytes, length, PROT_READ | PROT_WRITE) < 0) {
		int error = errno;

		munmap(bytes, length);
		errno = error;
		return MAP_FAILED;
	}
	return bytes;
}

void *window_mmap(const struct window_cache *cache, const struct window_source *source, uint64_t start,
		  size_t length, int flags, size_t huge)
{
	int protection = PROT_READ | (source->store ? PROT_WRITE : 0);

	if (cache->unit > page_size())
		return map_huge_pages(source, start, length);
	return huge > 0 ? map_aligned(source, start, length, protection, flags, huge)
			: mmap(NULL, length, protection, flags, source->fd, (off_t)start);
}
