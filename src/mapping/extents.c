/* SPDX-License-Identifier: MIT */
#include "mapping/extents.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

/* The first extent that ends at or behind @offset. */
static size_t find(const struct extent_list *list, uint64_t offset)
{
	size_t low = 0, high = list->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (list->extents[middle].end < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Puts @count extents in the place of those from @from to before @to. */
static int replace(struct extent_list *list, size_t from, size_t to, const struct extent *with, size_t count)
{
	size_t wanted = list->count - (to - from) + count;

	if (wanted > list->capacity) {
		size_t capacity = MAX(wanted, MAX(list->capacity * 2, (size_t)4));
		struct extent *larger = realloc(list->extents, capacity * sizeof(*larger));

		if (larger == NULL)
			return -ENOMEM;
		list->extents = larger;
		list->capacity = capacity;
	}
	if (list->count > to)
		memmove(&list->extents[from + count], &list->extents[to],
			(list->count - to) * sizeof(list->extents[0]));
	for (size_t i = 0; i < count; i++)
		list->extents[from + i] = with[i];
	list->count = wanted;
	return 0;
}

int extents_add(struct extent_list *list, uint64_t start, uint64_t end)
{
	struct extent joined = {start, end};
	size_t from = find(list, start), to = from;

	if (start >= end)
		return 0;
	/* Those that touch it become one with it. */
	for (; to < list->count && list->extents[to].start <= end; to++) {
		joined.start = MIN(joined.start, list->extents[to].start);
		joined.end = MAX(joined.end, list->extents[to].end);
	}
	return replace(list, from, to, &joined, 1);
}

int extents_remove(struct extent_list *list, uint64_t start, uint64_t end)
{
	struct extent left[2];
	size_t from = find(list, start), to = from, count = 0;

	if (start >= end)
		return 0;
	for (; to < list->count && list->extents[to].start < end; to++) {
		if (list->extents[to].start < start)
			left[count++] =
				(struct extent){list->extents[to].start, MIN(list->extents[to].end, start)};
		if (list->extents[to].end > end)
			left[count++] = (struct extent){end, list->extents[to].end};
	}
	return replace(list, from, to, left, count);
}

bool extents_next(const struct extent_list *list, uint64_t from, uint64_t end, struct extent *ret_extent)
{
	size_t at = find(list, from);

	/* One that ends just at @from touches it and has nothing of it. */
	if (at < list->count && list->extents[at].end == from)
		at++;
	if (at == list->count || from >= end || list->extents[at].start >= end)
		return false;
	ret_extent->start = MAX(list->extents[at].start, from);
	ret_extent->end = MIN(list->extents[at].end, end);
	return true;
}

void extents_fini(struct extent_list *list)
{
	free(list->extents);
	*list = (struct extent_list){0};
}
