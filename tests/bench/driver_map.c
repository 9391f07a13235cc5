/* SPDX-License-Identifier: MIT */
/* A client's own shared mapping: loads, stores, and stores with msync(2). A load or a store a page. */
#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "driver.h"

static volatile unsigned char *map_file(const struct words *words, int fd, int protection)
{
	void *bytes = mmap(NULL, words->size, protection, MAP_SHARED, fd, 0);

	if (bytes == MAP_FAILED)
		err(1, "mmap '%s'", words->path);
	if (!words->sequential)
		madvise(bytes, words->size, MADV_RANDOM);
	return bytes;
}

static void unmap_file(const struct words *words, volatile unsigned char *bytes)
{
	if (munmap((void *)bytes, words->size) < 0)
		err(1, "munmap '%s'", words->path);
}

void run_map_read(const struct words *words)
{
	uint64_t pages = words->size / words->block;
	uint64_t count = words->count == 0 ? pages : words->count;
	uint32_t *order = order_new(words, pages, count, words->seed);
	int fd = open_file(words->path, O_RDONLY);
	volatile unsigned char *bytes;

	clock_start();
	bytes = map_file(words, fd, PROT_READ);
	for (uint64_t i = 0; i < count; i++)
		(void)bytes[order[i] * words->block];
	unmap_file(words, bytes);
	clock_stop();
	result_add(count, count * words->block);
	close(fd);
	free(order);
}

static void map_store(const struct words *words, uint64_t each)
{
	uint64_t pages = words->size / words->block;
	uint64_t count = words->count == 0 ? pages : words->count;
	uint32_t *order = order_new(words, pages, count, words->seed);
	int fd = open_file(words->path, O_RDWR);
	volatile unsigned char *bytes;

	clock_start();
	bytes = map_file(words, fd, PROT_READ | PROT_WRITE);
	for (uint64_t i = 0; i < count; i++) {
		bytes[order[i] * words->block] = (unsigned char)(words->seed + i);
		if (each != 0 && (i + 1) % each == 0 && msync((void *)bytes, words->size, MS_SYNC) < 0)
			err(1, "msync '%s'", words->path);
	}
	unmap_file(words, bytes);
	if (close(fd) < 0)
		err(1, "close '%s'", words->path);
	clock_stop();
	result_add(count, count * words->block);
	free(order);
}

void run_map_write(const struct words *words)
{
	map_store(words, 0);
}

void run_map_sync(const struct words *words)
{
	map_store(words, words->each);
}
