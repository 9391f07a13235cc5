/* SPDX-License-Identifier: MIT */
/*
 * Serial mode: the process that has the turn does a burst of operations on one file, decides who goes
 * next on which file, brings that one's view in order as a real program would have to, and passes the
 * turn. All decisions come from one generator, so that a seed repeats a run exactly.
 */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void futex_wait(_Atomic uint32_t *word, uint32_t value, unsigned ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	syscall(SYS_futex, word, FUTEX_WAIT, value, &ts, NULL, 0);
}

void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, NPROC, NULL, NULL, 0);
}

struct weight {
	uint16_t share;
	uint8_t kind;
};

/* Shares of 1000; a mapped batch is some eight operations. */
static const struct weight weights[] = {
	{300, K_READ},	  {50, K_READV},     {190, K_WRITE}, {55, K_WRITEV}, {170, K_MREAD},
	{25, K_TRUNCATE}, {12, K_FALLOCATE}, {25, K_PUNCH},  {15, K_ZERO},   {6, K_COLLAPSE},
	{6, K_INSERT},	  {30, K_SEEK},	     {20, K_COPY},   {66, K_SIZE},   {20, K_OPEN},
	{5, K_MSYNC},	  {2, K_FLUSH},	     {1, K_FSYNC},   {2, K_COUNT},
};

static enum kind pick_kind(struct rng *r)
{
	uint64_t roll = rng_below(r, 1000);
	size_t i = 0;

	while (i + 1 < sizeof(weights) / sizeof(weights[0]) && roll >= weights[i].share)
		roll -= weights[i++].share;
	return weights[i].kind;
}

static bool kind_changes(enum kind kind)
{
	switch (kind) {
	case K_WRITE:
	case K_WRITEV:
	case K_TRUNCATE:
	case K_FALLOCATE:
	case K_PUNCH:
	case K_ZERO:
	case K_COLLAPSE:
	case K_INSERT:
	case K_COPY:
		return true;
	default:
		return false;
	}
}

static void step(struct proc *p, unsigned f)
{
	enum kind kind = pick_kind(p->rng);

	if (!proc_on_mount(p) && p->sh->opt.cache == CACHE_ALWAYS && kind_changes(kind))
		kind = K_READ;
	if (kind != K_COUNT && skipped(p, kind))
		kind = K_READ;
	switch (kind) {
	case K_READ:
	case K_READV:
		op_read(p, f, kind == K_READV);
		break;
	case K_WRITE:
	case K_WRITEV:
		op_write(p, f, kind == K_WRITEV);
		break;
	case K_MREAD:
		op_map_batch(p, f);
		break;
	case K_TRUNCATE:
		op_truncate(p, f);
		break;
	case K_SEEK:
		op_seek(p, f);
		break;
	case K_COPY:
		op_copy(p, f);
		break;
	case K_SIZE:
		op_size(p, f);
		break;
	case K_OPEN:
		slot_open(p, f, false, false);
		break;
	case K_MSYNC:
		op_msync(p, f);
		break;
	case K_FLUSH:
		if (proc_on_mount(p)) {
			slot_flush(p, f);
			slot_ready(p, f);
		}
		break;
	case K_FSYNC:
		op_fsync(p, f);
		break;
	case K_COUNT:
		op_verify(p, f);
		break;
	default:
		op_fallocate(p, f, kind);
	}
}

/* One byte wrong in BACKING behind the model's back: the run must end with a mismatch. */
static void sabotage(struct proc *p)
{
	for (unsigned f = 0; f < p->sh->opt.files; f++) {
		struct model *m = &p->sh->file[f];
		char path[512];
		uint64_t off;
		uint8_t byte;
		int fd;

		if (m->size == 0 || m->mount_dirty)
			continue;
		off = rng_below(p->rng, m->size);
		byte = m->data[off] ^ 0x55;
		snprintf(path, sizeof(path), "%s/%s", p->sh->opt.side[1].dir, m->name);
		note(p, K_SABOTAGE, f, off, 1, byte);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || pwrite(fd, &byte, 1, (off_t)(m->base + off)) != 1)
			fail(p, "sabotage of '%s': %s", path, strerror(errno));
		close(fd);
		m->gen++;
		/* the byte may be overwritten before anybody reads it, so this goes on until it is noticed */
		p->sh->sabotage_at = p->sh->ops + 500;
		return;
	}
}

