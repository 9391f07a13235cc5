/* SPDX-License-Identifier: MIT */
/*
 * The model: what each file must hold. Bytes from the size up to the maximum are always zero here, so
 * growing needs no work and shrinking clears what it cuts off.
 *
 * The pickers are here too, since where an operation lands decides what it can find: near page and window
 * boundaries, near the end of the file, at either end of it, and otherwise anywhere.
 */
#include "torture.h"

#include <string.h>

void rng_seed(struct rng *r, uint64_t seed, uint64_t stream)
{
	/* splitmix64 spreads neighbouring seeds and never leaves xorshift at zero for long */
	uint64_t z = seed * 0x9e3779b97f4a7c15ULL + (stream + 1) * 0xbf58476d1ce4e5b9ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	r->s = (z ^ (z >> 31)) | 1;
}

void model_resize(struct model *m, uint64_t size)
{
	if (size < m->size)
		memset(m->data + size, 0, m->size - size);
	m->size = size;
}

void model_write(struct model *m, uint64_t off, const void *data, uint64_t len)
{
	memcpy(m->data + off, data, len);
	if (off + len > m->size)
		m->size = off + len;
}

void model_zero(struct model *m, uint64_t off, uint64_t len, bool keep_size)
{
	uint64_t end = off + len;

	if (!keep_size && end > m->size)
		m->size = end;
	if (end > m->size)
		end = m->size;
	if (end > off)
		memset(m->data + off, 0, end - off);
}

void model_collapse(struct model *m, uint64_t off, uint64_t len)
{
	memmove(m->data + off, m->data + off + len, m->size - off - len);
	model_resize(m, m->size - len);
}

void model_insert(struct model *m, uint64_t off, uint64_t len)
{
	memmove(m->data + off + len, m->data + off, m->size - off);
	memset(m->data + off, 0, len);
	m->size += len;
}

uint64_t model_next_data(const struct model *m, uint64_t off)
{
	static const uint8_t zero[PAGE];

	while (off < m->size) {
		uint64_t n = m->size - off < PAGE ? m->size - off : PAGE;

		if (memcmp(m->data + off, zero, n) != 0) {
			while (m->data[off] == 0)
				off++;
			return off;
		}
		off += n;
	}
	return m->size;
}

/* Mostly below a page, often some pages, now and then as long as a request gets. */
uint64_t pick_len(struct rng *r, uint64_t max)
{
	uint64_t which = rng_below(r, 64);
	uint64_t top = which == 0 ? 1ULL << 21 : which < 8 ? 1ULL << 16 : 1ULL << rng_below(r, 14);

	if (top > max)
		top = max;
	return 1 + rng_below(r, top);
}

/* An offset in [0, limit]; limit included so that ends are hit. */
uint64_t pick_off(struct rng *r, const struct model *m, uint64_t limit)
{
	static const uint64_t window[] = {PAGE, PAGE, 8192, 65536, 1 << 20};
	uint64_t off;

	switch (rng_below(r, 8)) {
	case 0: { /* around a boundary of pages or windows */
		uint64_t w = window[rng_below(r, 5)];

		off = rng_below(r, limit / w + 1) * w + rng_below(r, 64);
		off = off >= 32 ? off - 32 : 0;
		break;
	}
	case 1: /* around the end of the file */
		off = m->size + rng_below(r, 2 * PAGE);
		off = off >= PAGE ? off - PAGE : 0;
		break;
	case 2: /* page-aligned */
		off = rng_below(r, limit + 1) & ~(PAGE - 1);
		break;
	case 3: /* inside the file */
		off = rng_below(r, m->size + 1);
		break;
	default:
		off = rng_below(r, limit + 1);
	}
	return off > limit ? limit : off;
}

const uint8_t *pick_data(struct shared *sh, struct rng *r, uint64_t len)
{
	return sh->pool + rng_below(r, POOL - len);
}
