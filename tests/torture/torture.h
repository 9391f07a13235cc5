/* SPDX-License-Identifier: MIT */
#ifndef TORTURE_H
#define TORTURE_H

/*
 * torture.h - a random-operation tester for a mount and the directory behind it
 *
 * Three processes work on the same files: two on the mount, one directly in BACKING. In serial mode they
 * take turns and every byte and every size is compared with a model in shared memory; in racing mode all
 * three run at once and what they read must be something that its owner may have written.
 *
 * This header knows nothing of the daemon: whatever is mounted, or nothing at all (mount and backing may
 * be one plain directory), is held to what two processes on one local file would see, within the limits
 * that the cache mode names.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define NPROC 3 /* processes 0 and 1 work on the mount, process BACK in BACKING */
#define BACK 2
#define ORIGIN_PAGES 24 /* files made in --origin begin with so much random data, at most */
#define MAX_FILES 16
#define RING 10000	   /* operations remembered for each process */
#define PAGE 4096UL	   /* alignment of everything that has to be aligned */
#define IO_MAX (2UL << 20) /* longest single read or write */
#define POOL (4UL << 20)   /* random bytes that written data is cut from */

enum cache_mode { CACHE_AUTO, CACHE_NONE, CACHE_ALWAYS };

/* The kinds up to K_LAST_CHECKED are operations: accesses checked against the model. The rest is upkeep. */
enum kind {
	K_READ,
	K_READV,
	K_WRITE,
	K_WRITEV,
	K_APPEND,
	K_MREAD,
	K_MWRITE,
	K_TRUNCATE,
	K_FALLOCATE,
	K_PUNCH,
	K_ZERO,
	K_COLLAPSE,
	K_INSERT,
	K_SEEK,
	K_COPY,
	K_SIZE,
	K_LAST_CHECKED = K_SIZE,
	K_OPEN,
	K_MAP,
	K_MSYNC,
	K_FSYNC,
	K_FLUSH,
	K_TOUCH,
	K_SABOTAGE,
	K_COUNT
};

/* What one side was found to support. */
struct side {
	const char *dir;
	bool direct;	 /* O_DIRECT opens and works when aligned */
	bool direct_any; /* ... and does not need alignment */
	bool mmap_write; /* MAP_SHARED with PROT_WRITE */
	bool fallocate;
	bool keep_size;
	bool punch;
	bool zero;
	bool collapse;
	bool insert;
	bool seek;
	bool copy;
};

struct options {
	struct side side[2]; /* 0 the mount, 1 BACKING */
	uint64_t seed;
	uint64_t ops;	/* 0: no limit */
	double seconds; /* 0: no limit */
	uint64_t max_size;
	unsigned files;
	enum cache_mode cache;
	bool serial, racing;
	bool handover_stat; /* after a change in BACKING, ask for fresh attributes besides re-opening */
	bool sabotage;
	bool strict;   /* see stripe_oldest() */
	uint32_t skip; /* bit k: leave out kind k; bit K_COUNT: O_DIRECT */
	const char *log_dir;
	const char
		*origin; /* NULL, or where files are made that all three processes change on the mount only */
};

/* xorshift64*: small, fast and the same everywhere, so that a seed means the same run everywhere. */
struct rng {
	uint64_t s;
};

static inline uint64_t rng_next(struct rng *r)
{
	r->s ^= r->s >> 12;
	r->s ^= r->s << 25;
	r->s ^= r->s >> 27;
	return (r->s * 0x2545f4914f6cdd1dULL) >> 8;
}

static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return n ? rng_next(r) % n : 0;
}

static inline bool rng_one_in(struct rng *r, unsigned n)
{
	return rng_below(r, n) == 0;
}

void rng_seed(struct rng *r, uint64_t seed, uint64_t stream);

/*
 * One file as it should be. Bytes below @base are a hole that nobody writes; data[i] is the byte at
 * base + i, and is zero from size on. Guarded by the turn: only its holder reads or writes this.
 */
struct model {
	char name[64];
	uint64_t base;	  /* a multiple of PAGE */
	uint64_t max;	  /* bytes above base */
	uint64_t size;	  /* bytes above base; the file's size is base + size */
	uint64_t gen;	  /* moved by every change made in BACKING */
	bool mount_dirty; /* stores through a mapping of the mount are not flushed yet */
	bool back_silent; /* stores through a mapping in BACKING that may have moved no mtime */
	uint8_t *data;
};

struct record {
	uint64_t seq;
	uint64_t off, len, arg;
	int32_t result;
	uint8_t kind, file;
};

struct ring {
	uint64_t next; /* only its process writes it */
	struct record rec[RING];
};

struct race;

struct shared {
	struct options opt;
	_Atomic uint32_t turn;	 /* futex: the process that may go, serial mode */
	_Atomic uint32_t stop;	 /* no further operations */
	_Atomic uint32_t failed; /* somebody found a mismatch and reports it */
	_Atomic uint32_t finals; /* processes that finished the last check */
	_Atomic uint64_t seq;	 /* numbers the records of all processes */
	_Atomic uint64_t beat;	 /* moves while anybody makes progress */
	struct rng rng;		 /* serial mode; guarded by the turn */
	uint64_t ops;		 /* operations so far, serial mode; guarded by the turn */
	bool in_racing;		 /* the mode that runs; set before the processes start */
	unsigned next_file;	 /* what the next holder works on; guarded by the turn */
	uint64_t sabotage_at;
	double deadline;
	struct model file[MAX_FILES];
	struct race *race;
	uint8_t *pool;
	struct {
		_Alignas(64) uint64_t n[K_COUNT];
	} count[NPROC];
	struct ring ring[NPROC];
};

