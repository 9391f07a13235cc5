/* SPDX-License-Identifier: MIT */
#include "threads.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util.h"

static bool is_runnable(pid_t id)
{
	char path[48], line[128], state = '\0';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)id);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	/* The name may have any byte in it. */
	if (fgets(line, sizeof(line), file) != NULL && strrchr(line, ')') != NULL)
		sscanf(strrchr(line, ')'), ") %c", &state);
	fclose(file);
	return state == 'R';
}

size_t threads_runnable(pid_t *ret_ids, size_t size)
{
	DIR *directory = opendir("/proc/self/task");
	const struct dirent *entry;
	size_t count = 0;

	if (directory == NULL)
		return 0;
	while (count < size && (entry = readdir(directory)) != NULL) {
		pid_t id = (pid_t)strtol(entry->d_name, NULL, 10);

		if (id != 0 && id != gettid() && is_runnable(id))
			ret_ids[count++] = id;
	}
	closedir(directory);
	return count;
}

size_t threads_still_runnable(pid_t *ids, size_t count)
{
	size_t left = 0;

	for (size_t i = 0; i < count; i++) {
		if (is_runnable(ids[i]))
			ids[left++] = ids[i];
	}
	return left;
}
