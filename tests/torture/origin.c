/* SPDX-License-Identifier: MIT */
/*
 * Files for a mount that must not change what is behind it: made there with content that is known, changed on
 * the mount by everybody, and compared with that content at the end.
 */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The content of file @f: a part of the pool, of odd length. */
static const uint8_t *content(const struct shared *sh, unsigned f, size_t *ret_length)
{
	struct rng r;

	rng_seed(&r, sh->opt.seed, 50 + f);
	*ret_length = (size_t)rng_below(&r, ORIGIN_PAGES * PAGE);
	if (*ret_length > sh->file[f].max)
		*ret_length = sh->file[f].max;
	return sh->pool + f * ORIGIN_PAGES * PAGE;
}

void origin_fill(struct shared *sh, unsigned f, int fd)
{
	struct model *m = &sh->file[f];
	size_t length;
	const uint8_t *data = content(sh, f, &length);

	if (pwrite(fd, data, length, (off_t)m->base) != (ssize_t)length) {
		fprintf(stderr, "torture: fill '%s': %s\n", m->name, strerror(errno));
		exit(2);
	}
	model_write(m, 0, data, length);
}

static int check_one(const struct shared *sh, unsigned f, const char *path)
{
	const struct model *m = &sh->file[f];
	size_t length;
	const uint8_t *data = content(sh, f, &length);
	uint8_t *got = calloc(1, length + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC), bad = 0;

	if (fd < 0 || lseek(fd, 0, SEEK_END) != (off_t)(m->base + length) ||
	    pread(fd, got, length, (off_t)m->base) != (ssize_t)length || memcmp(got, data, length) != 0) {
		fprintf(stderr, "torture: '%s' is not what it was\n", path);
		bad = 1;
	}
	if (fd >= 0)
		close(fd);
	free(got);
	return bad;
}

int origin_check(struct shared *sh)
{
	int bad = 0;

	for (unsigned f = 0; f < sh->opt.files; f++) {
		char path[512];

		snprintf(path, sizeof(path), "%s/%s", sh->opt.origin, sh->file[f].name);
		bad |= check_one(sh, f, path);
		unlink(path);
	}
	return bad;
}
