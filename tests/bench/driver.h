/* SPDX-License-Identifier: MIT */
#ifndef BENCH_DRIVER_H
#define BENCH_DRIVER_H

/*
 * What the operations of the benchmark's driver share: their words, a clock around the measured part, and
 * one line of JSON at the end. An operation that meets an error or a short count ends the program: a figure
 * taken from work that failed is worse than none.
 */

#include <stddef.h>
#include <stdint.h>

#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define MIN(a, b) ((a) < (b) ? (a) : (b))

struct words {
	const char *path; /* file or directory worked on */
	uint64_t size;	  /* bytes of the file */
	size_t block;	  /* bytes a request */
	uint64_t count;	  /* requests, files, ... */
	uint64_t each;	  /* fsync or msync after so many; 0 for never */
	unsigned threads;
	unsigned seed;
	int direct;	/* O_DIRECT */
	int dsync;	/* O_DSYNC */
	int sequential; /* in order; else every block once, in random order, then again */
	int create;	/* a new file; else the one that is there */
};

/** clock_start() - the measured part begins */
void clock_start(void);

/** clock_stop() - it has ended; what follows is not counted */
void clock_stop(void);

/** result_add() - count work done; after the threads have been joined */
void result_add(uint64_t operations, uint64_t bytes);

/** order_new() - @count block numbers below @blocks, each once before any comes again; free() it */
uint32_t *order_new(const struct words *words, uint64_t blocks, uint64_t count, unsigned seed);

/** data_new() - @length bytes that do not compress, aligned for O_DIRECT; free() it */
unsigned char *data_new(size_t length, unsigned seed);

/** open_file() - open(2) or end the program */
int open_file(const char *path, int flags);

/* One per operation; each measures itself. */
void run_read(const struct words *words);
void run_write(const struct words *words);
void run_append(const struct words *words);
void run_map_read(const struct words *words);
void run_map_write(const struct words *words);
void run_map_sync(const struct words *words);
void run_make_tree(const struct words *words);
void run_stat(const struct words *words);
void run_small_read(const struct words *words);
void run_create_unlink(const struct words *words);
void run_ping(const struct words *words);

#endif
