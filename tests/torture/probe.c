/* SPDX-License-Identifier: MIT */
/*
 * What a directory's file system supports, found out by trying. An operation that one side lacks is not
 * run there; an operation that it has must work every time.
 */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static bool probe_fallocate(int fd, int mode, off_t off)
{
	return fallocate(fd, mode, off, PAGE) == 0;
}

static void probe_direct(struct side *side, const char *path)
{
	void *buf;
	int fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd < 0)
		return;
	if (posix_memalign(&buf, PAGE, 2 * PAGE) == 0) {
		memset(buf, 1, 2 * PAGE);
		side->direct = pwrite(fd, buf, PAGE, 0) == (ssize_t)PAGE &&
			       pread(fd, buf, PAGE, 0) == (ssize_t)PAGE;
		side->direct_any = side->direct && pwrite(fd, (char *)buf + 1, 77, 13) == 77 &&
				   pread(fd, (char *)buf + 3, 50, 17) == 50;
		free(buf);
	}
	close(fd);
}

static bool probe_copy(int fd, const char *dir)
{
	char path[512];
	off_t from = 0, to = 100;
	bool ok = false;
	int other;

	snprintf(path, sizeof(path), "%s/torture.probe2.%ld", dir, (long)getpid());
	other = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (other >= 0) {
		ok = copy_file_range(fd, &from, other, &to, 50, 0) == 50;
		close(other);
		unlink(path);
	}
	return ok;
}

int side_probe(struct side *side)
{
	char path[512];
	void *map;
	int fd, err;

	snprintf(path, sizeof(path), "%s/torture.probe.%ld", side->dir, (long)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, 16 * PAGE) != 0) {
		err = errno;
		fprintf(stderr, "torture: create '%s': %s\n", path, strerror(err));
		if (fd >= 0)
			close(fd);
		return -err;
	}
	probe_direct(side, path);
	side->fallocate = probe_fallocate(fd, 0, 0);
	side->keep_size = probe_fallocate(fd, FALLOC_FL_KEEP_SIZE, 0);
	side->punch = probe_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0);
	side->zero = probe_fallocate(fd, FALLOC_FL_ZERO_RANGE, 0);
	side->collapse = probe_fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0);
	side->insert = probe_fallocate(fd, FALLOC_FL_INSERT_RANGE, 0);
	side->seek = lseek(fd, 0, SEEK_HOLE) >= 0;
	side->copy = probe_copy(fd, side->dir);
	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	side->mmap_write = map != MAP_FAILED;
	if (map != MAP_FAILED)
		munmap(map, PAGE);
	close(fd);
	unlink(path);
	return 0;
}
