/* SPDX-License-Identifier: MIT */
/*
 * Stripes: the file is cut into ranges, each with one owner that rewrites it whole again and again while
 * everybody reads everything.
 *
 * The file has two parts, 2 MiB apart, the largest folio there is. A store through a mapping of the mount
 * makes its whole folio dirty, and the kernel later writes all of it, so what BACKING changed next to it
 * meanwhile would go: any cache does that, so such stores stay in the second part, where BACKING only
 * reads. In the first part all three write, at odd boundaries within a page too.
 */
#include "race.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PART2 (2U << 20)

enum how { BY_READ, BY_DIRECT, BY_MAP };

/* Bytes that identify a stripe and the place in it; never zero, so that a zero is always telling. */
static uint8_t mark(unsigned id, uint32_t i)
{
	return (uint8_t)((id * 167 + i * 31 + (i >> 8) * 13) | 1);
}

static void stripe_fill(uint8_t *buf, unsigned id, uint32_t len, uint32_t number)
{
	for (uint32_t i = 0; i < len; i++)
		buf[i] = i % 4 == 3 ? (uint8_t)number : mark(id, i);
}

static uint8_t pick_owner(struct racer *r, bool second)
{
	return (uint8_t)rng_below(&r->rng, second || !r->race->back_writes ? 2 : 3);
}

static void stripe_add(struct racer *r, uint32_t *at, uint32_t len, uint8_t owner, enum stripe_kind kind)
{
	struct stripe *st = &r->race->stripe[r->race->count++];

	st->off = *at;
	st->len = len;
	st->owner = owner;
	st->kind = (uint8_t)kind;
	st->punched = false;
	atomic_store(&st->started, 0);
	atomic_store(&st->done, 0);
	atomic_store(&st->shown, 0);
	*at += len;
}

/* Pages of a zone: cut at odd places, or one stripe of whole pages. */
static void zone_add(struct racer *r, uint32_t *at, bool second)
{
	uint32_t len = (uint32_t)(1 + rng_below(&r->rng, 4)) * (uint32_t)PAGE, end = *at + len;
	uint8_t owner = pick_owner(r, second);

	switch (rng_below(&r->rng, 4)) {
	case 0:
		if (second || id_behind(r->p->sh, owner)) {
			stripe_add(r, at, len, owner, STRIPE_MAPPED);
			return;
		}
		break;
	case 1:
		if (r->p->sh->opt.side[0].punch && r->p->sh->opt.side[1].punch) {
			stripe_add(r, at, len, owner, STRIPE_PUNCH);
			return;
		}
		break;
	}
	while (*at < end) {
		uint32_t part = 1 + (uint32_t)rng_below(&r->rng, rng_one_in(&r->rng, 3) ? 64 : 6000);

		stripe_add(r, at, part < end - *at ? part : end - *at, pick_owner(r, second), STRIPE_WRITE);
	}
}

