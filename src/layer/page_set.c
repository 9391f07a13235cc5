/* SPDX-License-Identifier: MIT */
#include "layer/page_set.h"

#include <errno.h>
#include <roaring/roaring.h>
#include <stdlib.h>

#include "util.h"

/* Pages looked at one by one before a run counts as a long one. */
#define STEPS_MAX 256

/* Pages that a container of CRoaring's stands for, its bytes at most, and those of one that is a single run. */
#define CONTAINER_PAGES (UINT64_C(1) << 16)
#define CONTAINER_BYTES 8192
#define CONTAINER_RUN_BYTES 128
/* What its list of containers has of each: a pointer, a key and a type. */
#define CONTAINER_ENTRY_BYTES 11

/* A run in a word: from the highest bit on its first page, its pages less one, and a 1. */
#define RUN_MAX (UINT64_C(1) << 31)

struct run {
	uint64_t first, end;
};

static bool is_run(const struct page_set *set)
{
	return set->word & 1;
}

static struct run get_run(const struct page_set *set)
{
	uint64_t first = set->word >> 32;

	return (struct run){first, first + (uint32_t)set->word / 2 + 1};
}

static roaring_bitmap_t *bitmap(const struct page_set *set)
{
	return (roaring_bitmap_t *)(uintptr_t)set->word;
}

static void set_bitmap(struct page_set *set, roaring_bitmap_t *bitmap)
{
	set->word = (uintptr_t)bitmap;
}

/* Returns false where the run is too long for a word. Of no pages it is no set at all. */
static bool set_run(struct page_set *set, uint64_t first, uint64_t end)
{
	if (end > first && end - first > RUN_MAX)
		return false;
	set->word = end > first ? first << 32 | (end - first - 1) << 1 | 1 : 0;
	return true;
}

static roaring_bitmap_t *bitmap_of_run(const struct page_set *set)
{
	struct run run = get_run(set);

	return roaring_bitmap_from_range(run.first, run.end, 1);
}

static void expand(struct page_set *set)
{
	if (is_run(set))
		set_bitmap(set, bitmap_of_run(set));
	else if (page_set_is_empty(set))
		set_bitmap(set, roaring_bitmap_create());
}

/* How many containers a range of pages lies in. */
static uint64_t containers_of(uint64_t first, uint64_t end)
{
	return end > first ? (end - 1) / CONTAINER_PAGES - first / CONTAINER_PAGES + 1 : 0;
}

static uint64_t container_count(const struct page_set *set)
{
	struct run run;

	if (page_set_is_empty(set))
		return 0;
	if (!is_run(set))
		return (uint64_t)bitmap(set)->high_low_container.size;
	run = get_run(set);
	return containers_of(run.first, run.end);
}

size_t page_set_room(const struct page_set *set, uint64_t first, uint64_t end)
{
	uint64_t has = container_count(set), touched = containers_of(first, end);

	/* The list grows to twice its size; a run becomes containers; the first and the last are converted, twice. */
	return (has + touched) * 2 * CONTAINER_ENTRY_BYTES +
	       (is_run(set) ? has + touched : touched) * CONTAINER_RUN_BYTES + 4 * CONTAINER_BYTES;
}

int page_set_reserve(size_t bytes)
{
	/* Not for the compiler to leave out. */
	void *volatile block = malloc(bytes);

	if (block == NULL)
		return -ENOMEM;
	free(block);
	return 0;
}

void page_set_fini(struct page_set *set)
{
	if (!page_set_is_empty(set) && !is_run(set))
		roaring_bitmap_free(bitmap(set));
	set->word = 0;
}

int page_set_copy(const struct page_set *set, struct page_set *ret_copy)
{
	roaring_bitmap_t *copy;

	if (page_set_is_empty(set) || is_run(set)) {
		*ret_copy = *set;
		return 0;
	}
	copy = page_set_reserve(2 * roaring_bitmap_portable_size_in_bytes(bitmap(set)) +
				container_count(set) * CONTAINER_RUN_BYTES) == 0
		       ? roaring_bitmap_copy(bitmap(set))
		       : NULL;
	if (copy == NULL)
		return -ENOMEM;
	set_bitmap(ret_copy, copy);
	return 0;
}

/* Where the run that @page is in ends, at most @end: by halves, as a run may have 2^32 pages. */
static uint64_t run_end(const roaring_bitmap_t *pages, uint64_t page, uint64_t end)
{
	uint64_t in = page + 1, out = end + 1;

	while (out - in > 1) {
		uint64_t middle = in + (out - in) / 2;

		if (roaring_bitmap_contains_range(pages, in, middle))
			in = middle;
		else
			out = middle;
	}
	return in;
}

