/* SPDX-License-Identifier: MIT */
#include "layer/pages.h"

#include <errno.h>
#include <roaring/roaring.h>
#include <stdlib.h>

#include "util.h"

void pages_fini(struct pages *pages)
{
	if (pages->data != NULL)
		roaring_bitmap_free(pages->data);
	if (pages->zero != NULL)
		roaring_bitmap_free(pages->zero);
	pages->data = pages->zero = NULL;
}

int pages_copy(const struct pages *pages, struct pages *ret_copy)
{
	struct pages copy = {.clean = pages->clean};

	if (pages->data != NULL)
		copy.data = roaring_bitmap_copy(pages->data);
	if (pages->zero != NULL)
		copy.zero = roaring_bitmap_copy(pages->zero);
	if ((copy.data == NULL) != (pages->data == NULL) || (copy.zero == NULL) != (pages->zero == NULL)) {
		pages_fini(&copy);
		return -ENOMEM;
	}
	*ret_copy = copy;
	return 0;
}

static uint64_t pages_of(uint64_t bytes)
{
	return (bytes + LAYER_PAGE - 1) / LAYER_PAGE;
}

/* Pages looked at one by one before a run counts as a long one. */
#define STEPS_MAX 256

/* Where the run that @page is in ends, at most @end: by halves, as a run may have 2^32 pages. */
static uint64_t run_end(const roaring_bitmap_t *set, uint64_t page, uint64_t end)
{
	uint64_t in = page + 1, out = end + 1;

	while (out - in > 1) {
		uint64_t middle = in + (out - in) / 2;

		if (roaring_bitmap_contains_range(set, in, middle))
			in = middle;
		else
			out = middle;
	}
	return in;
}

/*
 * From which page on the answer to "is it in the set?" is another than for @page, at most @end; what it is for
 * @page comes back too.
 */
static uint64_t next_change(const roaring_bitmap_t *set, uint64_t page, uint64_t end, bool *ret_in)
{
	roaring_uint32_iterator_t at;
	uint64_t next = page;

	*ret_in = false;
	if (set == NULL)
		return end;
	roaring_init_iterator(set, &at);
	if (!roaring_move_uint32_iterator_equalorlarger(&at, (uint32_t)page))
		return end;
	if (at.current_value != page)
		return MIN(at.current_value, end);
	*ret_in = true;
	while (next < end && at.has_value && at.current_value == next) {
		if (next - page == STEPS_MAX)
			return run_end(set, next, end);
		next++;
		roaring_advance_uint32_iterator(&at);
	}
	return next;
}

uint64_t pages_run(const struct pages *pages, uint64_t offset, uint64_t end, enum page_kind *ret_kind)
{
	uint64_t page = offset / LAYER_PAGE, last = pages_of(end), next, other;
	bool in;

	next = next_change(pages->data, page, last, &in);
	if (in) {
		*ret_kind = PAGES_DATA;
		return MIN(next * LAYER_PAGE, end);
	}
	*ret_kind = PAGES_ZERO;
	if (offset >= pages->clean)
		return MIN(next * LAYER_PAGE, end);
	other = next_change(pages->zero, page, next, &in);
	if (in)
		return MIN(other * LAYER_PAGE, end);
	*ret_kind = PAGES_CLEAN;
	return MIN(MIN(other * LAYER_PAGE, end), pages->clean);
}

uint64_t pages_missing(const struct pages *pages, uint64_t first, uint64_t end)
{
	uint64_t there = pages->data == NULL ? 0 : roaring_bitmap_range_cardinality(pages->data, first, end);

	return end - first - there;
}

static void add(roaring_bitmap_t **set, uint64_t first, uint64_t end)
{
	if (first >= end)
		return;
	if (*set == NULL)
		*set = roaring_bitmap_create();
	if (end - first == 1)
		roaring_bitmap_add(*set, (uint32_t)first);
	else
		roaring_bitmap_add_range_closed(*set, (uint32_t)first, (uint32_t)(end - 1));
}

/* Returns how many went. */
static uint64_t drop(roaring_bitmap_t **set, uint64_t first, uint64_t end)
{
	uint64_t count;

	if (*set == NULL || first >= end)
		return 0;
	count = roaring_bitmap_range_cardinality(*set, first, end);
	if (count == 0)
		return 0;
	roaring_bitmap_remove_range_closed(*set, (uint32_t)first, (uint32_t)(end - 1));
	if (roaring_bitmap_is_empty(*set)) {
		roaring_bitmap_free(*set);
		*set = NULL;
	}
	return count;
}

void pages_set_data(struct pages *pages, uint64_t first, uint64_t end)
{
	add(&pages->data, first, end);
	drop(&pages->zero, first, end);
}

uint64_t pages_set_zero(struct pages *pages, uint64_t first, uint64_t end)
{
	uint64_t went = drop(&pages->data, first, end);

	add(&pages->zero, first, MIN(end, pages_of(pages->clean)));
	return went;
}

uint64_t pages_cut(struct pages *pages, uint64_t size)
{
	uint64_t first = pages_of(size), went = drop(&pages->data, first, UINT64_C(1) << 32);

	drop(&pages->zero, first, UINT64_C(1) << 32);
	pages->clean = MIN(pages->clean, size);
	return went;
}

uint64_t pages_data(const struct pages *pages)
{
	return pages->data == NULL ? 0 : roaring_bitmap_get_cardinality(pages->data);
}

uint64_t pages_clean(const struct pages *pages)
{
	uint64_t end = pages_of(pages->clean), noted = 0;

	if (pages->data != NULL)
		noted += roaring_bitmap_range_cardinality(pages->data, 0, end);
	if (pages->zero != NULL)
		noted += roaring_bitmap_range_cardinality(pages->zero, 0, end);
	return end - noted;
}

void *pages_pack(roaring_bitmap_t *set, size_t *ret_size)
{
	void *packed;

	*ret_size = 0;
	if (set == NULL)
		return NULL;
	roaring_bitmap_run_optimize(set);
	packed = malloc(roaring_bitmap_portable_size_in_bytes(set));
	if (packed != NULL)
		*ret_size = roaring_bitmap_portable_serialize(set, packed);
	return packed;
}

int pages_unpack(const void *packed, size_t size, roaring_bitmap_t **ret_set)
{
	roaring_bitmap_t *set = NULL;

	if (size > 0) {
		set = roaring_bitmap_portable_deserialize_safe(packed, size);
		if (set == NULL)
			return -EINVAL;
	}
	*ret_set = set;
	return 0;
}