void stripes_layout(struct racer *r)
{
	struct race *race = r->race;
	uint32_t area = (uint32_t)(8UL << rng_below(&r->rng, 6)) * (uint32_t)PAGE, at = 0;
	char path[512];
	int fd;

	race->count = 0;
	while (at < area && race->count < MAX_STRIPES / 2 - 300)
		zone_add(r, &at, false);
	at = PART2;
	while (at < PART2 + area && race->count < MAX_STRIPES - 300)
		zone_add(r, &at, true);
	race->size = at;
	snprintf(path, sizeof(path), "%s/%s", dir_of_files(r->p->sh), r->p->sh->file[RACE_FILE].name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		fail(r->p, "create '%s': %s", path, strerror(errno));
	for (unsigned id = 0; id < race->count; id++) {
		const struct stripe *st = &race->stripe[id];

		stripe_fill(r->p->buf, id, st->len, 0);
		if (pwrite(fd, r->p->buf, st->len, st->off) != (ssize_t)st->len)
			fail(r->p, "fill '%s': %s", path, strerror(errno));
	}
	close(fd);
}

/*
 * The oldest write that @r may still see, or -1 when any of them: the mount's cache may hold anything of
 * BACKING's (cache=none: only for mappings), and a mapping there anything that went past it by system call.
 */
static int64_t stripe_oldest(const struct racer *r, const struct stripe *st, enum how how)
{
	enum cache_mode cache = r->p->sh->opt.cache;

	if (!proc_on_mount(r->p))
		return st->owner == BACK ? atomic_load(&st->done) : atomic_load(&st->shown);
	if (id_behind(r->p->sh, st->owner))
		return how == BY_DIRECT || (how == BY_READ && cache == CACHE_NONE)
			       ? (int64_t)atomic_load(&st->shown)
			       : -1;
	/*
	 * While BACKING changes, the mount's cached pages are dropped. The kernel copies a write into a page
	 * before it sends it: when the page is dropped in between, a reader fetches the old bytes again, and
	 * they stay after the write arrived. No daemon can prevent that, only make it short.
	 */
	if (cache == CACHE_AUTO && r->race->back_writes && how != BY_DIRECT && !r->p->sh->opt.strict)
		return -1;
	if (cache == CACHE_NONE && how == BY_MAP && st->kind != STRIPE_MAPPED)
		return -1;
	return atomic_load(&st->done);
}

static void stripe_check(struct racer *r, const struct stripe *st, uint32_t from, const uint8_t *got,
			 uint32_t len, int64_t oldest, const char *what)
{
	unsigned id = (unsigned)(st - r->race->stripe);
	uint32_t newest = atomic_load(&st->started);
	bool own = st->owner == r->p->id && oldest >= 0;
	uint8_t base = oldest < 0 ? 0 : (uint8_t)oldest, span = UINT8_MAX;

	/* a number is one byte: only a window of fewer than 256 of them says anything */
	if (oldest >= 0 && newest - (uint32_t)oldest < UINT8_MAX)
		span = (uint8_t)(newest - (uint32_t)oldest);
	else if (oldest < 0 && newest < UINT8_MAX)
		span = (uint8_t)newest;
	for (uint32_t i = 0; i < len; i++) {
		bool number = (from + i) % 4 == 3;

		if (st->kind == STRIPE_PUNCH) {
			if (own && st->punched ? got[i] == 0 : !own && got[i] == 0)
				continue;
			if (number && !own)
				continue;
			if (own && st->punched)
				race_fail(r, what, st->off + from, len, got, i,
					  "data in the reader's own punched hole");
		}
		if (number && (uint8_t)(got[i] - base) > span) {
			char why[128];

			snprintf(why, sizeof(why),
				 "write %u of owner %u, but it must be %lld to %u (mod 256)", got[i],
				 st->owner, (long long)oldest, newest);
			race_fail(r, what, st->off + from, len, got, i, why);
		}
		if (!number && got[i] != mark(id, from + i))
			race_fail(r, what, st->off + from, len, got, i,
				  got[i] == 0 ? "zero where no hole ever was" : "not this stripe's byte");
	}
}

/*
 * Natively a direct read that meets a hole which a mapped store is just filling ends with EIO ("Direct I/O
 * collision with buffered writes" in the kernel's log); a daemon that writes through windows does such
 * stores. On the mount it is the daemon's to answer, and never EIO.
 */
static bool direct_collides(const struct racer *r, unsigned first, unsigned last)
{
	bool holes = false;

	for (unsigned id = first; id < last; id++)
		holes = holes || r->race->stripe[id].kind == STRIPE_PUNCH;
	return holes && !proc_on_mount(r->p);
}

/* Read a range that may span stripes; what may be seen of each is settled before the read begins. */
static void range_read(struct racer *r, uint32_t off, uint32_t len, enum how how)
{
	static const enum kind kind[] = {[BY_READ] = K_READ, [BY_DIRECT] = K_READ, [BY_MAP] = K_MREAD};
	static const char *const what[] = {"read", "O_DIRECT read", "mapped read"};
	const struct race *race = r->race;
	int64_t oldest[MAX_STRIPES];
	unsigned first = 0, last;

	for (unsigned lo = 0, hi = race->count; lo < hi;) { /* the first stripe that ends after off */
		unsigned mid = (lo + hi) / 2;

		if (race->stripe[mid].off + race->stripe[mid].len <= off)
			lo = mid + 1;
		else
			hi = mid;
		first = lo;
	}
	for (last = first; last < race->count && race->stripe[last].off < off + len; last++)
		oldest[last] = stripe_oldest(r, &race->stripe[last], how);
	struct record *rec = note(r->p, kind[how], RACE_FILE, off, len, how);
	if (how == BY_MAP) {
		memcpy(r->p->buf, r->map + off, len);
	} else {
		ssize_t n = pread(how == BY_DIRECT ? r->fd_direct : r->fd, r->p->buf, len, off);
		uint32_t want = off >= race->size ? 0 : race->size - off < len ? race->size - off : len;

		rec->result = n < 0 ? -errno : (int32_t)n;
		if (n < 0 && errno == EIO && how == BY_DIRECT && direct_collides(r, first, last))
			return;
		if (n < 0 || n != (ssize_t)want)
			race_fail(r, what[how], off, len, NULL, 0, n < 0 ? strerror(errno) : "short count");
	}
	for (unsigned id = first; id < last; id++) {
		const struct stripe *st = &race->stripe[id];
		uint32_t a = st->off > off ? st->off : off;
		uint32_t b = st->off + st->len < off + len ? st->off + st->len : off + len;

		stripe_check(r, st, a - st->off, r->p->buf + (a - off), b - a, oldest[id], what[how]);
	}
}

static void stripe_write(struct racer *r, struct stripe *st)
{
	unsigned id = (unsigned)(st - r->race->stripe);
	uint32_t number = atomic_load(&st->started) + 1;
	bool mount = proc_on_mount(r->p);
	/* with cache=none a write goes past the mount's mappings, which then may show what was before */
	bool by_map = r->map != NULL && st->kind == STRIPE_MAPPED &&
		      ((mount && r->p->sh->opt.cache == CACHE_NONE) || rng_below(&r->rng, 4) != 0);

	if (st->kind == STRIPE_MAPPED && !by_map && mount && r->p->sh->opt.cache == CACHE_NONE)
		return;
	stripe_fill(r->p->buf, id, st->len, number);
	atomic_store(&st->started, number);
	struct record *rec = note(r->p, by_map ? K_MWRITE : K_WRITE, RACE_FILE, st->off, st->len, number);
	if (by_map) {
		memcpy(r->map + st->off, r->p->buf, st->len);
	} else {
		ssize_t n = pwrite(r->fd, r->p->buf, st->len, st->off);

		rec->result = n < 0 ? -errno : (int32_t)n;
		if (n != (ssize_t)st->len)
			race_fail(r, "write", st->off, st->len, NULL, 0,
				  n < 0 ? strerror(errno) : "short count");
	}
	st->punched = false;
	atomic_store(&st->done, number);
	if (!by_map || !mount)
		atomic_store(&st->shown, number);
}

static void stripe_punch(struct racer *r, struct stripe *st)
{
	struct record *rec = note(r->p, K_PUNCH, RACE_FILE, st->off, st->len, 0);

	rec->result = fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, st->off, st->len) ? -errno
												     : 0;
	if (rec->result != 0)
		race_fail(r, "punch", st->off, st->len, NULL, 0, strerror(-rec->result));
	st->punched = true;
}

