/* SPDX-License-Identifier: MIT */
/*
 * A process's descriptors and mappings: one of each for every file, opened with flags that change from
 * open to open. The mapping lives on when the descriptor is closed and opened again.
 *
 * What a mount process may rely on after a change made in BACKING depends on the cache mode:
 *   none    everything by descriptor at once; a mapping only when it is made anew
 *   auto    everything after close and open (with handover "stat" also after asking for attributes)
 *   always  nothing; BACKING is not changed then
 */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

char *proc_path(const struct proc *p, const char *name, char *path, size_t size)
{
	snprintf(path, size, "%s/%s", p->side->dir, name);
	return path;
}

static int pick_flags(struct proc *p, bool need_write, bool need_read)
{
	uint64_t roll = rng_below(p->rng, 16);
	int flags = O_RDWR;

	if (roll < 3 && !need_write)
		flags = O_RDONLY;
	else if (roll == 3 && !need_read)
		flags = O_WRONLY;
	if (p->side->direct && rng_one_in(p->rng, 6))
		flags |= O_DIRECT;
	switch (rng_below(p->rng, 64)) {
	case 0:
		flags |= O_SYNC;
		break;
	case 1:
		flags |= O_DSYNC;
		break;
	}
	/* An append starts wherever the file ends, which suits an unaligned O_DIRECT only. */
	if (rng_one_in(p->rng, 8) && !skipped(p, K_APPEND) && (!(flags & O_DIRECT) || p->side->direct_any))
		flags |= O_APPEND;
	return flags;
}

void slot_open(struct proc *p, unsigned f, bool need_write, bool need_read)
{
	struct model *m = &p->sh->file[f];
	struct slot *s = &p->slot[f];
	char path[512];

	slot_close(p, f);
	s->flags = pick_flags(p, need_write, need_read);
	struct record *rec = note(p, K_OPEN, f, 0, 0, (uint64_t)s->flags);
	s->fd = open(proc_path(p, m->name, path, sizeof(path)), s->flags | O_CLOEXEC);
	rec->result = s->fd < 0 ? -errno : 0;
	if (s->fd < 0)
		fail(p, "open '%s' with flags 0%o: %s", path, (unsigned)s->flags, strerror(errno));
	if (proc_on_mount(p) && p->sh->opt.handover_stat) {
		struct statx stx;

		if (statx(s->fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &stx) != 0)
			fail(p, "statx '%s': %s", path, strerror(errno));
	}
}

void slot_close(struct proc *p, unsigned f)
{
	struct slot *s = &p->slot[f];

	if (s->fd >= 0 && close(s->fd) != 0)
		fail(p, "close of file %u: %s", f, strerror(errno));
	s->fd = -1;
}

void slot_map(struct proc *p, unsigned f, bool need_write)
{
	struct model *m = &p->sh->file[f];
	struct slot *s = &p->slot[f];
	uint64_t off = 0, len = (m->max + PAGE - 1) & ~(PAGE - 1);
	int prot = PROT_READ, flags = MAP_SHARED;
	void *map;

	slot_unmap(p, f);
	if (s->fd < 0 || !slot_reads(s) || (need_write && !slot_writes(s)))
		slot_open(p, f, need_write, true);
	if (rng_one_in(p->rng, 2)) {
		uint64_t want = (1 + rng_below(p->rng, 64)) * PAGE;

		off = pick_off(p->rng, m, m->max - 1) & ~(PAGE - 1);
		len = len - off < want ? len - off : want;
	}
	if (need_write)
		prot |= PROT_WRITE;
	else if (!p->side->mmap_write || rng_one_in(p->rng, 6))
		flags = MAP_PRIVATE; /* never stored to, so it shows the file as a shared one does */
	if (rng_one_in(p->rng, 16))
		flags |= MAP_POPULATE;
	slot_size(p, f);
	struct record *rec = note(p, K_MAP, f, off, len, (uint64_t)(prot | flags << 8));
	map = mmap(NULL, len, prot, flags, s->fd, (off_t)(m->base + off));
	if (map == MAP_FAILED) {
		rec->result = -errno;
		fail(p, "mmap of file %u at 0x%llx+0x%llx: %s", f, (unsigned long long)off,
		     (unsigned long long)len, strerror(errno));
	}
	s->map = map;
	s->map_off = off;
	s->map_len = len;
	s->map_write = need_write;
}

