/* SPDX-License-Identifier: MIT */
#include "again.h"

#include <string.h>

#define PROBES 16

static size_t slot_of(uint64_t id)
{
	return (size_t)((id * UINT64_C(0x9E3779B97F4A7C15)) >> 32) % AGAIN_SLOTS;
}

void again_note(struct again *again, uint64_t id, uint64_t now_ms)
{
	struct again_slot *unused = NULL;

	for (size_t i = 0; i < PROBES; i++) {
		struct again_slot *slot = &again->slots[(slot_of(id) + i) % AGAIN_SLOTS];

		if (slot->id == id) {
			if (slot->late)
				slot->due_ms = now_ms + AGAIN_SOON_MS;
			slot->late = false;
			return;
		}
		if (slot->id == 0 && unused == NULL)
			unused = slot;
	}
	if (unused == NULL) {
		again->all = true;
		again->all_due_ms = now_ms + AGAIN_LATE_MS;
		return;
	}
	*unused = (struct again_slot){.id = id, .due_ms = now_ms + AGAIN_SOON_MS};
	again->count++;
}

int again_wait_ms(const struct again *again, uint64_t now_ms)
{
	uint64_t due = again->all ? again->all_due_ms : UINT64_MAX;

	for (size_t i = 0; again->count > 0 && i < AGAIN_SLOTS; i++) {
		if (again->slots[i].id != 0 && again->slots[i].due_ms < due)
			due = again->slots[i].due_ms;
	}
	if (due == UINT64_MAX)
		return -1;
	return due <= now_ms ? 0 : (int)(due - now_ms);
}

uint64_t again_take(struct again *again, uint64_t now_ms, bool *ret_all)
{
	*ret_all = again->all && again->all_due_ms <= now_ms;
	if (*ret_all) {
		memset(again, 0, sizeof(*again));
		return 0;
	}
	for (size_t i = 0; again->count > 0 && i < AGAIN_SLOTS; i++) {
		struct again_slot *slot = &again->slots[i];
		uint64_t id = slot->id;

		if (id == 0 || slot->due_ms > now_ms)
			continue;
		if (slot->late) {
			slot->id = 0;
			again->count--;
		} else {
			slot->late = true;
			slot->due_ms = now_ms + AGAIN_LATE_MS;
		}
		return id;
	}
	return 0;
}
