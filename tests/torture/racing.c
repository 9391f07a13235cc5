/* SPDX-License-Identifier: MIT */
/*
 * Racing mode: rounds of all three processes at once on one file. This file holds the frame of a round;
 * race_stripes.c, race_truncate.c and race_append.c say what happens in it.
 *
 * A round: process 0 lays out and fills a new file in BACKING; all open it; all work until the time is up;
 * all flush and close; all open it again and check everything. A barrier stands between any two of these.
 */
#include "race.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct round rounds[] = {
	{"stripes", 10, stripes_layout, stripes_step, stripes_verify},
	{"truncate", 4, truncate_layout, truncate_step, truncate_verify},
	{"append", 2, append_layout, append_step, append_verify},
};

static sigjmp_buf bus_jump;
static volatile sig_atomic_t bus_guarded;

static void bus_caught(int sig)
{
	if (bus_guarded)
		siglongjmp(bus_jump, 1);
	signal(sig, SIG_DFL);
	raise(sig);
}

bool guarded_copy(void *to, const void *from, size_t len)
{
	if (sigsetjmp(bus_jump, 1) != 0) {
		bus_guarded = 0;
		return false;
	}
	bus_guarded = 1;
	memcpy(to, from, len);
	/* the copy must not move past the guard's end */
	atomic_signal_fence(memory_order_seq_cst);
	bus_guarded = 0;
	return true;
}

_Noreturn void race_fail(struct racer *r, const char *what, uint32_t off, uint32_t len, const uint8_t *got,
			 uint32_t bad, const char *why)
{
	const struct race *race = r->race;
	char hex[3 * 32 + 1] = "";

	for (uint32_t i = 0; got != NULL && i < 32 && bad + i < len; i++)
		snprintf(hex + (size_t)3 * i, 4, " %02x", got[bad + i]);
	fail(r->p,
	     "racing %s at 0x%x+0x%x, byte 0x%x: %s; round: %s, cutter %u, back writes %d, writers %d\n  "
	     "read %s",
	     what, off, len, off + bad, why, rounds[race->round].name, race->cutter, race->back_writes,
	     race->writers, hex);
}

static void barrier(struct proc *p)
{
	struct race *race = p->sh->race;
	uint32_t phase = atomic_load(&race->phase);

	if (atomic_fetch_add(&race->arrived, 1) + 1 == NPROC) {
		atomic_store(&race->arrived, 0);
		atomic_store(&race->phase, phase + 1);
		futex_wake(&race->phase);
	}
	while (atomic_load(&race->phase) == phase) {
		if (atomic_load(&p->sh->failed))
			_exit(1);
		futex_wait(&race->phase, phase, 200);
	}
}

