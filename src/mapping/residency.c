/* SPDX-License-Identifier: MIT */
#include "mapping/residency.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "mapping/windows.h"

/* Newer than the C library's headers; the number is the same on every architecture. */
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

struct cachestat_range {
	uint64_t offset;
	uint64_t length;
};

struct cachestat {
	uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

#define CHUNK_PAGES ((size_t)512)

static int ask_cachestat(int fd, uint64_t offset, uint64_t length, struct cachestat *ret_pages)
{
	struct cachestat_range range = {offset, length};

	return syscall(SYS_cachestat, fd, &range, ret_pages, 0) < 0 ? -errno : 0;
}

/* Would mincore(2) tell this process the truth? */
static bool mincore_is_honest(int fd)
{
	char path[32];
	struct stat info;

	if (geteuid() == 0)
		return true;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return (fstat(fd, &info) == 0 && info.st_uid == geteuid()) || access(path, W_OK) == 0;
}

/* One byte a page, 1 when it is cached; at most CHUNK_PAGES from a page's first byte. */
static int ask_mincore(int fd, uint64_t offset, size_t pages, unsigned char *ret_vector)
{
	size_t length = pages * page_size();
	void *bytes;
	int result = 0;

	if (!mincore_is_honest(fd))
		return -EPERM;
	bytes = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, (off_t)offset);
	if (bytes == MAP_FAILED)
		return -errno;
	if (mincore(bytes, length, ret_vector) < 0)
		result = -errno;
	munmap(bytes, length);
	for (size_t i = 0; i < pages; i++)
		ret_vector[i] &= 1;
	return result;
}

uint64_t data_after(int fd, uint64_t at, uint64_t end)
{
	off_t data = lseek(fd, (off_t)at, SEEK_DATA);

	if (data < 0)
		return errno == ENXIO ? end : at;
	return MIN((uint64_t)data, end);
}

static int count_by_mincore(int fd, uint64_t offset, uint64_t length, struct residency *ret_residency)
{
	unsigned char vector[CHUNK_PAGES];
	uint64_t end = page_round_up(offset + length);

	/* mincore(2) looks for each page: a hole of a petabyte is passed over, with what is cached in it. */
	while ((offset = page_round_down(data_after(fd, offset, end))) < end) {
		size_t pages = (size_t)MIN((end - offset) / page_size(), CHUNK_PAGES);
		int result = ask_mincore(fd, offset, pages, vector);

		if (result < 0)
			return result;
		for (size_t i = 0; i < pages; i++)
			ret_residency->cached += vector[i] * page_size();
		offset += pages * page_size();
	}
	return 0;
}

/* What hugetlbfs has allocated is in memory and stays there; of a file with holes nobody tells which part. */
static int count_huge_pages(int fd, uint64_t offset, uint64_t length, struct residency *ret_residency)
{
	struct statfs fs;
	struct stat info;

	if (fstatfs(fd, &fs) < 0 || fstat(fd, &info) < 0)
		return -errno;
	if (fs.f_type != HUGETLBFS_MAGIC)
		return -EOPNOTSUPP;
	if (info.st_blocks == 0 || (offset == 0 && length >= (uint64_t)info.st_size)) {
		ret_residency->cached = (uint64_t)info.st_blocks * 512;
		return 0;
	}
	if ((uint64_t)info.st_blocks * 512 < (uint64_t)info.st_size)
		return -EOPNOTSUPP;
	length = MIN(length, (uint64_t)info.st_size - MIN(offset, (uint64_t)info.st_size));
	ret_residency->cached = page_round_up(length);
	return 0;
}

int residency_count(int fd, uint64_t offset, uint64_t length, struct residency *ret_residency)
{
	uint64_t start = page_round_down(offset);
	struct residency residency = {0};
	struct cachestat pages;
	int result = 0;

	/* cachestat(2) takes a length of 0 for "up to the end". */
	if (length > 0) {
		length += offset - start;
		result = ask_cachestat(fd, start, length, &pages);
		if (result == 0)
			residency = (struct residency){pages.cached * page_size(), pages.dirty * page_size(),
						       pages.writeback * page_size()};
		else if (result == -ENOSYS)
			result = count_by_mincore(fd, start, length, &residency);
		else if (result == -EOPNOTSUPP)
			result = count_huge_pages(fd, start, length, &residency);
	}
	if (result == 0)
		*ret_residency = residency;
	return result;
}

/* The same vector as ask_mincore()'s; halves what is neither empty nor full. */
static int pages_by_cachestat(int fd, uint64_t offset, size_t pages, unsigned char *ret_vector)
{
	struct cachestat found;
	int result = ask_cachestat(fd, offset, pages * page_size(), &found);

	if (result < 0)
		return result;
	if (found.cached == 0 || found.cached >= pages) {
		memset(ret_vector, found.cached > 0, pages);
		return 0;
	}
	result = pages_by_cachestat(fd, offset, pages / 2, ret_vector);
	if (result < 0)
		return result;
	return pages_by_cachestat(fd, offset + pages / 2 * page_size(), pages - pages / 2,
				  ret_vector + pages / 2);
}

/* Moves *@at to where a chunk begins that has cached pages, or to @end. What is empty is found by longer looks. */
static int skip_uncached(int fd, uint64_t *at, uint64_t end, const struct mapping_stop *stop)
{
	const uint64_t chunk = CHUNK_PAGES * page_size();

	for (uint64_t step = chunk; *at < end;) {
		uint64_t length = MIN(step, end - *at);
		struct cachestat found;
		int result = stop_asked(stop) ? -EINTR : ask_cachestat(fd, *at, length, &found);

		if (result == -ENOSYS)
			*at = page_round_down(data_after(fd, *at, end));
		if (result < 0)
			return result == -ENOSYS ? 0 : result;
		if (found.cached > 0 && length <= chunk)
			return 0;
		if (found.cached > 0) {
			step = MAX(page_round_down(length / 2), chunk);
			continue;
		}
		*at += length;
		step = 2 * length;
	}
	return 0;
}

int residency_runs(int fd, uint64_t offset, uint64_t length, const struct mapping_stop *stop,
		   struct extent *runs, size_t max, size_t *ret_count, uint64_t *ret_next)
{
	unsigned char vector[CHUNK_PAGES];
	uint64_t at = page_round_down(offset), end = page_round_up(offset + length);
	size_t count = 0;

	while (at < end) {
		int result = skip_uncached(fd, &at, end, stop);
		size_t pages = (size_t)MIN((end - at) / page_size(), CHUNK_PAGES);

		if (result == 0 && pages > 0)
			result = pages_by_cachestat(fd, at, pages, vector);
		if (result == -ENOSYS)
			result = ask_mincore(fd, at, pages, vector);
		if (result < 0)
			return result;
		for (size_t i = 0; i < pages; i++, at += page_size()) {
			if (!vector[i])
				continue;
			if (count > 0 && runs[count - 1].end == at) {
				runs[count - 1].end += page_size();
				continue;
			}
			if (count == max) {
				*ret_count = count;
				*ret_next = at;
				return 0;
			}
			runs[count++] = (struct extent){at, at + page_size()};
		}
	}
	*ret_count = count;
	*ret_next = end;
	return 0;
}

void residency_drop(int fd, uint64_t offset, uint64_t length)
{
	uint64_t start = page_round_down(offset);

	/* What stays is told by residency_count(). */
	(void)posix_fadvise(fd, (off_t)start, (off_t)(page_round_up(offset + length) - start),
			    POSIX_FADV_DONTNEED);
}
