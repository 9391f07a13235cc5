/* SPDX-License-Identifier: MIT */
/*
 * race.h - what the rounds of the racing mode share
 *
 * A round is a fresh file that all three processes work on at once for a fraction of a second, then flush,
 * then check from end to end. Knows nothing of the serial mode's model.
 */
#ifndef RACE_H
#define RACE_H

#include "torture.h"

#define RACE_FILE (MAX_FILES - 1) /* its place among the models: only the name is used */
#define MAX_STRIPES 1024

enum stripe_kind {
	STRIPE_WRITE,  /* any bytes of a page, by pwrite only */
	STRIPE_MAPPED, /* whole pages, stored to through mappings, also by pwrite where that is coherent */
	STRIPE_PUNCH,  /* whole pages, written and punched in turns: may be zero at any time */
};

/*
 * Owned by one process; only that one writes. The owner numbers its writes, and every fourth byte holds
 * the number's lowest byte, so a reader can tell what it may see: nothing older than what was complete
 * when it began, nothing newer than what was begun when it ended.
 */
struct stripe {
	uint32_t off, len;
	uint8_t owner;
	uint8_t kind;
	bool punched;		  /* the owner's own note */
	_Atomic uint32_t started; /* number of the newest write begun */
	_Atomic uint32_t done;	  /* complete for who shares the writer's page cache */
	_Atomic uint32_t shown;	  /* complete for the other side */
};

struct race {
	_Atomic uint32_t arrived, phase; /* the barrier */
	_Atomic uint32_t over;		 /* this round is */
	double until;
	unsigned round; /* its kind; set by process 0 between barriers, as is all below */
	bool back_writes;
	uint32_t size;

	unsigned count;
	struct stripe stripe[MAX_STRIPES];

	unsigned cutter;	   /* the process that truncates */
	bool writers;		   /* the others write meanwhile, so sizes are anybody's guess */
	uint32_t keep;		   /* bytes that are never cut off */
	_Atomic uint32_t epoch;	   /* odd while the cutter changes something */
	_Atomic uint32_t cur_size; /* [0, data_end) holds data, [data_end, cur_size) zeros */
	_Atomic uint32_t data_end;

	_Atomic uint32_t appended[NPROC]; /* bytes each process appended */
};

/* One process's hold on the round's file. */
struct racer {
	struct proc *p;
	struct race *race;
	struct rng rng;
	char path[512];
	int fd;
	int fd_direct; /* -1 where O_DIRECT does not work */
	int fd_append;
	uint8_t *map; /* the whole file, shared and writable; NULL where that does not work */
};

void racer_open(struct racer *r);
void racer_close(struct racer *r);
void racer_remap(struct racer *r);
/* Copy that survives SIGBUS, which the end of a mapped file raises natively too: false then. */
bool guarded_copy(void *to, const void *from, size_t len);
_Noreturn void race_fail(struct racer *r, const char *what, uint32_t off, uint32_t len, const uint8_t *got,
			 uint32_t bad, const char *why);

/* The kinds of rounds: process 0 makes the file, everybody works on it, everybody checks it at the end. */
struct round {
	const char *name;
	unsigned share; /* of 16 */
	void (*layout)(struct racer *r);
	void (*step)(struct racer *r);
	void (*verify)(struct racer *r);
};

void stripes_layout(struct racer *r);
void stripes_step(struct racer *r);
void stripes_verify(struct racer *r);

void truncate_layout(struct racer *r);
void truncate_step(struct racer *r);
void truncate_verify(struct racer *r);

void append_layout(struct racer *r);
void append_step(struct racer *r);
void append_verify(struct racer *r);

#endif
