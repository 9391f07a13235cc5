/* SPDX-License-Identifier: MIT */
#include "layer/pages.h"

#include "util.h"

void pages_fini(struct pages *pages)
{
	page_set_fini(&pages->data);
	page_set_fini(&pages->zero);
}

int pages_copy(const struct pages *pages, struct pages *ret_copy)
{
	struct pages copy = {.clean = pages->clean};
	int result = page_set_copy(&pages->data, &copy.data);

	if (result == 0)
		result = page_set_copy(&pages->zero, &copy.zero);
	if (result == 0)
		*ret_copy = copy;
	else
		pages_fini(&copy);
	return result;
}

static uint64_t pages_of(uint64_t bytes)
{
	return (bytes + LAYER_PAGE - 1) / LAYER_PAGE;
}

uint64_t pages_run(const struct pages *pages, uint64_t offset, uint64_t end, enum page_kind *ret_kind)
{
	uint64_t page = offset / LAYER_PAGE, last = pages_of(end), next, other;
	bool in;

	next = page_set_run(&pages->data, page, last, &in);
	if (in) {
		*ret_kind = PAGES_DATA;
		return MIN(next * LAYER_PAGE, end);
	}
	*ret_kind = PAGES_ZERO;
	if (offset >= pages->clean)
		return MIN(next * LAYER_PAGE, end);
	other = page_set_run(&pages->zero, page, next, &in);
	if (in)
		return MIN(other * LAYER_PAGE, end);
	*ret_kind = PAGES_CLEAN;
	return MIN(MIN(other * LAYER_PAGE, end), pages->clean);
}

uint64_t pages_missing(const struct pages *pages, uint64_t first, uint64_t end)
{
	return end - first - page_set_count(&pages->data, first, end);
}

int pages_reserve(const struct pages *pages, uint64_t first, uint64_t end)
{
	return page_set_reserve(page_set_room(&pages->data, first, end) +
				page_set_room(&pages->zero, first, end));
}

void pages_set_data(struct pages *pages, uint64_t first, uint64_t end)
{
	page_set_add(&pages->data, first, end);
	page_set_remove(&pages->zero, first, end);
}

uint64_t pages_set_zero(struct pages *pages, uint64_t first, uint64_t end)
{
	uint64_t went = page_set_remove(&pages->data, first, end);

	page_set_add(&pages->zero, first, MIN(end, pages_of(pages->clean)));
	return went;
}

uint64_t pages_cut(struct pages *pages, uint64_t size)
{
	uint64_t first = pages_of(size), went = page_set_remove(&pages->data, first, UINT64_C(1) << 32);

	page_set_remove(&pages->zero, first, UINT64_C(1) << 32);
	pages->clean = MIN(pages->clean, size);
	return went;
}

uint64_t pages_data(const struct pages *pages)
{
	return page_set_count(&pages->data, 0, UINT64_C(1) << 32);
}

uint64_t pages_clean(const struct pages *pages)
{
	uint64_t end = pages_of(pages->clean);

	return end - page_set_count(&pages->data, 0, end) - page_set_count(&pages->zero, 0, end);
}
