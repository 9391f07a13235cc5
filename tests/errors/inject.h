/* SPDX-License-Identifier: MIT */
#ifndef ERRORS_INJECT_H
#define ERRORS_INJECT_H

/*
 * What the test and the preloaded injector share, by a mapped file. model.py names the fields in the same
 * order. Counted are the calls of the kind that is to fail, from the moment when it was armed.
 */

#include <stdint.h>

enum inject_kind { INJECT_NONE, INJECT_MSYNC, INJECT_PWRITE, INJECT_FDATASYNC, INJECT_FSYNC, INJECT_KINDS };

#define INJECT_RING 256

struct inject {
	_Atomic uint32_t kind;	    /* written last by the test: it arms */
	_Atomic uint32_t number;    /* of the call that fails; 0: each does, by chance */
	_Atomic uint32_t error;	    /* errno */
	_Atomic uint32_t chance;    /* with number 0: of so many calls one fails */
	_Atomic uint32_t count;	    /* calls since it was armed */
	_Atomic uint32_t failed;    /* calls made to fail since then */
	_Atomic uint32_t skip_real; /* syncs that do not fail are not made either */
	_Atomic uint32_t padding;
	_Atomic uint64_t inodes[INJECT_RING]; /* of the files of the calls that failed */
	_Atomic uint64_t calls[INJECT_KINDS]; /* of each kind, ever */
	_Atomic uint64_t running;	      /* calls that sync, right now */
};

#endif