static uint64_t bitmap_run(const roaring_bitmap_t *pages, uint64_t page, uint64_t end, bool *ret_in)
{
	roaring_uint32_iterator_t at;
	uint64_t next = page;

	*ret_in = false;
	roaring_init_iterator(pages, &at);
	if (!roaring_move_uint32_iterator_equalorlarger(&at, (uint32_t)page))
		return end;
	if (at.current_value != page)
		return MIN(at.current_value, end);
	*ret_in = true;
	while (next < end && at.has_value && at.current_value == next) {
		if (next - page == STEPS_MAX)
			return run_end(pages, next, end);
		next++;
		roaring_advance_uint32_iterator(&at);
	}
	return next;
}

uint64_t page_set_run(const struct page_set *set, uint64_t page, uint64_t end, bool *ret_in)
{
	struct run run;

	*ret_in = false;
	if (page_set_is_empty(set))
		return end;
	if (!is_run(set))
		return bitmap_run(bitmap(set), page, end, ret_in);
	run = get_run(set);
	*ret_in = page >= run.first && page < run.end;
	if (page >= run.end)
		return end;
	return MIN(*ret_in ? run.end : run.first, end);
}

uint64_t page_set_count(const struct page_set *set, uint64_t first, uint64_t end)
{
	struct run run;

	if (page_set_is_empty(set) || first >= end)
		return 0;
	if (!is_run(set))
		return roaring_bitmap_range_cardinality(bitmap(set), first, end);
	run = get_run(set);
	first = MAX(first, run.first);
	end = MIN(end, run.end);
	return end > first ? end - first : 0;
}

void page_set_add(struct page_set *set, uint64_t first, uint64_t end)
{
	struct run run = {first, end};

	if (first >= end)
		return;
	if (is_run(set))
		run = get_run(set);
	/* What touches a run makes it longer. */
	if ((page_set_is_empty(set) || is_run(set)) && first <= run.end && end >= run.first &&
	    set_run(set, MIN(first, run.first), MAX(end, run.end)))
		return;
	expand(set);
	if (end - first == 1)
		roaring_bitmap_add(bitmap(set), (uint32_t)first);
	else
		roaring_bitmap_add_range_closed(bitmap(set), (uint32_t)first, (uint32_t)(end - 1));
}

uint64_t page_set_remove(struct page_set *set, uint64_t first, uint64_t end)
{
	uint64_t count = page_set_count(set, first, end);
	struct run run;

	if (count == 0)
		return 0;
	if (is_run(set)) {
		run = get_run(set);
		if (first <= run.first || end >= run.end) {
			if (first <= run.first)
				set_run(set, MIN(end, run.end), run.end);
			else
				set_run(set, run.first, first);
			return count;
		}
	}
	expand(set);
	roaring_bitmap_remove_range_closed(bitmap(set), (uint32_t)first, (uint32_t)(end - 1));
	if (roaring_bitmap_is_empty(bitmap(set)))
		page_set_fini(set);
	return count;
}

int page_set_pack(struct page_set *set, void **ret_packed, size_t *ret_size)
{
	roaring_bitmap_t *pages;
	void *packed = NULL;

	*ret_packed = NULL;
	*ret_size = 0;
	if (page_set_is_empty(set))
		return 0;
	/* Of a run all containers are made, of others one at a time is converted. */
	if (page_set_reserve(page_set_room(set, 0, 1)) < 0)
		return -ENOMEM;
	pages = is_run(set) ? bitmap_of_run(set) : bitmap(set);
	if (pages != NULL) {
		roaring_bitmap_run_optimize(pages);
		packed = malloc(roaring_bitmap_portable_size_in_bytes(pages));
	}
	if (packed != NULL)
		*ret_size = roaring_bitmap_portable_serialize(pages, packed);
	if (is_run(set) && pages != NULL)
		roaring_bitmap_free(pages);
	*ret_packed = packed;
	return packed == NULL ? -ENOMEM : 0;
}

int page_set_unpack(const void *packed, size_t size, struct page_set *ret_set)
{
	struct page_set set = {0};
	roaring_bitmap_t *pages;
	uint64_t first, end;

	if (size > 0) {
		pages = roaring_bitmap_portable_deserialize_safe(packed, size);
		if (pages == NULL)
			return -EINVAL;
		first = roaring_bitmap_minimum(pages);
		end = (uint64_t)roaring_bitmap_maximum(pages) + 1;
		if (roaring_bitmap_is_empty(pages) ||
		    (roaring_bitmap_get_cardinality(pages) == end - first && set_run(&set, first, end)))
			roaring_bitmap_free(pages);
		else
			set_bitmap(&set, pages);
	}
	*ret_set = set;
	return 0;
}