/* After msync BACKING sees at least what was stored before it. */
static void stripe_msync(struct racer *r, struct stripe *st)
{
	uint32_t number = atomic_load(&st->done);
	struct record *rec = note(r->p, K_MSYNC, RACE_FILE, st->off, st->len, number);

	rec->result = msync(r->map + st->off, st->len, MS_SYNC) ? -errno : 0;
	if (rec->result != 0)
		race_fail(r, "msync", st->off, st->len, NULL, 0, strerror(-rec->result));
	atomic_store(&st->shown, number);
}

static enum how pick_how(struct racer *r)
{
	uint64_t roll = rng_below(&r->rng, 8);

	if (roll == 0 && r->fd_direct >= 0)
		return BY_DIRECT;
	return roll < 5 && r->map != NULL ? BY_MAP : BY_READ;
}

static void pick_range_read(struct racer *r)
{
	enum how how = pick_how(r);
	const struct stripe *st = &r->race->stripe[rng_below(&r->rng, r->race->count)];
	uint32_t off = st->off, len = st->len;

	if (how != BY_MAP && rng_one_in(&r->rng, 8))
		len = 65536;
	else if (len > 1 && rng_one_in(&r->rng, 2)) {
		off += (uint32_t)rng_below(&r->rng, len);
		len = 1 + (uint32_t)rng_below(&r->rng, st->off + st->len - off);
	}
	if (how == BY_DIRECT) {
		off &= ~(uint32_t)(PAGE - 1);
		len = (len + 2 * (uint32_t)PAGE - 1) & ~(uint32_t)(PAGE - 1);
	}
	range_read(r, off, len, how);
}

