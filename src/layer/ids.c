/* SPDX-License-Identifier: MIT */
#include "layer/ids.h"

#include <errno.h>
#include <stdlib.h>

#include "util.h"

#define SLOTS_MIN 64

/* Where the id is, or would be. */
static size_t slot_of(const struct ids *ids, uint64_t id)
{
	size_t at = (size_t)((id * UINT64_C(0x9E3779B97F4A7C15)) >> 20) & (ids->size - 1);

	while (ids->slots[at] != 0 && ids->list[ids->slots[at] - 1] != id)
		at = (at + 1) & (ids->size - 1);
	return at;
}

static int grow(struct ids *ids)
{
	struct ids grown = {.count = ids->count, .size = MAX(ids->size * 2, SLOTS_MIN)};

	grown.list = reallocarray(ids->list, grown.size / 2, sizeof(grown.list[0]));
	if (grown.list == NULL)
		return -ENOMEM;
	ids->list = grown.list;
	grown.slots = calloc(grown.size, sizeof(grown.slots[0]));
	if (grown.slots == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < grown.count; i++)
		grown.slots[slot_of(&grown, grown.list[i])] = i + 1;
	free(ids->slots);
	*ids = grown;
	return 0;
}

int ids_add(struct ids *ids, uint64_t id)
{
	size_t at;

	if (ids->count * 2 >= ids->size && grow(ids) < 0)
		return -ENOMEM;
	at = slot_of(ids, id);
	if (ids->slots[at] != 0)
		return 0;
	ids->list[ids->count] = id;
	ids->slots[at] = ++ids->count;
	return 1;
}

bool ids_has(const struct ids *ids, uint64_t id)
{
	return ids->size > 0 && ids->slots[slot_of(ids, id)] != 0;
}

void ids_fini(struct ids *ids)
{
	free(ids->list);
	free(ids->slots);
	*ids = (struct ids){0};
}
