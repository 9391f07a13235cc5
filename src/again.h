/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_AGAIN_H
#define MEMMAPFS_AGAIN_H

/*
 * What has to be looked at again a little later: an answer that was on its way when the kernel was told to
 * forget may still make it believe the old state. Knows numbers and times only.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AGAIN_SLOTS 4096
/* After an event, in milliseconds. */
#define AGAIN_SOON_MS 50
#define AGAIN_LATE_MS 1000

struct again {
	size_t count;
	bool all; /* there was no room: everything is due at all_due_ms */
	uint64_t all_due_ms;
	struct again_slot {
		uint64_t id; /* 0: free */
		uint64_t due_ms;
		bool late; /* the second look is next, and the last */
	} slots[AGAIN_SLOTS];
};

/** again_note() - something happened to @id (not 0) at @now_ms: look at it soon, and once more late */
void again_note(struct again *again, uint64_t id, uint64_t now_ms);

/** again_wait_ms() - how long until something is due, or -1 */
int again_wait_ms(const struct again *again, uint64_t now_ms);

/**
 * again_take() - the next id that is due
 *
 * Return: 0 when there is none. With @ret_all set, everything is, and nothing is noted any more.
 */
uint64_t again_take(struct again *again, uint64_t now_ms, bool *ret_all);

#endif
