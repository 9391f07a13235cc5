/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_IDS_H
#define MEMMAPFS_LAYER_IDS_H

/* A set of ids that remembers in which order they came: a list of work that takes nothing twice. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ids {
	uint64_t *list; /* in order; valid until the next ids_add() */
	size_t count;
	size_t *slots; /* index into list + 1, by hash; 0: free */
	size_t size;   /* of slots, a power of two, at least twice the count */
};

/** ids_add() - Return: 1 for a new one, 0 for one that was there, -ENOMEM. */
int ids_add(struct ids *ids, uint64_t id);

bool ids_has(const struct ids *ids, uint64_t id);

/** ids_fini() - also as CLEANUP(); a zeroed set is an empty one */
void ids_fini(struct ids *ids);

#endif