void stripes_step(struct racer *r)
{
	struct race *race = r->race;
	struct stripe *st = &race->stripe[rng_below(&r->rng, race->count)];
	uint64_t roll = rng_below(&r->rng, 512);

	if (roll == 0 && r->map != NULL) {
		racer_remap(r);
	} else if (roll == 1) {
		/*
		 * When BACKING writes, an open makes the kernel drop the mount's cache. Dropping a page that
		 * a write is on its way through loses nothing but may bring the old bytes back: the kernel's
		 * own race, known, and not what is tested here.
		 */
		if (!race->back_writes || r->p->sh->opt.cache == CACHE_NONE || !proc_on_mount(r->p)) {
			racer_close(r);
			racer_open(r);
			racer_remap(r);
		}
	} else if (st->owner != r->p->id) {
		pick_range_read(r);
	} else if (st->kind == STRIPE_PUNCH && rng_one_in(&r->rng, 3)) {
		stripe_punch(r, st);
	} else if (st->kind == STRIPE_MAPPED && r->map != NULL && rng_one_in(&r->rng, 32)) {
		stripe_msync(r, st);
	} else if (rng_one_in(&r->rng, 3)) {
		range_read(r, st->off, st->len,
			   st->kind == STRIPE_MAPPED && r->map != NULL ? BY_MAP : BY_READ);
	} else {
		stripe_write(r, st);
	}
}

/* All is written and flushed and everybody has opened the file again: every stripe is its last write. */
void stripes_verify(struct racer *r)
{
	for (unsigned id = 0; id < r->race->count; id++) {
		struct stripe *st = &r->race->stripe[id];
		uint32_t number = atomic_load(&st->started);
		ssize_t n = pread(r->fd, r->p->buf, st->len, st->off);
		uint8_t want[4 * PAGE + 6000];

		if (st->punched)
			memset(want, 0, st->len);
		else
			stripe_fill(want, id, st->len, number);
		note(r->p, K_READ, RACE_FILE, st->off, st->len, number);
		if (n != (ssize_t)st->len)
			race_fail(r, "last check", st->off, st->len, NULL, 0,
				  n < 0 ? strerror(errno) : "short count");
		for (uint32_t i = 0; i < st->len; i++) {
			if (r->p->buf[i] != want[i])
				race_fail(r, "last check", st->off, st->len, r->p->buf, i,
					  "not the stripe's last write");
		}
	}
}
