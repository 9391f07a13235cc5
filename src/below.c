/* SPDX-License-Identifier: MIT */
#include "below.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

int open_below(int root, const char *path, int flags, uint64_t resolve)
{
	struct open_how how = {
		.flags = (uint64_t)flags,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | resolve,
	};
	int fd = (int)syscall(SYS_openat2, root, *path == '\0' ? "." : path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}
