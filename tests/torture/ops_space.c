/* SPDX-License-Identifier: MIT */
/*
 * Sizes, holes and allocation. Where a side lacks an operation, a read is done in its place, so that the
 * number of operations does not depend on the file system.
 */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void op_size(struct proc *p, unsigned f)
{
	const struct model *m = &p->sh->file[f];
	struct record *rec = note(p, K_SIZE, f, 0, 0, 0);
	uint64_t size;

	switch (rng_below(p->rng, 3)) {
	case 0:
		size = (uint64_t)lseek(p->slot[f].fd, 0, SEEK_END);
		break;
	case 1: {
		char path[512];
		struct stat st;

		if (stat(proc_path(p, m->name, path, sizeof(path)), &st) != 0)
			fail(p, "stat '%s': %s", path, strerror(errno));
		size = (uint64_t)st.st_size;
		break;
	}
	default: {
		struct stat st;

		if (fstat(p->slot[f].fd, &st) != 0)
			fail(p, "fstat of file %u: %s", f, strerror(errno));
		size = (uint64_t)st.st_size;
	}
	}
	rec->result = (int32_t)(size - m->base);
	if (size != m->base + m->size)
		fail(p, "size of file %u is 0x%llx instead of 0x%llx, operation %llu", f,
		     (unsigned long long)(size - m->base), (unsigned long long)m->size,
		     (unsigned long long)p->sh->ops);
}

static uint64_t pick_size(struct proc *p, const struct model *m)
{
	switch (rng_below(p->rng, 4)) {
	case 0: /* a little around where it is */
		return pick_off(p->rng, m, m->max);
	case 1: /* grow, so that files are not mostly short */
		return m->size + rng_below(p->rng, m->max - m->size + 1);
	default:
		return rng_below(p->rng, m->max + 1);
	}
}

void op_truncate(struct proc *p, unsigned f)
{
	struct model *m = &p->sh->file[f];
	struct slot *s = &p->slot[f];
	uint64_t size = pick_size(p, m), how = rng_below(p->rng, 16);
	char path[512];
	int err;

	if (how == 0 && m->base == 0) {
		struct record *rec = note(p, K_TRUNCATE, f, 0, 0, O_TRUNC);
		int fd = open(proc_path(p, m->name, path, sizeof(path)), O_WRONLY | O_TRUNC | O_CLOEXEC);

		size = 0;
		err = fd < 0 ? -errno : 0;
		if (fd >= 0)
			close(fd);
		rec->result = err;
	} else if (how < 4) {
		struct record *rec = note(p, K_TRUNCATE, f, size, 0, 1);

		err = truncate(proc_path(p, m->name, path, sizeof(path)), (off_t)(m->base + size)) ? -errno
												   : 0;
		rec->result = err;
	} else {
		if (!slot_writes(s))
			slot_open(p, f, true, false);
		struct record *rec = note(p, K_TRUNCATE, f, size, 0, 0);
		err = ftruncate(s->fd, (off_t)(m->base + size)) ? -errno : 0;
		rec->result = err;
	}
	if (err != 0)
		fail(p, "truncate of file %u to 0x%llx: %s", f, (unsigned long long)size, strerror(-err));
	model_resize(m, size);
	changed(p, f);
}

/* Whole pages inside the file, as collapse and insert want them; false when there are none. */
static bool pick_pages(struct proc *p, const struct model *m, uint64_t room, uint64_t *off, uint64_t *len)
{
	uint64_t pages = m->size / PAGE, most = room / PAGE < 64 ? room / PAGE : 64;

	if (pages < 2 || most == 0)
		return false;
	*off = rng_below(p->rng, pages - 1) * PAGE;
	*len = (1 + rng_below(p->rng, most)) * PAGE;
	return true;
}

/* Choose the range and the mode of one fallocate; false when this side or this file cannot do it. */
static bool falloc_pick(struct proc *p, const struct model *m, enum kind kind, uint64_t *off, uint64_t *len,
			int *mode)
{
	const struct side *side = p->side;

	*off = pick_off(p->rng, m, m->max - 1);
	*len = pick_len(p->rng, m->max - *off);
	*mode = side->keep_size && rng_one_in(p->rng, 2) ? FALLOC_FL_KEEP_SIZE : 0;
	switch (kind) {
	case K_FALLOCATE:
		return side->fallocate;
	case K_PUNCH:
		*mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		return side->punch;
	case K_ZERO:
		*mode |= FALLOC_FL_ZERO_RANGE;
		return side->zero;
	case K_COLLAPSE:
		*mode = FALLOC_FL_COLLAPSE_RANGE;
		return side->collapse && pick_pages(p, m, m->size, off, len) && *off + *len < m->size;
	default:
		*mode = FALLOC_FL_INSERT_RANGE;
		return side->insert && pick_pages(p, m, m->max - m->size, off, len);
	}
}

void op_fallocate(struct proc *p, unsigned f, enum kind kind)
{
	struct model *m = &p->sh->file[f];
	struct slot *s = &p->slot[f];
	uint64_t off, len;
	int mode;

	if (!falloc_pick(p, m, kind, &off, &len, &mode)) {
		op_read(p, f, false);
		return;
	}
	if (!slot_writes(s))
		slot_open(p, f, true, false);
	struct record *rec = note(p, kind, f, off, len, (uint64_t)mode);
	rec->result = fallocate(s->fd, mode, (off_t)(m->base + off), (off_t)len) ? -errno : 0;
	if (rec->result != 0)
		fail(p, "%s of file %u at 0x%llx+0x%llx, mode %d: %s", kind_name[kind], f,
		     (unsigned long long)off, (unsigned long long)len, mode, strerror(-rec->result));
	switch (kind) {
	case K_FALLOCATE:
		if (!(mode & FALLOC_FL_KEEP_SIZE) && off + len > m->size)
			m->size = off + len;
		break;
	case K_COLLAPSE:
		model_collapse(m, off, len);
		break;
	case K_INSERT:
		model_insert(m, off, len);
		break;
	default:
		model_zero(m, off, len, mode & FALLOC_FL_KEEP_SIZE);
	}
	changed(p, f);
}