/*
 * A store to a page of BACKING that is dirty already moves no mtime, and on tmpfs none ever does. Nobody
 * could tell that such a file changed before its writer unmaps it, so the writer says so.
 */
static void announce(struct proc *p)
{
	for (unsigned f = 0; f < p->sh->opt.files; f++) {
		struct model *m = &p->sh->file[f];
		char path[512];

		if (!m->back_silent)
			continue;
		m->back_silent = false;
		if (p->sh->opt.cache != CACHE_AUTO)
			continue;
		note(p, K_TOUCH, f, 0, 0, 0);
		if (utimensat(AT_FDCWD, proc_path(p, m->name, path, sizeof(path)), NULL, 0) != 0)
			fail(p, "touch '%s': %s", path, strerror(errno));
	}
}

static unsigned hand_over(struct proc *p)
{
	struct shared *sh = p->sh;
	unsigned next = (unsigned)rng_below(p->rng, 16);

	next = next < 7 ? 0 : next < 13 ? 1 : BACK;
	sh->next_file = (unsigned)rng_below(p->rng, sh->opt.files);
	if (!proc_on_mount(p))
		announce(p);
	if (id_behind(sh, next) && sh->file[sh->next_file].mount_dirty) {
		if (proc_on_mount(p))
			slot_flush(p, sh->next_file);
		else
			next = 0;
	}
	return next;
}

static void burst(struct proc *p)
{
	struct shared *sh = p->sh;
	unsigned f = sh->next_file, n = 1 + (unsigned)rng_below(p->rng, 64);

	if (sh->ops >= sh->sabotage_at)
		sabotage(p);
	slot_ready(p, f);
	for (unsigned i = 0; i < n; i++) {
		step(p, f);
		if (p->slot[f].fd < 0)
			slot_open(p, f, false, false);
	}
	sh->ops = counts_checked(sh);
	atomic_fetch_add_explicit(&sh->beat, 1, memory_order_relaxed);
}

static bool used_up(const struct shared *sh)
{
	return (sh->opt.ops != 0 && sh->ops >= sh->opt.ops) || (sh->deadline != 0 && now() >= sh->deadline);
}

static bool turn_await(struct proc *p)
{
	struct shared *sh = p->sh;

	for (;;) {
		uint32_t turn = atomic_load(&sh->turn);

		if (turn == p->id)
			return true;
		if (atomic_load(&sh->failed))
			return false;
		futex_wait(&sh->turn, turn, 200);
	}
}

static void turn_pass(struct shared *sh, unsigned next)
{
	atomic_store(&sh->turn, next);
	futex_wake(&sh->turn);
}

/* Every process in turn reads every file whole; the mount goes first and flushes for BACKING. */
static void final_check(struct proc *p)
{
	for (unsigned f = 0; f < p->sh->opt.files; f++) {
		slot_ready(p, f);
		op_verify(p, f);
		op_size(p, f);
		slot_unmap(p, f);
		slot_close(p, f);
		if (proc_on_mount(p))
			p->sh->file[f].mount_dirty = false;
	}
}

void serial_run(struct proc *p)
{
	struct shared *sh = p->sh;

	while (turn_await(p)) {
		if (atomic_load(&sh->stop)) {
			final_check(p);
			turn_pass(sh, p->id + 1);
			return;
		}
		burst(p);
		if (used_up(sh)) {
			announce(p);
			atomic_store(&sh->stop, 1);
			if (p->id != 0)
				turn_pass(sh, 0);
			continue;
		}
		unsigned next = hand_over(p);
		if (next != p->id)
			turn_pass(sh, next);
	}
}
