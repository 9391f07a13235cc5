/* SPDX-License-Identifier: MIT */
#include "threads.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool read_line(pid_t id, const char *name, char line[128])
{
	char path[48];
	FILE *file;
	bool is_there;

	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", (int)id, name);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	is_there = fgets(line, 128, file) != NULL;
	fclose(file);
	return is_there;
}

static bool is_runnable(pid_t id)
{
	char line[128], state = '\0';

	/* The name may have any byte in it. */
	return read_line(id, "stat", line) && strrchr(line, ')') != NULL &&
	       sscanf(strrchr(line, ')'), ") %c", &state) == 1 && state == 'R';
}

static bool has_run(pid_t id, uint64_t *ret_ns)
{
	char line[128];

	return read_line(id, "schedstat", line) && sscanf(line, "%" SCNu64, ret_ns) == 1;
}

size_t threads_runnable(struct thread_look *ret_looks, size_t size)
{
	DIR *directory = opendir("/proc/self/task");
	const struct dirent *entry;
	size_t count = 0;

	if (directory == NULL)
		return 0;
	while (count < size && (entry = readdir(directory)) != NULL) {
		struct thread_look look = {.id = (pid_t)strtol(entry->d_name, NULL, 10)};

		if (look.id != 0 && look.id != gettid() && is_runnable(look.id) &&
		    has_run(look.id, &look.ran_ns))
			ret_looks[count++] = look;
	}
	closedir(directory);
	return count;
}

size_t threads_starved(struct thread_look *looks, size_t count)
{
	size_t left = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t ran_ns;

		if (is_runnable(looks[i].id) && has_run(looks[i].id, &ran_ns) && ran_ns == looks[i].ran_ns)
			looks[left++] = looks[i];
	}
	return left;
}