/*
 * A file system may call a hole data, never data a hole: from an offset to the data reported next, and
 * from a reported hole to the data after it, the model must be zero.
 */
void op_seek(struct proc *p, unsigned f)
{
	struct model *m = &p->sh->file[f];
	struct slot *s = &p->slot[f];
	uint64_t from = pick_off(p->rng, m, m->max - 1);
	bool hole = rng_one_in(p->rng, 2);
	off_t at, first;

	if (!p->side->seek) {
		op_read(p, f, false);
		return;
	}
	/* The kernel asks the daemon without writing back the mount's dirty pages first. */
	if (proc_on_mount(p) && m->mount_dirty) {
		slot_flush(p, f);
		slot_ready(p, f);
	}
	struct record *rec = note(p, K_SEEK, f, from, 0, hole);
	first = lseek(s->fd, (off_t)(m->base + from), hole ? SEEK_HOLE : SEEK_DATA);
	rec->result = first < 0 ? -errno : (int32_t)((uint64_t)first - m->base);
	if (first < 0 && errno != ENXIO)
		fail(p, "lseek of file %u at 0x%llx: %s", f, (unsigned long long)from, strerror(errno));
	if (from >= m->size) {
		if (first >= 0)
			fail(p, "lseek of file %u at 0x%llx found 0x%llx past the end 0x%llx", f,
			     (unsigned long long)from, (unsigned long long)first,
			     (unsigned long long)m->size);
		return;
	}
	at = first;
	if (hole) {
		if (first < (off_t)(m->base + from) || first > (off_t)(m->base + m->size))
			fail(p, "SEEK_HOLE of file %u at 0x%llx returned 0x%llx, size 0x%llx", f,
			     (unsigned long long)from, (unsigned long long)first,
			     (unsigned long long)m->size);
		from = (uint64_t)first - m->base;
		if (from >= m->size)
			return;
		at = lseek(s->fd, first, SEEK_DATA);
	}
	if (at < 0)
		at = (off_t)(m->base + m->size);
	if (model_next_data(m, from) < (uint64_t)at - m->base)
		fail(p, "file %u has data at 0x%llx in a reported hole from 0x%llx to 0x%llx, operation %llu",
		     f, (unsigned long long)model_next_data(m, from), (unsigned long long)from,
		     (unsigned long long)((uint64_t)at - m->base), (unsigned long long)p->sh->ops);
}

/* O_DIRECT has rules of its own for copies, and O_APPEND forbids them. */
static void copy_open(struct proc *p, unsigned f, bool write)
{
	struct slot *s = &p->slot[f];

	while ((write && !slot_writes(s)) || (!write && !slot_reads(s)) || (s->flags & (O_DIRECT | O_APPEND)))
		slot_open(p, f, write, !write);
}

void op_copy(struct proc *p, unsigned f)
{
	struct model *m = &p->sh->file[f], *from;
	unsigned g = (unsigned)rng_below(p->rng, p->sh->opt.files);
	uint64_t src, dst, len, done = 0;

	/* BACKING cannot flush what the mount still holds of the source. */
	if (!proc_on_mount(p) && p->sh->file[g].mount_dirty)
		g = f;
	from = &p->sh->file[g];
	src = from->size ? rng_below(p->rng, from->size) : 0;
	len = pick_len(p->rng, from->size > src ? from->size - src : 1);
	dst = pick_off(p->rng, m, m->max - 1);
	len = len < m->max - dst ? len : m->max - dst;
	if (!p->side->copy || from->size == 0 || (f == g && src < dst + len && dst < src + len)) {
		op_read(p, f, false);
		return;
	}
	slot_ready(p, g);
	copy_open(p, g, false);
	slot_size(p, g);
	if (g == f) {
		while (!slot_writes(&p->slot[f]) || !slot_reads(&p->slot[f]) ||
		       (p->slot[f].flags & (O_DIRECT | O_APPEND)))
			slot_open(p, f, true, true);
	} else {
		copy_open(p, f, true);
	}
	slot_before_growth(p, f, dst + len);
	struct record *rec = note(p, K_COPY, f, dst, len, src | (uint64_t)g << 56);
	while (done < len) {
		off_t a = (off_t)(from->base + src + done), b = (off_t)(m->base + dst + done);
		ssize_t n = copy_file_range(p->slot[g].fd, &a, p->slot[f].fd, &b, len - done, 0);

		rec->result = n < 0 ? -errno : (int32_t)n;
		if (n <= 0)
			fail(p, "copy from file %u 0x%llx to file %u 0x%llx+0x%llx stopped after 0x%llx: %s",
			     g, (unsigned long long)src, f, (unsigned long long)dst, (unsigned long long)len,
			     (unsigned long long)done, n < 0 ? strerror(errno) : "end of file");
		done += (uint64_t)n;
	}
	model_write(m, dst, from->data + src, len);
	changed(p, f);
}
