/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_MAPPING_EXTENTS_H
#define MEMMAPFS_MAPPING_EXTENTS_H

/*
 * An exact set of byte ranges: ascending, none empty, none touching the next. For what must not cover more
 * than was asked (locked pages); dirty.h keeps what may, in constant memory. Knows no file and no window.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mapping/dirty.h"

struct extent_list {
	size_t count;
	size_t capacity;
	struct extent *extents;
};

/**
 * extents_add() - put [@start, @end) into the set
 * @list: zeroed or used before; the caller serializes
 *
 * Return: 0, or -ENOMEM with the set as it was.
 */
int extents_add(struct extent_list *list, uint64_t start, uint64_t end);

/** extents_remove() - take [@start, @end) out of the set. Return: 0, or -ENOMEM with the set as it was. */
int extents_remove(struct extent_list *list, uint64_t start, uint64_t end);

/**
 * extents_next() - the first part of the set at or behind @from, cut to end before @end
 *
 * Return: false when there is none.
 */
bool extents_next(const struct extent_list *list, uint64_t from, uint64_t end, struct extent *ret_extent);

/** extents_fini() - release the memory; the set is empty and can be used again */
void extents_fini(struct extent_list *list);

#endif
