/* SPDX-License-Identifier: MIT */
/*
 * Reads and writes by system call. Every read states beforehand how many bytes it must return.
 */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define VECTORS 5

void changed(struct proc *p, unsigned f)
{
	if (!proc_on_mount(p))
		p->sh->file[f].gen++;
}

/* O_DIRECT natively wants everything aligned; where it does not, one in four goes unaligned. */
static bool must_align(struct proc *p, const struct slot *s)
{
	return (s->flags & O_DIRECT) && !(p->side->direct_any && rng_one_in(p->rng, 4));
}

static void align_range(const struct model *m, uint64_t *off, uint64_t *len)
{
	*off &= ~(PAGE - 1);
	*len = (*len + PAGE - 1) & ~(PAGE - 1);
	if (*off + *len > m->max) {
		*len = (m->max - *off) & ~(PAGE - 1);
		if (*len == 0) {
			*off = 0;
			*len = PAGE;
		}
	}
}

/* Cut [buf, len) into pieces at random places; whole pages when aligned. */
static int split(struct proc *p, void *buf, uint64_t len, bool aligned, struct iovec *iov)
{
	int n = 0;

	while (n < VECTORS - 1 && len > (aligned ? PAGE : 1)) {
		uint64_t part = 1 + rng_below(p->rng, len - 1);

		if (aligned)
			part = (part + PAGE - 1) & ~(PAGE - 1);
		if (part >= len)
			break;
		iov[n++] = (struct iovec){.iov_base = buf, .iov_len = part};
		buf = (char *)buf + part;
		len -= part;
	}
	iov[n++] = (struct iovec){.iov_base = buf, .iov_len = len};
	return n;
}

static void read_checked(struct proc *p, unsigned f, uint64_t off, uint64_t len, bool vector, bool aligned)
{
	const struct model *m = &p->sh->file[f];
	const struct slot *s = &p->slot[f];
	enum kind kind = vector ? K_READV : K_READ;
	uint64_t want = off >= m->size ? 0 : m->size - off < len ? m->size - off : len;
	struct record *rec = note(p, kind, f, off, len, (uint64_t)s->flags);
	ssize_t got;

	if (vector) {
		struct iovec iov[VECTORS];
		int n = split(p, p->buf, len, aligned, iov);

		got = preadv(s->fd, iov, n, (off_t)(m->base + off));
	} else {
		got = pread(s->fd, p->buf, len, (off_t)(m->base + off));
	}
	rec->result = got < 0 ? -errno : (int32_t)got;
	if (got < 0)
		fail(p, "%s of file %u at 0x%llx+0x%llx: %s", kind_name[kind], f, (unsigned long long)off,
		     (unsigned long long)len, strerror(errno));
	if ((uint64_t)got != want)
		fail(p,
		     "%s of file %u at 0x%llx+0x%llx returned 0x%llx instead of 0x%llx bytes, size 0x%llx, "
		     "operation %llu",
		     kind_name[kind], f, (unsigned long long)off, (unsigned long long)len,
		     (unsigned long long)got, (unsigned long long)want, (unsigned long long)m->size,
		     (unsigned long long)p->sh->ops);
	check_bytes(p, kind, f, off, p->buf, m->data + off, want);
}

void op_read(struct proc *p, unsigned f, bool vector)
{
	const struct model *m = &p->sh->file[f];
	struct slot *s = &p->slot[f];
	uint64_t off = pick_off(p->rng, m, m->max - 1);
	uint64_t len = pick_len(p->rng, m->max - off);

	if (!slot_reads(s))
		slot_open(p, f, false, true);
	bool aligned = must_align(p, s);
	if (aligned)
		align_range(m, &off, &len);
	read_checked(p, f, off, len, vector, aligned);
}

/* The whole file, and the end of it by reading past it. */
void op_verify(struct proc *p, unsigned f)
{
	const struct model *m = &p->sh->file[f];

	if (!slot_reads(&p->slot[f]))
		slot_open(p, f, false, true);
	for (uint64_t off = 0; off == 0 || off <= m->size; off += IO_MAX)
		read_checked(p, f, off, IO_MAX, false, true);
}

static ssize_t write_out(struct proc *p, const struct slot *s, const struct iovec *iov, int n, bool vector,
			 off_t off)
{
	/* With O_APPEND write(2) and pwrite(2) both append, whatever the offset: both must. */
	if ((s->flags & O_APPEND) && rng_one_in(p->rng, 2))
		return vector ? writev(s->fd, iov, n) : write(s->fd, iov[0].iov_base, iov[0].iov_len);
	return vector ? pwritev(s->fd, iov, n, off) : pwrite(s->fd, iov[0].iov_base, iov[0].iov_len, off);
}

void op_write(struct proc *p, unsigned f, bool vector)
{
	struct model *m = &p->sh->file[f];
	struct slot *s = &p->slot[f];
	struct iovec iov[VECTORS];
	enum kind kind = vector ? K_WRITEV : K_WRITE;
	uint64_t off = pick_off(p->rng, m, m->max - 1);
	uint64_t len = pick_len(p->rng, m->max - off);
	int n = 1;

	if (!slot_writes(s))
		slot_open(p, f, true, false);
	bool aligned = must_align(p, s);
	if (s->flags & O_APPEND) {
		aligned = false;
		off = m->size;
		if (off == m->max) {
			op_truncate(p, f);
			return;
		}
		len = len < m->max - off ? len : m->max - off;
		kind = K_APPEND;
	} else if (aligned) {
		align_range(m, &off, &len);
	}
	slot_before_growth(p, f, off + len);
	memcpy(p->buf, pick_data(p->sh, p->rng, len), len);
	if (vector)
		n = split(p, p->buf, len, aligned, iov);
	else
		iov[0] = (struct iovec){.iov_base = p->buf, .iov_len = len};
	struct record *rec = note(p, kind, f, off, len, (uint64_t)s->flags);
	ssize_t got = write_out(p, s, iov, n, vector, (off_t)(m->base + off));
	rec->result = got < 0 ? -errno : (int32_t)got;
	if (got < 0)
		fail(p, "%s of file %u at 0x%llx+0x%llx: %s", kind_name[kind], f, (unsigned long long)off,
		     (unsigned long long)len, strerror(errno));
	if ((uint64_t)got != len)
		fail(p, "%s of file %u at 0x%llx+0x%llx returned 0x%llx", kind_name[kind], f,
		     (unsigned long long)off, (unsigned long long)len, (unsigned long long)got);
	model_write(m, off, p->buf, len);
	changed(p, f);
}

void op_fsync(struct proc *p, unsigned f)
{
	struct slot *s = &p->slot[f];
	bool data = rng_one_in(p->rng, 2);
	struct record *rec = note(p, K_FSYNC, f, 0, 0, data);

	rec->result = (data ? fdatasync(s->fd) : fsync(s->fd)) ? -errno : 0;
	if (rec->result != 0)
		fail(p, "fsync of file %u: %s", f, strerror(-rec->result));
	if (proc_on_mount(p))
		p->sh->file[f].mount_dirty = false;
}
