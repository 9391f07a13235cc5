/* SPDX-License-Identifier: MIT */
/* Many small files: a tree of directories with a hundred files each. And the bare question, statfs(2). */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "driver.h"

#define FILES_A_DIRECTORY 100

static void name_of(char *name, size_t length, const struct words *words, uint64_t number)
{
	snprintf(name, length, "%s/d%03" PRIu64 "/file%02" PRIu64, words->path, number / FILES_A_DIRECTORY,
		 number % FILES_A_DIRECTORY);
}

void run_make_tree(const struct words *words)
{
	unsigned char *data = data_new(words->block, words->seed);
	char name[PATH_MAX];

	if (mkdir(words->path, 0755) < 0 && errno != EEXIST)
		err(1, "mkdir '%s'", words->path);
	clock_start();
	for (uint64_t i = 0; i < words->count; i++) {
		int fd;

		if (i % FILES_A_DIRECTORY == 0) {
			snprintf(name, sizeof(name), "%s/d%03" PRIu64, words->path, i / FILES_A_DIRECTORY);
			if (mkdir(name, 0755) < 0)
				err(1, "mkdir '%s'", name);
		}
		name_of(name, sizeof(name), words, i);
		fd = open_file(name, O_WRONLY | O_CREAT | O_EXCL);
		if (write(fd, data, words->block) != (ssize_t)words->block)
			err(1, "write '%s'", name);
		close(fd);
	}
	clock_stop();
	result_add(words->count, words->count * words->block);
	free(data);
}

void run_stat(const struct words *words)
{
	struct stat info;
	char name[PATH_MAX];

	clock_start();
	for (uint64_t i = 0; i < words->count; i++) {
		name_of(name, sizeof(name), words, i);
		if (stat(name, &info) < 0)
			err(1, "stat '%s'", name);
	}
	clock_stop();
	result_add(words->count, 0);
}

void run_small_read(const struct words *words)
{
	unsigned char *buffer = data_new(words->block + 1, 0);
	char name[PATH_MAX];

	clock_start();
	for (uint64_t i = 0; i < words->count; i++) {
		ssize_t got;
		int fd;

		name_of(name, sizeof(name), words, i);
		fd = open_file(name, O_RDONLY);
		/* one byte more than there is: the end of the file is found by the same call */
		got = read(fd, buffer, words->block + 1);
		if (got != (ssize_t)words->block)
			err(1, "read '%s': %zd bytes of %zu", name, got, words->block);
		close(fd);
	}
	clock_stop();
	result_add(words->count, words->count * words->block);
	free(buffer);
}

void run_create_unlink(const struct words *words)
{
	char name[PATH_MAX];

	clock_start();
	for (uint64_t i = 0; i < words->count; i++) {
		snprintf(name, sizeof(name), "%s/new%05" PRIu64, words->path, i);
		if (close(open_file(name, O_WRONLY | O_CREAT | O_EXCL)) < 0)
			err(1, "close '%s'", name);
		if (unlink(name) < 0)
			err(1, "unlink '%s'", name);
	}
	clock_stop();
	result_add(words->count, 0);
}

/* The kernel keeps no answer to statfs(2): each one is a message to the daemon and back. */
void run_ping(const struct words *words)
{
	struct statfs info;

	clock_start();
	for (uint64_t i = 0; i < words->count; i++)
		if (statfs(words->path, &info) < 0)
			err(1, "statfs '%s'", words->path);
	clock_stop();
	result_add(words->count, 0);
}
