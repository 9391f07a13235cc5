/* SPDX-License-Identifier: MIT */
/* Reads, writes and appends. */
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "driver.h"

struct reader {
	const struct words *words;
	pthread_barrier_t *start;
	int fd;
	uint64_t first; /* block; each reader has blocks of its own, so that none finds another's cached */
	uint64_t count; /* requests */
	uint32_t *order;
	unsigned char *buffer;
};

static void *read_blocks(void *argument)
{
	const struct reader *reader = argument;
	size_t block = reader->words->block;

	pthread_barrier_wait(reader->start);
	for (uint64_t i = 0; i < reader->count; i++) {
		uint64_t offset = (reader->first + reader->order[i]) * block;
		ssize_t got = pread(reader->fd, reader->buffer, block, (off_t)offset);

		if (got != (ssize_t)block) {
			if (got < 0)
				err(1, "pread '%s'", reader->words->path);
			errx(1, "pread '%s': %zd bytes of %zu", reader->words->path, got, block);
		}
	}
	return NULL;
}

void run_read(const struct words *words)
{
	int flags = O_RDONLY | (words->direct ? O_DIRECT : 0);
	uint64_t blocks = words->size / words->block / words->threads;
	uint64_t count = words->count == 0 ? blocks : words->count / words->threads;
	struct reader *readers = calloc(words->threads, sizeof(*readers));
	pthread_t *threads = calloc(words->threads, sizeof(*threads));
	pthread_barrier_t start;

	if (readers == NULL || threads == NULL)
		errx(1, "out of memory");
	pthread_barrier_init(&start, NULL, words->threads + 1);
	for (unsigned i = 0; i < words->threads; i++) {
		readers[i] = (struct reader){
			.words = words,
			.start = &start,
			.fd = open_file(words->path, flags),
			.first = i * blocks,
			.count = count,
			.order = order_new(words, blocks, count, words->seed + i),
			.buffer = data_new(words->block, 0),
		};
		/* what no cache has is then asked for by the block, not by the kernel's read-ahead */
		posix_fadvise(readers[i].fd, 0, 0, words->sequential ? POSIX_FADV_NORMAL : POSIX_FADV_RANDOM);
		if (pthread_create(&threads[i], NULL, read_blocks, &readers[i]) != 0)
			errx(1, "pthread_create");
	}
	clock_start();
	pthread_barrier_wait(&start);
	for (unsigned i = 0; i < words->threads; i++)
		pthread_join(threads[i], NULL);
	clock_stop();
	for (unsigned i = 0; i < words->threads; i++) {
		result_add(readers[i].count, readers[i].count * words->block);
		close(readers[i].fd);
		free(readers[i].order);
		free(readers[i].buffer);
	}
	pthread_barrier_destroy(&start);
	free(readers);
	free(threads);
}

static void write_whole(int fd, const void *data, size_t length, off_t offset)
{
	ssize_t done = pwrite(fd, data, length, offset);

	if (done < 0)
		err(1, "pwrite");
	if ((size_t)done != length)
		errx(1, "pwrite: %zd bytes of %zu", done, length);
}

/* close(2) is measured too: what a write-back cache has collected is handed over there. */
static void close_measured(int fd, const char *path)
{
	if (close(fd) < 0)
		err(1, "close '%s'", path);
}

void run_write(const struct words *words)
{
	int flags = O_WRONLY | (words->direct ? O_DIRECT : 0) | (words->dsync ? O_DSYNC : 0);
	uint64_t blocks = words->size / words->block;
	uint64_t count = words->count == 0 ? blocks : words->count;
	uint32_t *order = order_new(words, blocks, count, words->seed);
	unsigned char *data = data_new(words->block, words->seed);
	int fd;

	if (words->create)
		flags |= O_CREAT | O_EXCL;
	clock_start();
	fd = open_file(words->path, flags);
	for (uint64_t i = 0; i < count; i++) {
		write_whole(fd, data, words->block, (off_t)(order[i] * words->block));
		if (words->each != 0 && (i + 1) % words->each == 0 && fsync(fd) < 0)
			err(1, "fsync '%s'", words->path);
	}
	close_measured(fd, words->path);
	clock_stop();
	result_add(count, count * words->block);
	free(order);
	free(data);
}

void run_append(const struct words *words)
{
	unsigned char *data = data_new(words->block, words->seed);
	int fd;

	clock_start();
	fd = open_file(words->path, O_WRONLY | O_APPEND | O_CREAT);
	for (uint64_t i = 0; i < words->count; i++) {
		ssize_t done = write(fd, data, words->block);

		if (done != (ssize_t)words->block)
			err(1, "write '%s': %zd", words->path, done);
	}
	close_measured(fd, words->path);
	clock_stop();
	result_add(words->count, words->count * words->block);
	free(data);
}
