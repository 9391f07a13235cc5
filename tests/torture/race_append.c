/* SPDX-License-Identifier: MIT */
/*
 * Appending: everybody writes through O_APPEND. Natively an append goes to where the file ends at that
 * moment, whoever else appends, so in the end the file is an interleaving of three streams, each complete
 * and in order. (The kernel hands a daemon an offset that is out of date once BACKING grew. It may also cut
 * one write of the mount in two, so how finely the streams are interleaved is not checked.)
 */
#include "race.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define APPEND_MAX (3U << 19) /* below IO_MAX, so that one buffer holds the whole file */
#define RECORD_MAX 4096U

/* Two bits for whose stream it is, never zero, and six for the place in it. */
static uint8_t stream_byte(unsigned owner, uint32_t pos)
{
	return (uint8_t)((owner + 1) << 6 | ((pos * 37 + (pos >> 6) * 5 + (pos >> 12)) & 63));
}

void append_layout(struct racer *r)
{
	char path[512];
	int fd;

	r->race->size = IO_MAX;
	for (unsigned i = 0; i < NPROC; i++)
		atomic_store(&r->race->appended[i], 0);
	atomic_store(&r->race->cur_size, 0);
	snprintf(path, sizeof(path), "%s/%s", dir_of_files(r->p->sh), r->p->sh->file[RACE_FILE].name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		fail(r->p, "create '%s': %s", path, strerror(errno));
	close(fd);
}

static void own_check(struct racer *r, const uint8_t *want, uint32_t len)
{
	uint8_t got[RECORD_MAX];
	off_t end = lseek(r->fd_append, 0, SEEK_CUR);

	note(r->p, K_READ, RACE_FILE, (uint64_t)end - len, len, 0);
	if (end < (off_t)len || pread(r->fd, got, len, end - len) != (ssize_t)len ||
	    memcmp(got, want, len) != 0)
		race_fail(r, "read of an own record", (uint32_t)end - len, len, got, 0,
			  "not what was appended");
}

void append_step(struct racer *r)
{
	struct race *race = r->race;
	uint8_t buf[RECORD_MAX];
	uint32_t top = rng_one_in(&r->rng, 8) ? RECORD_MAX : 200, len, pos;
	ssize_t n;

	if (!proc_on_mount(r->p) && !race->back_writes)
		return;
	len = 1 + (uint32_t)rng_below(&r->rng, top);
	/* keeps all three together below the limit, since each adds before it writes */
	if (atomic_fetch_add(&race->cur_size, len) + len > APPEND_MAX) {
		atomic_fetch_sub(&race->cur_size, len);
		usleep(1000);
		return;
	}
	pos = atomic_load(&race->appended[r->p->id]);
	for (uint32_t i = 0; i < len; i++)
		buf[i] = stream_byte(r->p->id, pos + i);
	struct record *rec = note(r->p, K_APPEND, RACE_FILE, pos, len, 0);
	n = write(r->fd_append, buf, len);
	rec->result = n < 0 ? -errno : (int32_t)n;
	if (n != (ssize_t)len)
		race_fail(r, "append", pos, len, NULL, 0, n < 0 ? strerror(errno) : "short count");
	atomic_store(&race->appended[r->p->id], pos + len);
	/* while BACKING appends, the mount's own idea of the offset is behind */
	if ((!proc_on_mount(r->p) || !race->back_writes) && rng_one_in(&r->rng, 4))
		own_check(r, buf, len);
}

void append_verify(struct racer *r)
{
	uint32_t next[NPROC] = {0};
	ssize_t n;

	note(r->p, K_READ, RACE_FILE, 0, IO_MAX, 0);
	n = pread(r->fd, r->p->buf, IO_MAX, 0);
	if (n < 0)
		race_fail(r, "last check", 0, IO_MAX, NULL, 0, strerror(errno));
	for (uint32_t i = 0; i < (uint32_t)n; i++) {
		unsigned owner = (r->p->buf[i] >> 6) - 1U;

		if (owner >= NPROC)
			race_fail(r, "last check", 0, (uint32_t)n, r->p->buf, i, "nobody's byte");
		if (r->p->buf[i] != stream_byte(owner, next[owner]++))
			race_fail(r, "last check", 0, (uint32_t)n, r->p->buf, i,
				  "bytes of a stream are missing or out of order");
	}
	for (unsigned i = 0; i < NPROC; i++) {
		if (next[i] != atomic_load(&r->race->appended[i]))
			race_fail(r, "last check", 0, (uint32_t)n, NULL, 0, "the end of a stream is missing");
	}
}
