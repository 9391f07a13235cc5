/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into the daemon: makes the N-th msync, pwrite, fdatasync or fsync fail. Unlike a tracer it costs
 * nothing, counts each kind of call over all threads, and can be told of the next case without a new mount.
 */
#include "inject.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static struct inject *shared;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("INJECT");
	int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		abort();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (shared == MAP_FAILED)
		abort();
}

static void *next_of(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (function == NULL)
		abort();
	return function;
}

#define NEXT(name) ((__typeof__(&(name)))next_of(#name))

/* Is this the call that fails? */
static bool chosen(enum inject_kind kind)
{
	uint32_t number, count;

	shared->calls[kind]++;
	if (shared->kind != kind)
		return false;
	count = ++shared->count;
	number = shared->number;
	return number != 0 ? count == number : random() % shared->chance == 0;
}

static void fail(uint64_t inode)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

	pthread_mutex_lock(&lock);
	shared->inodes[shared->failed % INJECT_RING] = inode;
	shared->failed++;
	pthread_mutex_unlock(&lock);
	errno = (int)shared->error;
}

static bool fails(enum inject_kind kind, int fd)
{
	struct stat info = {0};

	if (!chosen(kind))
		return false;
	fstat(fd, &info);
	fail(info.st_ino);
	return true;
}

/* Of the file that is mapped there. */
static uint64_t inode_at(const void *address)
{
	unsigned long long begin, end, inode = 0;
	char *line = NULL;
	size_t size = 0;
	FILE *maps = fopen("/proc/self/maps", "re");

	while (maps != NULL && getline(&line, &size, maps) > 0) {
		if (sscanf(line, "%llx-%llx %*s %*s %*s %llu", &begin, &end, &inode) == 3 &&
		    (uintptr_t)address >= begin && (uintptr_t)address < end)
			break;
		inode = 0;
	}
	free(line);
	if (maps != NULL)
		fclose(maps);
	return inode;
}

static bool fails_at(const void *address)
{
	if (!chosen(INJECT_MSYNC))
		return false;
	fail(inode_at(address));
	return true;
}

int msync(void *address, size_t length, int flags)
{
	int result;

	shared->running++;
	if (fails_at(address))
		result = -1;
	else
		result = shared->skip_real ? 0 : NEXT(msync)(address, length, flags);
	shared->running--;
	return result;
}

static int sync_by(enum inject_kind kind, int fd, int (*call)(int fd))
{
	int result;

	shared->running++;
	if (fails(kind, fd))
		result = -1;
	else
		result = shared->skip_real ? 0 : call(fd);
	shared->running--;
	return result;
}

int fdatasync(int fd)
{
	return sync_by(INJECT_FDATASYNC, fd, NEXT(fdatasync));
}

int fsync(int fd)
{
	return sync_by(INJECT_FSYNC, fd, NEXT(fsync));
}

/* The names with 64 are those that a program built for 64-bit offsets calls. */
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
	return fails(INJECT_PWRITE, fd) ? -1 : NEXT(pwrite64)(fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
	return fails(INJECT_PWRITE, fd) ? -1 : NEXT(pwrite)(fd, data, size, offset);
}

ssize_t pwritev64v2(int fd, const struct iovec *iov, int count, off64_t offset, int flags)
{
	if (fails(INJECT_PWRITE, fd))
		return -1;
	return NEXT(pwritev64v2)(fd, iov, count, offset,
				 shared->skip_real ? flags & ~(RWF_SYNC | RWF_DSYNC) : flags);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	if (fails(INJECT_PWRITE, fd))
		return -1;
	return NEXT(pwritev2)(fd, iov, count, offset,
			      shared->skip_real ? flags & ~(RWF_SYNC | RWF_DSYNC) : flags);
}