void racer_remap(struct racer *r)
{
	if (r->map != NULL && munmap(r->map, r->race->size) != 0)
		fail(r->p, "munmap: %s", strerror(errno));
	r->map = NULL;
	if (!r->p->side->mmap_write)
		return;
	note(r->p, K_MAP, RACE_FILE, 0, r->race->size, 0);
	void *map = mmap(NULL, r->race->size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	if (map == MAP_FAILED)
		fail(r->p, "mmap of '%s': %s", r->path, strerror(errno));
	r->map = map;
}

void racer_open(struct racer *r)
{
	int flags = O_RDWR | O_CLOEXEC | (rng_one_in(&r->rng, 32) ? O_DSYNC : 0);

	note(r->p, K_OPEN, RACE_FILE, 0, 0, (uint64_t)flags);
	r->fd = open(r->path, flags);
	if (r->fd < 0)
		fail(r->p, "open '%s': %s", r->path, strerror(errno));
	r->fd_append = open(r->path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (r->fd_append < 0)
		fail(r->p, "open '%s' to append: %s", r->path, strerror(errno));
	r->fd_direct = -1;
	if (r->p->side->direct) {
		r->fd_direct = open(r->path, O_RDONLY | O_DIRECT | O_CLOEXEC);
		if (r->fd_direct < 0)
			fail(r->p, "open '%s' with O_DIRECT: %s", r->path, strerror(errno));
	}
	if (proc_on_mount(r->p) && r->p->sh->opt.handover_stat) {
		struct statx stx;

		if (statx(r->fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &stx) != 0)
			fail(r->p, "statx '%s': %s", r->path, strerror(errno));
	}
}

/* Close brings everything that was stored through mappings to BACKING. */
void racer_close(struct racer *r)
{
	if (r->map != NULL && munmap(r->map, r->race->size) != 0)
		fail(r->p, "munmap: %s", strerror(errno));
	r->map = NULL;
	if (close(r->fd) != 0 || (r->fd_direct >= 0 && close(r->fd_direct) != 0) || close(r->fd_append) != 0)
		fail(r->p, "close of '%s': %s", r->path, strerror(errno));
	r->fd = r->fd_direct = r->fd_append = -1;
}

static void round_layout(struct racer *r, unsigned number)
{
	struct shared *sh = r->p->sh;
	struct race *race = r->race;
	uint64_t roll = rng_below(&r->rng, 16);

	snprintf(sh->file[RACE_FILE].name, sizeof(sh->file[RACE_FILE].name), "torture.%" PRIu64 ".%ld.r%u",
		 sh->opt.seed, (long)getpid(), number);
	for (race->round = 0; roll >= rounds[race->round].share; race->round++)
		roll -= rounds[race->round].share;
	race->back_writes = sh->opt.cache != CACHE_ALWAYS && rng_below(&r->rng, 4) != 0;
	race->until = now() + 0.2 + (double)rng_below(&r->rng, 800) / 1000;
	atomic_store(&race->over, 0);
	rounds[race->round].layout(r);
}

/* A round ends by the clock or when the operations are used up, and so does the last one. */
static void round_clock(struct racer *r)
{
	struct shared *sh = r->p->sh;
	double t = now();

	if ((sh->deadline != 0 && t >= sh->deadline) ||
	    (sh->opt.ops != 0 && counts_checked(sh) >= sh->ops + sh->opt.ops))
		atomic_store(&sh->stop, 1);
	if (t >= r->race->until || atomic_load(&sh->stop))
		atomic_store(&r->race->over, 1);
}

static void round_work(struct racer *r)
{
	struct race *race = r->race;

	racer_open(r);
	racer_remap(r);
	barrier(r->p);
	while (!atomic_load_explicit(&race->over, memory_order_relaxed)) {
		for (unsigned i = 0; i < 32; i++)
			rounds[race->round].step(r);
		atomic_fetch_add_explicit(&r->p->sh->beat, 1, memory_order_relaxed);
		if (atomic_load(&r->p->sh->failed))
			_exit(1);
		if (r->p->id == 0)
			round_clock(r);
	}
	racer_close(r);
	barrier(r->p);
	/* as in serial mode: who stored through a mapping in BACKING says so, since nothing else does */
	if (!proc_on_mount(r->p) && race->back_writes && utimensat(AT_FDCWD, r->path, NULL, 0) != 0)
		fail(r->p, "touch '%s': %s", r->path, strerror(errno));
	barrier(r->p);
	racer_open(r);
	rounds[race->round].verify(r);
	racer_close(r);
	barrier(r->p);
}

void racing_run(struct proc *p)
{
	struct shared *sh = p->sh;
	struct racer r = {.p = p, .race = sh->race, .fd = -1, .fd_direct = -1, .fd_append = -1};
	struct sigaction act = {.sa_handler = bus_caught};

	sigaction(SIGBUS, &act, NULL);
	rng_seed(&r.rng, sh->opt.seed, 100 + p->id);
	for (unsigned number = 0;; number++) {
		if (p->id == 0)
			round_layout(&r, number);
		barrier(p);
		proc_path(p, sh->file[RACE_FILE].name, r.path, sizeof(r.path));
		round_work(&r);
		if (p->id == 0 && unlink(r.path) != 0)
			fail(p, "unlink '%s': %s", r.path, strerror(errno));
		if (p->id == 0 && sh->opt.origin != NULL) {
			snprintf(r.path, sizeof(r.path), "%s/%s", sh->opt.origin, sh->file[RACE_FILE].name);
			if (unlink(r.path) != 0)
				fail(p, "'%s' is gone from the origin: %s", r.path, strerror(errno));
		}
		/* read before the barrier by all, or one could miss a stop that another saw */
		bool stop = atomic_load(&sh->stop);
		barrier(p);
		if (stop)
			break;
	}
	signal(SIGBUS, SIG_DFL);
}

size_t race_size(void)
{
	return sizeof(struct race);
}