void slot_unmap(struct proc *p, unsigned f)
{
	struct slot *s = &p->slot[f];

	if (s->map != NULL && munmap(s->map, s->map_len) != 0)
		fail(p, "munmap of file %u: %s", f, strerror(errno));
	s->map = NULL;
}

/*
 * mmap and copy_file_range go by the size that the kernel has of the file and never ask the daemon for it:
 * a fault beyond it is SIGBUS, a copy ends there. A daemon can only see to it that the next stat asks.
 */
void slot_size(struct proc *p, unsigned f)
{
	const struct model *m = &p->sh->file[f];
	struct slot *s = &p->slot[f];
	struct record *rec;
	struct stat st;

	if (!proc_on_mount(p) || s->sized)
		return;
	rec = note(p, K_SIZE, f, 0, 0, 3);
	if (fstat(s->fd, &st) != 0)
		fail(p, "fstat of file %u: %s", f, strerror(errno));
	rec->result = (int32_t)((uint64_t)st.st_size - m->base);
	if ((uint64_t)st.st_size != m->base + m->size)
		fail(p,
		     "size of file %u is 0x%llx instead of 0x%llx after a change in BACKING, operation %llu",
		     f, (unsigned long long)st.st_size - m->base, (unsigned long long)m->size,
		     (unsigned long long)p->sh->ops);
	s->sized = true;
}

void slot_ready(struct proc *p, unsigned f)
{
	struct model *m = &p->sh->file[f];
	struct slot *s = &p->slot[f];

	if (proc_on_mount(p) && s->gen != m->gen) {
		slot_unmap(p, f);
		if (p->sh->opt.cache != CACHE_NONE || rng_one_in(p->rng, 4))
			slot_open(p, f, false, false);
		s->gen = m->gen;
		s->sized = false;
	}
	if (s->fd < 0)
		slot_open(p, f, false, false);
}

/*
 * The promise is msync, munmap, fsync or close. What is written is the inode's, not the caller's, so that
 * either mount process can do it for both.
 */
void slot_flush(struct proc *p, unsigned f)
{
	struct model *m = &p->sh->file[f];
	struct slot *s = &p->slot[f];
	uint64_t how = rng_below(p->rng, 64);
	int err = 0;

	if (s->fd < 0)
		slot_open(p, f, false, false);
	struct record *rec = note(p, K_FLUSH, f, 0, 0, how);
	if (how == 0) {
		err = fsync(s->fd);
	} else if (how == 1 && s->map != NULL) {
		err = msync(s->map, s->map_len, MS_SYNC);
		slot_close(
			p,
			f); /* msync flushes only what it is told to, and others may have stored elsewhere */
	} else if (how < 40 && s->map != NULL && s->map_write) {
		slot_unmap(p, f);
	} else {
		slot_close(p, f);
	}
	rec->result = err ? -errno : 0;
	if (err != 0)
		fail(p, "flush of file %u: %s", f, strerror(errno));
	m->mount_dirty = false;
}

void slot_before_growth(struct proc *p, unsigned f, uint64_t end)
{
	const struct model *m = &p->sh->file[f];
	const off_t page = (off_t)sysconf(_SC_PAGESIZE), last = (off_t)(m->base + m->size) / page * page;

	if (proc_on_mount(p) && m->mount_dirty && end > m->size &&
	    sync_file_range(p->slot[f].fd, last, 0,
			    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
				    SYNC_FILE_RANGE_WAIT_AFTER) < 0)
		fail(p, "write back the last page of file %u: %s", f, strerror(errno));
}
