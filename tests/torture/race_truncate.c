/* SPDX-License-Identifier: MIT */
/*
 * Truncation: one process cuts the file down and lets it grow again and again, most often directly in
 * BACKING, while the others read it. The bytes below @keep are never cut off: a read of them is complete
 * and right, always. Above it a read gives the right bytes, zeros or a short count, and never an error.
 *
 * When the cutter paused during the whole of a read that is coherent with it, the read must be exact.
 */
#include "race.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TRUNCATE_MAX (512U << 10)

static uint8_t datum(uint32_t pos)
{
	return (uint8_t)((pos * 131 + (pos >> 8) * 17 + (pos >> 16)) | 1);
}

static void data_fill(uint8_t *buf, uint32_t off, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		buf[i] = datum(off + i);
}

void truncate_layout(struct racer *r)
{
	struct race *race = r->race;
	char path[512];
	int fd;

	race->size = TRUNCATE_MAX;
	race->keep = 1 + (uint32_t)rng_below(&r->rng, 20 * PAGE);
	race->writers = rng_one_in(&r->rng, 3);
	race->cutter = race->back_writes && rng_below(&r->rng, 3) != 0 ? BACK : 0;
	atomic_store(&race->epoch, 0);
	atomic_store(&race->cur_size, race->keep);
	atomic_store(&race->data_end, race->keep);
	snprintf(path, sizeof(path), "%s/%s", dir_of_files(r->p->sh), r->p->sh->file[RACE_FILE].name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		fail(r->p, "create '%s': %s", path, strerror(errno));
	data_fill(r->p->buf, 0, race->keep);
	if (pwrite(fd, r->p->buf, race->keep, 0) != (ssize_t)race->keep)
		fail(r->p, "fill '%s': %s", path, strerror(errno));
	close(fd);
}

static void cut(struct racer *r)
{
	struct race *race = r->race;
	uint32_t size = atomic_load(&race->cur_size), data = atomic_load(&race->data_end);
	uint64_t roll = rng_below(&r->rng, 3);
	int err = 0;

	atomic_fetch_add(&race->epoch, 1);
	if (roll < 2) {
		uint32_t low = roll == 0 ? race->keep : size, high = roll == 0 ? size : TRUNCATE_MAX;

		size = low + (uint32_t)rng_below(&r->rng, high - low + 1);
		struct record *rec = note(r->p, K_TRUNCATE, RACE_FILE, size, 0, 0);
		err = rec->result = ftruncate(r->fd, size) ? -errno : 0;
		data = data < size ? data : size;
	} else if (data < TRUNCATE_MAX) {
		uint32_t len = 1 + (uint32_t)rng_below(&r->rng, TRUNCATE_MAX - data);

		len = len < 65536 ? len : 65536;
		data_fill(r->p->buf, data, len);
		struct record *rec = note(r->p, K_WRITE, RACE_FILE, data, len, 0);
		ssize_t n = pwrite(r->fd, r->p->buf, len, data);
		rec->result = n < 0 ? -errno : (int32_t)n;
		err = n < 0 ? -errno : n != (ssize_t)len ? -EIO : 0;
		data += len;
		size = size > data ? size : data;
	}
	if (err != 0)
		race_fail(r, "truncate or write", size, 0, NULL, 0, strerror(-err));
	atomic_store(&race->cur_size, size);
	atomic_store(&race->data_end, data);
	atomic_fetch_add(&race->epoch, 1);
}

/* Does this process see what the cutter did as soon as the cutter's call returned? */
static bool coherent(const struct racer *r)
{
	const struct race *race = r->race;

	return !proc_on_mount(r->p) || !id_behind(r->p->sh, race->cutter) ||
	       r->p->sh->opt.cache == CACHE_NONE;
}

/* @want: bytes that must be there, or -1 when the count may be anything from the kept part on */
static void read_check(struct racer *r, const char *what, uint32_t off, uint32_t len, ssize_t n, int64_t want)
{
	const struct race *race = r->race;
	uint32_t data = atomic_load(&race->data_end);
	uint32_t least = off >= race->keep ? 0 : race->keep - off < len ? race->keep - off : len;

	if (n < 0)
		race_fail(r, what, off, len, NULL, 0, strerror(errno));
	if (n < (ssize_t)least)
		race_fail(r, what, off, len, NULL, 0, "short of bytes that are never cut off");
	if (want >= 0 && n != want)
		race_fail(r, what, off, len, NULL, (uint32_t)n, "wrong count while nobody truncated");
	for (uint32_t i = 0; i < (uint32_t)n; i++) {
		uint8_t byte = r->p->buf[i];

		if (byte == datum(off + i) && (want < 0 || off + i < data))
			continue;
		if (byte == 0 && off + i >= race->keep && (want < 0 || off + i >= data))
			continue;
		race_fail(r, what, off, len, r->p->buf, i,
			  byte == 0			 ? "zero instead of data"
			  : want >= 0 && off + i >= data ? "data instead of zero"
							 : "invented data");
	}
}

static void reader_step(struct racer *r)
{
	struct race *race = r->race;
	uint32_t len = 1 + (uint32_t)rng_below(&r->rng, rng_one_in(&r->rng, 8) ? 131072 : 8192);
	uint32_t size = atomic_load(&race->cur_size), epoch = atomic_load(&race->epoch), want_end, data_end;
	uint32_t off = (uint32_t)rng_below(&r->rng, size + PAGE);
	ssize_t n;

	if (rng_one_in(&r->rng, 4)) /* across the current end, where the race is */
		off = size > len / 2 ? size - len / 2 : 0;
	if (r->map != NULL && rng_one_in(&r->rng, 2)) {
		if (off >= TRUNCATE_MAX)
			off = TRUNCATE_MAX - 1;
		len = len < TRUNCATE_MAX - off ? len : TRUNCATE_MAX - off;
		note(r->p, K_MREAD, RACE_FILE, off, len, 0);
		/* natively too a page past the end raises SIGBUS, but none that holds a kept byte */
		if (guarded_copy(r->p->buf, r->map + off, len))
			read_check(r, "mapped read", off, len, len, -1);
		else if (off + len <= race->keep)
			race_fail(r, "mapped read", off, len, NULL, 0, "SIGBUS");
		return;
	}
	struct record *rec = note(r->p, K_READ, RACE_FILE, off, len, epoch);
	n = pread(r->fd, r->p->buf, len, off);
	rec->result = n < 0 ? -errno : (int32_t)n;
	want_end = atomic_load(&race->cur_size);
	data_end = atomic_load(&race->data_end);
	if (coherent(r) && !race->writers && epoch % 2 == 0 && atomic_load(&race->epoch) == epoch) {
		/* the numbers are those of the pause; the cutter may go on while they are compared */
		int64_t want = off >= want_end ? 0 : want_end - off < len ? want_end - off : len;
		uint32_t i = 0;

		read_check(r, "read", off, len, n, -1);
		if (n != want)
			race_fail(r, "read", off, len, NULL, n < 0 ? 0 : (uint32_t)n,
				  "wrong count while nobody truncated");
		while (i < (uint32_t)n && (r->p->buf[i] != 0) == (off + i < data_end))
			i++;
		if (i < (uint32_t)n)
			race_fail(r, "read", off, len, r->p->buf, i,
				  r->p->buf[i] ? "data instead of zeros while nobody truncated"
					       : "zeros instead of data while nobody truncated");
	} else {
		read_check(r, "read", off, len, n, -1);
	}
}

/* Writes race the cutter too: they must succeed whole. Stores may meet the end of the file. */
static void writer_step(struct racer *r)
{
	struct race *race = r->race;
	uint32_t first = (race->keep + (uint32_t)PAGE - 1) & ~(uint32_t)(PAGE - 1);
	uint32_t off = first + (uint32_t)rng_below(&r->rng, TRUNCATE_MAX - first);
	uint32_t len = 1 + (uint32_t)rng_below(&r->rng, 8192);

	len = len < TRUNCATE_MAX - off ? len : TRUNCATE_MAX - off;
	data_fill(r->p->buf, off, len);
	if (r->map != NULL && rng_one_in(&r->rng, 2)) {
		note(r->p, K_MWRITE, RACE_FILE, off, len, 0);
		guarded_copy(r->map + off, r->p->buf, len);
		return;
	}
	struct record *rec = note(r->p, K_WRITE, RACE_FILE, off, len, 0);
	ssize_t n = pwrite(r->fd, r->p->buf, len, off);
	rec->result = n < 0 ? -errno : (int32_t)n;
	if (n != (ssize_t)len)
		race_fail(r, "write", off, len, NULL, 0, n < 0 ? strerror(errno) : "short count");
}

void truncate_step(struct racer *r)
{
	struct race *race = r->race;

	if (rng_one_in(&r->rng, 512))
		racer_remap(r);
	if (race->cutter == r->p->id && rng_one_in(&r->rng, 2))
		cut(r);
	else if (race->writers && rng_one_in(&r->rng, 4) && (proc_on_mount(r->p) || race->back_writes))
		writer_step(r);
	else
		reader_step(r);
}

void truncate_verify(struct racer *r)
{
	struct race *race = r->race;
	uint32_t size = atomic_load(&race->cur_size);
	ssize_t n;

	note(r->p, K_READ, RACE_FILE, 0, IO_MAX, 0);
	n = pread(r->fd, r->p->buf, IO_MAX, 0);
	read_check(r, "last check", 0, IO_MAX, n, race->writers ? -1 : (int64_t)size);
}
