/* SPDX-License-Identifier: MIT */
/*
 * The benchmark's load where an interpreter would hide what is measured: one operation on one path, timed
 * from inside, told as JSON.
 *
 *	bench_driver OPERATION path=PATH [size=BYTES] [block=BYTES] [count=N] [each=N] [threads=N]
 *		[seed=N] [direct=1] [dsync=1] [sequential=1] [create=1]
 */
#include "driver.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct {
	const char *name;
	void (*run)(const struct words *words);
} operations[] = {
	{"read", run_read},
	{"write", run_write},
	{"append", run_append},
	{"map-read", run_map_read},
	{"map-write", run_map_write},
	{"map-sync", run_map_sync},
	{"make-tree", run_make_tree},
	{"stat", run_stat},
	{"small-read", run_small_read},
	{"create-unlink", run_create_unlink},
	{"ping", run_ping},
};

static struct timespec started;
static double seconds;
static uint64_t all_operations, all_bytes;

void clock_start(void)
{
	clock_gettime(CLOCK_MONOTONIC, &started);
}

void clock_stop(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	seconds += (double)(now.tv_sec - started.tv_sec) + (double)(now.tv_nsec - started.tv_nsec) / 1e9;
}

void result_add(uint64_t operations_done, uint64_t bytes)
{
	all_operations += operations_done;
	all_bytes += bytes;
}

int open_file(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		err(1, "open '%s'", path);
	return fd;
}

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

unsigned char *data_new(size_t length, unsigned seed)
{
	uint64_t state = UINT64_C(0x9e3779b97f4a7c15) + seed;
	unsigned char *data = NULL;

	if (posix_memalign((void **)&data, 4096, (length + 4095) / 4096 * 4096) != 0)
		errx(1, "out of memory");
	for (size_t i = 0; i < length; i += sizeof(state)) {
		random_next(&state);
		memcpy(data + i, &state, length - i < sizeof(state) ? length - i : sizeof(state));
	}
	return data;
}

uint32_t *order_new(const struct words *words, uint64_t blocks, uint64_t count, unsigned seed)
{
	uint64_t state = UINT64_C(0x9e3779b97f4a7c15) + seed;
	uint32_t *order = malloc(MAX(count, blocks) * sizeof(*order));

	if (order == NULL || blocks == 0 || blocks > UINT32_MAX)
		errx(1, "no order for %" PRIu64 " blocks", blocks);
	for (uint64_t i = 0; i < blocks; i++)
		order[i] = (uint32_t)i;
	for (uint64_t i = blocks - 1; i > 0 && !words->sequential; i--) {
		uint64_t other = random_next(&state) % (i + 1);
		uint32_t swapped = order[i];

		order[i] = order[other];
		order[other] = swapped;
	}
	for (uint64_t i = blocks; i < count; i++)
		order[i] = order[i - blocks];
	return order;
}

static void word_set(struct words *words, const char *name, const char *value)
{
	char *end;
	uint64_t number;

	if (strcmp(name, "path") == 0) {
		words->path = value;
		return;
	}
	errno = 0;
	number = strtoull(value, &end, 10);
	if (errno != 0 || *end != '\0' || end == value)
		errx(2, "%s=%s is not a number", name, value);
	if (strcmp(name, "size") == 0)
		words->size = number;
	else if (strcmp(name, "block") == 0)
		words->block = number;
	else if (strcmp(name, "count") == 0)
		words->count = number;
	else if (strcmp(name, "each") == 0)
		words->each = number;
	else if (strcmp(name, "threads") == 0)
		words->threads = (unsigned)number;
	else if (strcmp(name, "seed") == 0)
		words->seed = (unsigned)number;
	else if (strcmp(name, "direct") == 0)
		words->direct = number != 0;
	else if (strcmp(name, "dsync") == 0)
		words->dsync = number != 0;
	else if (strcmp(name, "sequential") == 0)
		words->sequential = number != 0;
	else if (strcmp(name, "create") == 0)
		words->create = number != 0;
	else
		errx(2, "unknown word '%s'", name);
}

int main(int argc, char **argv)
{
	struct words words = {.block = 4096, .threads = 1, .seed = 1};

	for (int i = 2; i < argc; i++) {
		char *value = strchr(argv[i], '=');

		if (value == NULL)
			errx(2, "'%s' is not WORD=VALUE", argv[i]);
		*value++ = '\0';
		word_set(&words, argv[i], value);
	}
	if (argc < 2 || words.path == NULL || words.block == 0 || words.threads == 0)
		errx(2, "usage: %s OPERATION path=PATH [WORD=VALUE]...", argv[0]);
	for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++) {
		if (strcmp(operations[i].name, argv[1]) != 0)
			continue;
		operations[i].run(&words);
		printf("{\"operations\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"seconds\": %.9f}\n",
		       all_operations, all_bytes, seconds);
		return 0;
	}
	errx(2, "unknown operation '%s'", argv[1]);
}
