/* SPDX-License-Identifier: MIT */
/*
 * The record of what was done, and what is said when something is wrong: one message, the bytes, what each
 * side reads at that place now, and the last operations of every process in one file, oldest first.
 */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *const kind_name[K_COUNT] = {
	[K_READ] = "read",	 [K_READV] = "readv",	    [K_WRITE] = "write",
	[K_WRITEV] = "writev",	 [K_APPEND] = "append",	    [K_MREAD] = "mapread",
	[K_MWRITE] = "mapwrite", [K_TRUNCATE] = "truncate", [K_FALLOCATE] = "fallocate",
	[K_PUNCH] = "punch",	 [K_ZERO] = "zero",	    [K_COLLAPSE] = "collapse",
	[K_INSERT] = "insert",	 [K_SEEK] = "seek",	    [K_COPY] = "copy",
	[K_SIZE] = "size",	 [K_OPEN] = "open",	    [K_MAP] = "map",
	[K_MSYNC] = "msync",	 [K_FSYNC] = "fsync",	    [K_FLUSH] = "flush",
	[K_TOUCH] = "touch",	 [K_SABOTAGE] = "sabotage",
};

double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Written before the operation runs, so that a hang or a signal shows what it was in. */
struct record *note(struct proc *p, enum kind kind, unsigned file, uint64_t off, uint64_t len, uint64_t arg)
{
	struct ring *ring = &p->sh->ring[p->id];
	struct record *rec = &ring->rec[ring->next++ % RING];

	*rec = (struct record){
		/* relaxed: the order between racing processes is only for the reader of the dump */
		.seq = atomic_fetch_add_explicit(&p->sh->seq, 1, memory_order_relaxed),
		.off = off,
		.len = len,
		.arg = arg,
		.kind = (uint8_t)kind,
		.file = (uint8_t)file,
	};
	p->sh->count[p->id].n[kind]++;
	return rec;
}

static FILE *dump_open(const struct shared *sh, char *path, size_t size)
{
	snprintf(path, size, "%s/torture-%" PRIu64 "-%ld.log", sh->opt.log_dir, sh->opt.seed, (long)getpid());
	return fopen(path, "we");
}

static void rings_write(struct shared *sh, FILE *out)
{
	uint64_t at[NPROC];

	for (unsigned i = 0; i < NPROC; i++)
		at[i] = sh->ring[i].next > RING ? sh->ring[i].next - RING : 0;
	for (;;) {
		const struct record *best = NULL;
		unsigned who = 0;

		for (unsigned i = 0; i < NPROC; i++) {
			const struct record *rec = &sh->ring[i].rec[at[i] % RING];

			if (at[i] < sh->ring[i].next && (best == NULL || rec->seq < best->seq)) {
				best = rec;
				who = i;
			}
		}
		if (best == NULL)
			break;
		at[who]++;
		fprintf(out,
			"%10" PRIu64 " %s file %u %-9s off 0x%" PRIx64 " len 0x%" PRIx64 " arg 0x%" PRIx64
			" = %d\n",
			best->seq,
			who == BACK ? "back  "
			: who == 0  ? "mount0"
				    : "mount1",
			best->file, kind_name[best->kind], best->off, best->len, best->arg, best->result);
	}
}

static void repeat_line(const struct shared *sh, FILE *out)
{
	static const char *const cache[] = {"auto", "none", "always"};
	const struct options *o = &sh->opt;

	fprintf(out, "repeat with: torture --mount '%s' --%s '%s' --seed %" PRIu64, o->side[0].dir,
		o->origin != NULL ? "origin" : "backing", dir_of_files(sh), o->seed);
	if (!sh->in_racing)
		fprintf(out, " --ops %" PRIu64, sh->ops + 64);
	for (unsigned k = 0, first = 1; k <= K_COUNT; k++) {
		if (o->skip >> k & 1) {
			fprintf(out, "%s%s", first ? " --skip " : ",", k < K_COUNT ? kind_name[k] : "direct");
			first = 0;
		}
	}
	fprintf(out, " --max-size %" PRIu64 " --files %u --cache %s%s%s%s%s\n", o->max_size, o->files,
		cache[o->cache], sh->in_racing ? " --racing" : " --serial",
		o->handover_stat ? " --handover stat" : "", o->strict ? " --strict" : "",
		o->sabotage ? " --sabotage" : "");
}

void rings_dump(struct shared *sh, const char *why)
{
	char path[512];
	FILE *out = dump_open(sh, path, sizeof(path));

	repeat_line(sh, stderr);
	if (out == NULL) {
		fprintf(stderr, "torture: write '%s': %s\n", path, strerror(errno));
		return;
	}
	fprintf(out, "%s\n", why);
	repeat_line(sh, out);
	rings_write(sh, out);
	fclose(out);
	fprintf(stderr, "torture: the last operations are in %s\n", path);
}

