/* SPDX-License-Identifier: MIT */
/*
 * The mapping cache in process, without FUSE: random reads of 64 B to 64 KiB from pinned windows beside
 * pread(2) of the same file, interleaved, as JSON.
 *
 *	bench_mapping FILE SECONDS ROUNDS
 *
 * Three ways: "pread" is a system call a read; "pin" finds, pins, copies under guard and unpins a window for
 * each read, as a request does; "pinned" keeps one pin over all reads and copies under guard, as a program
 * that works on a window does. The file's pages are all in memory.
 */
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "mapping/cache.h"
#include "mapping/guard.h"

#define WINDOW_SIZE (UINT64_C(1) << 30)
#define OFFSETS 4096 /* random offsets, drawn before the clock starts; a power of two */

struct subject {
	int fd;
	uint64_t size;
	struct window_cache cache;
	struct mapping mapping;
	struct window_source source;
	struct window_pin whole; /* one pin over the file */
	uint64_t offsets[OFFSETS];
	unsigned char *buffer;
};

static void read_pread(struct subject *subject, uint64_t offset, size_t length)
{
	if (pread(subject->fd, subject->buffer, length, (off_t)offset) != (ssize_t)length)
		err(1, "pread");
}

static void read_pin(struct subject *subject, uint64_t offset, size_t length)
{
	size_t done = 0;

	while (done < length) {
		struct window_pin pin = {0};

		if (mapping_pin(&subject->mapping, &subject->source, offset + done, length - done, &pin) < 0)
			errx(1, "mapping_pin");
		if (guarded_copy(subject->buffer + done, pin.bytes, pin.length) < 0)
			errx(1, "guarded_copy");
		done += pin.length;
		window_unpin(&pin);
	}
}

static void read_pinned(struct subject *subject, uint64_t offset, size_t length)
{
	if (guarded_copy(subject->buffer, subject->whole.bytes + offset, length) < 0)
		errx(1, "guarded_copy");
}

static const struct {
	const char *name;
	void (*read)(struct subject *subject, uint64_t offset, size_t length);
} ways[] = {{"pread", read_pread}, {"pin", read_pin}, {"pinned", read_pinned}};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Nanoseconds a read, over at least @seconds. */
static double measure(struct subject *subject, size_t way, size_t length, double seconds)
{
	double start = now(), spent;
	uint64_t reads = 0;

	do {
		for (unsigned i = 0; i < OFFSETS; i++) {
			uint64_t offset = subject->offsets[i];

			ways[way].read(subject, MIN(offset, subject->size - length), length);
			/* the bytes read are used, as far as the compiler knows */
			__asm__ volatile("" : : "r"(subject->buffer) : "memory");
		}
		reads += OFFSETS;
		spent = now() - start;
	} while (spent < seconds);
	return spent / (double)reads * 1e9;
}

static void subject_open(struct subject *subject, const char *path)
{
	struct stat info;

	subject->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (subject->fd < 0 || fstat(subject->fd, &info) < 0)
		err(1, "open '%s'", path);
	subject->size = (uint64_t)info.st_size;
	if (subject->size < 65536)
		errx(1, "'%s' is shorter than the longest read", path);
	if (guard_init() < 0 || window_cache_init(&subject->cache, WINDOW_SIZE, 0) < 0 ||
	    mapping_init(&subject->mapping, &subject->cache) < 0)
		errx(1, "no mapping cache");
	subject->source = (struct window_source){.fd = subject->fd, .size = subject->size};
	if (mapping_pin(&subject->mapping, &subject->source, 0, subject->size, &subject->whole) < 0)
		errx(1, "mapping_pin '%s'", path);
	if (subject->whole.length < subject->size)
		errx(1, "'%s' is longer than a window", path);
	subject->buffer = malloc(65536);
	if (subject->buffer == NULL)
		errx(1, "out of memory");
	srandom(1);
	for (unsigned i = 0; i < OFFSETS; i++) /* aligned to what a cache line is */
		subject->offsets[i] = (((uint64_t)random() << 31 | (uint64_t)random()) % subject->size) &
				      ~63ull;
	/* every page mapped and in memory before anything is measured */
	for (uint64_t offset = 0; offset < subject->size; offset += 4096)
		read_pinned(subject, offset, 1);
}

int main(int argc, char **argv)
{
	static const size_t lengths[] = {64, 256, 1024, 4096, 16384, 65536};
	static struct subject subject;
	double seconds;
	int rounds;

	if (argc != 4)
		errx(2, "usage: %s FILE SECONDS ROUNDS", argv[0]);
	seconds = atof(argv[2]);
	rounds = atoi(argv[3]);
	subject_open(&subject, argv[1]);
	printf("[\n");
	for (int round = 0; round < rounds; round++)
		for (size_t l = 0; l < sizeof(lengths) / sizeof(*lengths); l++)
			for (size_t way = 0; way < sizeof(ways) / sizeof(*ways); way++)
				printf("%s{\"round\": %d, \"length\": %zu, \"way\": \"%s\", \"ns\": %.2f}",
				       round + l + way == 0 ? "" : ",\n", round, lengths[l], ways[way].name,
				       measure(&subject, way, lengths[l], seconds));
	printf("\n]\n");
	window_unpin(&subject.whole);
	mapping_fini(&subject.mapping);
	window_cache_fini(&subject.cache);
	close(subject.fd);
	free(subject.buffer);
	return 0;
}
