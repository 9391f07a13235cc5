/* SPDX-License-Identifier: MIT */
#ifndef POWERCUT_RECORD_H
#define POWERCUT_RECORD_H

/*
 * What the writers write: units of 128 bytes that say what they are. A unit names its run, file, place and
 * the number of the write that put it there; its payload follows from these, so that whoever finds it can
 * tell every byte of it. evidence.py builds the same bytes.
 */

#include <stdint.h>

#define UNIT 128
#define UNIT_MAGIC 0x54554350 /* "PCUT" */

struct unit {
	uint32_t magic;
	uint32_t run;
	uint32_t file;
	uint32_t sequence;
	uint64_t offset; /* of this unit in its file */
	uint64_t word;
	uint64_t payload[(UNIT - 32) / 8]; /* word, over and over */
};

static inline uint64_t unit_word(uint32_t run, uint32_t file, uint32_t sequence, uint64_t offset)
{
	uint64_t word = ((uint64_t)run << 32 | file) ^ ((uint64_t)sequence << 40) ^ (offset / UNIT);

	word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ULL;
	word = (word ^ (word >> 27)) * 0x94d049bb133111ebULL;
	return word ^ (word >> 31);
}

#endif
