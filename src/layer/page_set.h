/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_PAGE_SET_H
#define MEMMAPFS_LAYER_PAGE_SET_H

/*
 * A set of page numbers below 2^32. Most files of a layer are small and have been written whole, which is one run
 * of pages: that takes one word. What is more is a compressed bitmap.
 *
 * Takes no lock: the owner's. Ranges are [@first, @end), @end at most 2^32.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zeros: the empty set. One has one owner: to copy the struct is to hand the set over. */
struct page_set {
	uint64_t word; /* 0; a run, if odd; else where the bitmap is */
};

/** page_set_fini() - free it; the set is empty then */
void page_set_fini(struct page_set *set);

/** page_set_copy() - the same set once more. Return: 0 or -ENOMEM. */
int page_set_copy(const struct page_set *set, struct page_set *ret_copy);

/** page_set_is_empty() - are there no pages? */
static inline bool page_set_is_empty(const struct page_set *set)
{
	return set->word == 0;
}

/**
 * page_set_run() - from which page on the answer to "is it in the set?" is another than for @page, at most @end
 * @ret_in: what it is for @page
 */
uint64_t page_set_run(const struct page_set *set, uint64_t page, uint64_t end, bool *ret_in);

/** page_set_count() - how many pages of a range are in the set */
uint64_t page_set_count(const struct page_set *set, uint64_t first, uint64_t end);

/**
 * page_set_room() - bytes that putting a range in or taking it out may need, at most
 *
 * The library that page sets are made of does not see that it got no memory. So whoever changes one asks
 * page_set_reserve() first, for all sets that are to be changed together.
 */
size_t page_set_room(const struct page_set *set, uint64_t first, uint64_t end);

/**
 * page_set_reserve() - are so many bytes to be had? They are with what the calling thread is given next.
 *
 * Return: 0 or -ENOMEM.
 */
int page_set_reserve(size_t bytes);

/** page_set_add() - put a range in; an empty range is none */
void page_set_add(struct page_set *set, uint64_t first, uint64_t end);

/** page_set_remove() - take a range out. Return: how many pages went. */
uint64_t page_set_remove(struct page_set *set, uint64_t first, uint64_t end);

/**
 * page_set_pack() - the set, put in order, in a portable form
 * @ret_packed: malloc'ed; NULL for an empty set
 * @ret_size:   of that, in bytes
 *
 * Return: 0 or -ENOMEM.
 */
int page_set_pack(struct page_set *set, void **ret_packed, size_t *ret_size);

/** page_set_unpack() - what page_set_pack() made. Return: 0, or -EINVAL for anything else. */
int page_set_unpack(const void *packed, size_t size, struct page_set *ret_set);

#endif
