/* SPDX-License-Identifier: MIT */
#include "caller.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

static bool pending(pid_t pid)
{
	uint64_t own = 0, shared = 0, blocked = 0;
	char path[32], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	while (fgets(line, sizeof(line), file) != NULL) {
		sscanf(line, "SigPnd: %" SCNx64, &own);
		sscanf(line, "ShdPnd: %" SCNx64, &shared);
		sscanf(line, "SigBlk: %" SCNx64, &blocked);
	}
	fclose(file);
	return ((own | shared) & ~blocked) != 0;
}

bool caller_signalled(pid_t pid)
{
	if (pid <= 0 || !pending(pid))
		return false;
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	return pending(pid);
}
