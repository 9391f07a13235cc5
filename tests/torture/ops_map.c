/* SPDX-License-Identifier: MIT */
/*
 * Loads and stores through mappings. They cost a fraction of a system call, so they come in batches, most
 * of them near one another as a program's would; each is checked on its own.
 */
#include "torture.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static void tail_check(struct proc *p, unsigned f)
{
	static const uint8_t zero[PAGE];
	const struct model *m = &p->sh->file[f];
	const struct slot *s = &p->slot[f];
	uint64_t tail = PAGE - m->size % PAGE;

	/* Past the end a mapped page reads as zeros: nothing the file once held there may show. */
	if (tail == PAGE || m->size < s->map_off || m->size >= s->map_off + s->map_len)
		return;
	note(p, K_MREAD, f, m->size, tail, 1);
	check_bytes(p, K_MREAD, f, m->size, s->map + (m->size - s->map_off), zero, tail);
}

static void store(struct proc *p, unsigned f, uint64_t off, uint64_t len)
{
	struct model *m = &p->sh->file[f];
	struct slot *s = &p->slot[f];
	const uint8_t *data = pick_data(p->sh, p->rng, len);

	note(p, K_MWRITE, f, off, len, 0);
	memcpy(s->map + (off - s->map_off), data, len);
	model_write(m, off, data, len);
}

void op_map_batch(struct proc *p, unsigned f)
{
	struct model *m = &p->sh->file[f];
	struct slot *s = &p->slot[f];
	bool may_write = p->side->mmap_write && !skipped(p, K_MWRITE) &&
			 !(!proc_on_mount(p) && p->sh->opt.cache == CACHE_ALWAYS);
	bool stores = may_write && rng_below(p->rng, 3) != 0;
	unsigned n = 1 + (unsigned)rng_below(p->rng, 16);
	uint64_t lo, hi, spread;

	if (s->map == NULL || (stores && !s->map_write) || rng_one_in(p->rng, 24))
		slot_map(p, f, stores);
	lo = s->map_off;
	hi = s->map_off + s->map_len < m->size ? s->map_off + s->map_len : m->size;
	if (hi <= lo) {
		op_read(p, f, false);
		return;
	}
	spread = rng_one_in(p->rng, 4) ? hi - lo : 2 * PAGE;
	if (spread < hi - lo) {
		lo += rng_below(p->rng, hi - lo - spread + 1);
		hi = lo + spread;
	}
	if (rng_one_in(p->rng, 4))
		tail_check(p, f);
	for (unsigned i = 0; i < n; i++) {
		uint64_t off = lo + rng_below(p->rng, hi - lo);
		uint64_t top = 1ULL << rng_below(p->rng, rng_one_in(p->rng, 8) ? 15 : 10);
		uint64_t len = 1 + rng_below(p->rng, top < hi - off ? top : hi - off);

		if (stores && rng_one_in(p->rng, 2)) {
			store(p, f, off, len);
			if (proc_on_mount(p))
				m->mount_dirty = true;
			else
				m->back_silent = true;
		} else {
			note(p, K_MREAD, f, off, len, 0);
			check_bytes(p, K_MREAD, f, off, s->map + (off - s->map_off), m->data + off, len);
		}
	}
	if (stores)
		changed(p, f);
}

void op_msync(struct proc *p, unsigned f)
{
	struct slot *s = &p->slot[f];
	uint64_t off, len;
	int flags = MS_SYNC;

	if (s->map == NULL)
		return;
	off = rng_below(p->rng, s->map_len / PAGE) * PAGE;
	len = (1 + rng_below(p->rng, (s->map_len - off) / PAGE)) * PAGE;
	if (rng_one_in(p->rng, 4))
		flags = MS_ASYNC;
	struct record *rec = note(p, K_MSYNC, f, s->map_off + off, len, (uint64_t)flags);
	rec->result = msync(s->map + off, len, flags) ? -errno : 0;
	if (rec->result != 0)
		fail(p, "msync of file %u: %s", f, strerror(-rec->result));
}