_Noreturn static void fail_text(struct proc *p, const char *text)
{
	/* Only the first is told in full: what follows from it is noise. */
	if (atomic_exchange(&p->sh->failed, 1) == 0) {
		fputs(text, stderr);
		rings_dump(p->sh, text);
	}
	_exit(1);
}

_Noreturn void fail(struct proc *p, const char *fmt, ...)
{
	char text[1024];
	int n = snprintf(text, sizeof(text), "torture: %s: ",
			 p->id == BACK ? "back"
			 : p->id       ? "mount1"
				       : "mount0");
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + n, sizeof(text) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	strcat(text, "\n");
	fail_text(p, text);
}

static size_t hex_line(char *out, size_t size, const char *name, const uint8_t *bytes, uint64_t len)
{
	size_t n = (size_t)snprintf(out, size, "  %-8s", name);

	for (uint64_t i = 0; i < len && n + 4 < size; i++)
		n += (size_t)snprintf(out + n, size - n, " %02x", bytes[i]);
	n += (size_t)snprintf(out + n, size - n, "\n");
	return n;
}

/* What a fresh open of either side reads there now: tells a lost write from a stale cache. */
static size_t fresh_lines(const struct proc *p, const struct model *m, uint64_t off, uint64_t len, char *out,
			  size_t size)
{
	static const char *const name[2] = {"mount", "backing"};
	size_t n = 0;

	for (unsigned i = 0; i < 2; i++) {
		uint8_t bytes[32];
		char path[512];
		ssize_t got = -1;
		int fd;

		snprintf(path, sizeof(path), "%s/%s", p->sh->opt.side[i].dir, m->name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0) {
			got = pread(fd, bytes, len, (off_t)(m->base + off));
			close(fd);
		}
		if (got >= 0)
			n += hex_line(out + n, size - n, name[i], bytes, (uint64_t)got);
		else
			n += (size_t)snprintf(out + n, size - n, "  %s: %s\n", name[i], strerror(errno));
	}
	return n;
}

_Noreturn void fail_bytes(struct proc *p, enum kind kind, unsigned file, uint64_t off, const uint8_t *got,
			  const uint8_t *want, uint64_t len)
{
	const struct model *m = &p->sh->file[file];
	uint64_t first = 0, last, bad = 0, show;
	char text[2048];
	size_t n;

	while (first < len && got[first] == want[first])
		first++;
	last = first;
	for (uint64_t i = first; i < len; i++) {
		if (got[i] != want[i]) {
			bad++;
			last = i;
		}
	}
	show = len - first < 32 ? len - first : 32;
	n = (size_t)snprintf(text, sizeof(text),
			     "torture: %s: %s of file %u (%s) at 0x%" PRIx64 "+0x%" PRIx64 ", size 0x%" PRIx64
			     ", operation %" PRIu64 ": %" PRIu64 " bytes differ, from 0x%" PRIx64
			     " to 0x%" PRIx64 " (above base 0x%" PRIx64 ")\n",
			     p->id == BACK ? "back"
			     : p->id	   ? "mount1"
					   : "mount0",
			     kind_name[kind], file, m->name, off, len, m->size, p->sh->ops, bad, off + first,
			     off + last, m->base);
	n += hex_line(text + n, sizeof(text) - n, "expected", want + first, show);
	n += hex_line(text + n, sizeof(text) - n, "read", got + first, show);
	fresh_lines(p, m, off + first, show, text + n, sizeof(text) - n);
	fail_text(p, text);
}

void check_bytes(struct proc *p, enum kind kind, unsigned file, uint64_t off, const uint8_t *got,
		 const uint8_t *want, uint64_t len)
{
	if (memcmp(got, want, len) != 0)
		fail_bytes(p, kind, file, off, got, want, len);
}

static uint64_t count_kind(const struct shared *sh, unsigned kind)
{
	return sh->count[0].n[kind] + sh->count[1].n[kind] + sh->count[2].n[kind];
}

uint64_t counts_checked(const struct shared *sh)
{
	uint64_t sum = 0;

	for (unsigned k = 0; k <= K_LAST_CHECKED; k++)
		sum += count_kind(sh, k);
	return sum;
}

void summary_print(const struct shared *sh, double elapsed, bool clean)
{
	uint64_t total = counts_checked(sh);
	uint64_t mapped = count_kind(sh, K_MREAD) + count_kind(sh, K_MWRITE);

	printf("torture: %s: seed %" PRIu64 " ops %" PRIu64 " in %.1f s = %.0f/s; syscalls %" PRIu64
	       " mapped %" PRIu64 ";",
	       clean ? "clean" : "FAILED", sh->opt.seed, total, elapsed, (double)total / elapsed,
	       total - mapped, mapped);
	for (unsigned k = 0; k < K_COUNT; k++) {
		if (k == K_LAST_CHECKED + 1)
			printf("; upkeep");
		if (count_kind(sh, k) > 0)
			printf(" %s %" PRIu64, kind_name[k], count_kind(sh, k));
	}
	printf("\n");
	fflush(stdout);
}