/* One process's hold on one file. */
struct slot {
	int fd; /* -1 when closed */
	int flags;
	uint64_t gen;		   /* the model's gen when it was opened or found current */
	uint8_t *map;		   /* NULL when not mapped */
	uint64_t map_off, map_len; /* above base, multiples of PAGE */
	bool map_write;
	bool sized; /* the file's size was asked for since others changed it */
};

struct proc {
	struct shared *sh;
	unsigned id;
	const struct side *side;
	struct rng *rng;
	struct slot slot[MAX_FILES];
	uint8_t *buf; /* IO_MAX + PAGE bytes, page-aligned */
};

static inline bool skipped(const struct proc *p, unsigned kind)
{
	return p->sh->opt.skip >> kind & 1;
}

/* Does this one of the processes work in BACKING? */
static inline bool id_behind(const struct shared *sh, unsigned id)
{
	return id == BACK && sh->opt.origin == NULL;
}

static inline bool proc_on_mount(const struct proc *p)
{
	return !id_behind(p->sh, p->id);
}

/* Where files are made. */
static inline const char *dir_of_files(const struct shared *sh)
{
	return sh->opt.origin != NULL ? sh->opt.origin : sh->opt.side[1].dir;
}

static inline bool slot_reads(const struct slot *s)
{
	return (s->flags & 3) != 1; /* not O_WRONLY */
}

static inline bool slot_writes(const struct slot *s)
{
	return (s->flags & 3) != 0; /* not O_RDONLY */
}

/* probe.c */

/**
 * side_probe() - find out what a directory's file system supports
 * @side: dir is set; everything else is filled in
 *
 * Return: 0, or -errno with a message on stderr when not even a file can be made there.
 */
int side_probe(struct side *side);

/* origin.c: files that are made in BACKING and changed on the mount only (--origin) */

/** origin_fill() - give a new file of @f, open at @fd, random content, and the model the same. Exits on failure. */
void origin_fill(struct shared *sh, unsigned f, int fd);

/** origin_check() - has no byte of the files changed? They are removed. Return: 0, or 1 with a message. */
int origin_check(struct shared *sh);

/* model.c: none of these touch a file; offsets are above base */
void model_write(struct model *m, uint64_t off, const void *data, uint64_t len);
void model_resize(struct model *m, uint64_t size);
void model_zero(struct model *m, uint64_t off, uint64_t len, bool keep_size);
void model_collapse(struct model *m, uint64_t off, uint64_t len);
void model_insert(struct model *m, uint64_t off, uint64_t len);
/* first byte at or after off that is not zero, or the size */
uint64_t model_next_data(const struct model *m, uint64_t off);
uint64_t pick_len(struct rng *r, uint64_t max);
uint64_t pick_off(struct rng *r, const struct model *m, uint64_t limit);
const uint8_t *pick_data(struct shared *sh, struct rng *r, uint64_t len);

/* report.c */
extern const char *const kind_name[K_COUNT];
double now(void);
struct record *note(struct proc *p, enum kind kind, unsigned file, uint64_t off, uint64_t len, uint64_t arg);
/* Report, dump every process's ring, and end this process with status 1. */
_Noreturn void fail(struct proc *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void fail_bytes(struct proc *p, enum kind kind, unsigned file, uint64_t off, const uint8_t *got,
			  const uint8_t *want, uint64_t len);
void rings_dump(struct shared *sh, const char *why);
uint64_t counts_checked(const struct shared *sh);
void summary_print(const struct shared *sh, double elapsed, bool clean);

/* Fail unless @got equals @want. */
void check_bytes(struct proc *p, enum kind kind, unsigned file, uint64_t off, const uint8_t *got,
		 const uint8_t *want, uint64_t len);

/* slot.c: a process's descriptors and mappings */
char *proc_path(const struct proc *p, const char *name, char *path, size_t size);
void slot_open(struct proc *p, unsigned f, bool need_write, bool need_read);
void slot_close(struct proc *p, unsigned f);
void slot_map(struct proc *p, unsigned f, bool need_write);
void slot_unmap(struct proc *p, unsigned f);
/* Ask for the size, as a program does before it maps or copies a file that others change. */
void slot_size(struct proc *p, unsigned f);
/* Make the slot usable after what others did to the file. */
void slot_ready(struct proc *p, unsigned f);
/* Bring what was stored through mappings of the mount to BACKING. */
void slot_flush(struct proc *p, unsigned f);
/*
 * Before a write that makes the file reach @end. Where the kernel writes a file's last page back, stored to
 * through a mapping, while a write(2) adds to that page, Linux 6.18 clears what was added on its way to the
 * daemon, of any FUSE file system. So that page is written back before.
 */
void slot_before_growth(struct proc *p, unsigned f, uint64_t end);

/* ops_io.c, ops_map.c, ops_space.c: one operation each on file f; all expect slot_ready() */
void op_read(struct proc *p, unsigned f, bool vector);
void op_write(struct proc *p, unsigned f, bool vector);
void op_verify(struct proc *p, unsigned f);
void op_map_batch(struct proc *p, unsigned f);
void op_msync(struct proc *p, unsigned f);
void op_size(struct proc *p, unsigned f);
void op_truncate(struct proc *p, unsigned f);
void op_fallocate(struct proc *p, unsigned f, enum kind kind);
void op_seek(struct proc *p, unsigned f);
void op_copy(struct proc *p, unsigned f);
void op_fsync(struct proc *p, unsigned f);
/* Bookkeeping every change shares. */
void changed(struct proc *p, unsigned f);

/* serial.c, racing.c: what each process runs; return when the time or the operations are used up */
void serial_run(struct proc *p);
size_t race_size(void);
void racing_run(struct proc *p);
void futex_wait(_Atomic uint32_t *word, uint32_t value, unsigned ms);
void futex_wake(_Atomic uint32_t *word);

#endif
