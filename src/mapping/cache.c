/* SPDX-License-Identifier: MIT */
/*
 * Happy path: mapping_pin() probes the mapping's table, finds a living window that covers the offset,
 * adds a pin to its state word and checks that it is still the window it looked for.
 *
 * Otherwise mapping_pin_slow() takes the mapping's lock, looks again (another thread may have mapped
 * it meanwhile), makes room in the cache, maps and publishes. A window that is too short, because the
 * file has grown, or mapped from the wrong kind of descriptor is killed and replaced: it stays mapped
 * for those who have pinned it and goes with its last pin.
 */
#include "mapping/cache.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "mapping/advice.h"
#include "mapping/guard.h"
#include "mapping/lock.h"
#include "mapping/windows.h"

#define TABLE_SLOTS_MIN 4

/* Open addressing. A slot is a hint: it may name a window that has died or serves another mapping. */
struct window_table {
	struct window_table *retired; /* smaller ones that a concurrent probe may still be reading */
	size_t mask;
	size_t used; /* slots that were ever set; protected by mapping->lock */
	_Atomic(struct window *) slot[];
};

int mapping_init(struct mapping *mapping, struct window_cache *cache)
{
	memset(mapping, 0, sizeof(*mapping));
	mapping->cache = cache;
	return -pthread_mutex_init(&mapping->lock, NULL);
}

void mapping_fini(struct mapping *mapping)
{
	struct window_table *table;

	locks_clear_locked(mapping);
	mapping_drop(mapping, false);
	table = atomic_load(&mapping->table);
	while (table != NULL) {
		struct window_table *retired = table->retired;

		free(table);
		table = retired;
	}
	free(mapping->dirty);
	pthread_mutex_destroy(&mapping->lock);
}

static size_t slot_of(const struct window_table *table, uint64_t index)
{
	return (size_t)((index * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & table->mask;
}

static bool window_is(const struct window *window, const struct mapping *mapping, uint64_t index)
{
	return atomic_load_explicit(&window->owner, memory_order_relaxed) == mapping &&
	       atomic_load_explicit(&window->index, memory_order_relaxed) == index;
}

/* Returns the living window of @index with a pin on it, or NULL. */
static struct window *table_pin(struct mapping *mapping, uint64_t index)
{
	struct window_table *table = atomic_load_explicit(&mapping->table, memory_order_acquire);
	size_t slot;

	if (table == NULL)
		return NULL;
	slot = slot_of(table, index);
	for (size_t i = 0; i <= table->mask; i++, slot = (slot + 1) & table->mask) {
		struct window *window = atomic_load_explicit(&table->slot[slot], memory_order_acquire);

		if (window == NULL)
			return NULL;
		if (!window_is(window, mapping, index) || !window_try_pin(window))
			continue;
		/* It lived; was it, and not a successor in the same memory, the one? */
		if (window_is(window, mapping, index))
			return window;
		window_unpin(&(struct window_pin){.window = window});
	}
	return NULL;
}

/* Does the window do for this request? @offset lies in its index's span. */
static bool window_serves(const struct window *window, const struct window_source *source, uint64_t offset)
{
	return offset - window->offset < window->length && (!source->shared || window->shared) &&
	       (source->quiet || !atomic_load_explicit(&window->fresh, memory_order_relaxed)) &&
	       (!source->store || atomic_load_explicit(&window->storable, memory_order_acquire)) &&
	       (!source->direct || window->sync_tried);
}

void window_count_inside(struct window *window, uint64_t size)
{
	uint64_t inside = size <= window->offset ? 0 : MIN(size - window->offset, window->length);
	uint64_t before = atomic_exchange_explicit(&window->inside, inside, memory_order_relaxed);

	atomic_fetch_add_explicit(&window->cache->inside, (int64_t)(inside - before), memory_order_relaxed);
}

static void pin_bytes(struct window *window, const struct window_source *source, uint64_t offset,
		      size_t length, struct window_pin *ret_pin)
{
	size_t skip = (size_t)(offset - window->offset);
	uint64_t inside = atomic_load_explicit(&window->inside, memory_order_relaxed);

	if (source->size > window->offset + inside && inside < window->length) {
		window_count_inside(window, source->size);
		if (mapping_wants_locks(atomic_load(&window->owner)))
			paging_due(atomic_load(&window->owner));
	}
	if (atomic_load_explicit(&window->touched, memory_order_relaxed) != TOUCHED)
		atomic_store_explicit(&window->touched, TOUCHED, memory_order_relaxed);
	ret_pin->window = window;
	ret_pin->bytes = window->bytes + skip;
	ret_pin->length = MIN(length, window->length - skip);
	ret_pin->lasting = window->lasting;
}

/* Where the window that holds @offset starts and how far it should reach. */
static void window_span(const struct window_cache *cache, const struct window_source *source, uint64_t offset,
			uint64_t *ret_start, uint64_t *ret_length)
{
	uint64_t unit = cache->unit, end = (MAX(source->size, offset + 1) + unit - 1) & ~(unit - 1);
	bool growing = source->growing && unit == page_size();

	if (cache->window_size == UINT64_MAX) {
		*ret_start = 0;
		*ret_length = end;
		/* Room to grow into: an eighth, at least a mebibyte, so that remaps stay rare. */
		if (growing)
			*ret_length = page_round_up(end + MAX(end / 8, UINT64_C(1) << 20));
		return;
	}
	*ret_start = offset - offset % cache->window_size;
	*ret_length = cache->window_size;
	if (!growing && end < *ret_start + cache->window_size)
		*ret_length = end - *ret_start;
}

static bool is_living(const struct window *window, const struct mapping *mapping)
{
	return window != NULL && atomic_load_explicit(&window->owner, memory_order_relaxed) == mapping &&
	       !(atomic_load(&window->state) & WINDOW_DEAD);
}

/* The slot that a reader finds the window in; past the table where it finds none. */
static size_t first_slot(const struct window_table *table, const struct window *window)
{
	size_t slot = slot_of(table, atomic_load_explicit(&window->index, memory_order_relaxed));

	for (size_t i = 0; i <= table->mask; i++, slot = (slot + 1) & table->mask) {
		if (atomic_load_explicit(&table->slot[slot], memory_order_relaxed) == window)
			return slot;
	}
	return SIZE_MAX;
}

/* Puts a window into the first slot, from its own on, that names no other living one. */
static void table_put_locked(const struct mapping *mapping, struct window_table *table, struct window *window,
			     uint64_t index)
{
	for (size_t slot = slot_of(table, index);; slot = (slot + 1) & table->mask) {
		struct window *old = atomic_load_explicit(&table->slot[slot], memory_order_relaxed);

		/* A struct that came back to this mapping may still stand where its former life was. */
		if (old != window && is_living(old, mapping) && first_slot(table, old) == slot)
			continue;
		table->used += old == NULL;
		atomic_store_explicit(&table->slot[slot], window, memory_order_release);
		return;
	}
}

/* The living windows of a table, malloc'ed; *@ret_count of them. */
static int table_living_locked(const struct mapping *mapping, const struct window_table *table,
			       struct window ***ret_windows, size_t *ret_count)
{
	*ret_count = 0;
	*ret_windows = malloc((table == NULL ? 1 : table->mask + 1) * sizeof(**ret_windows));
	if (*ret_windows == NULL)
		return -ENOMEM;
	for (size_t i = 0; table != NULL && i <= table->mask; i++) {
		struct window *window = atomic_load_explicit(&table->slot[i], memory_order_relaxed);

		if (is_living(window, mapping) && first_slot(table, window) == i)
			(*ret_windows)[(*ret_count)++] = window;
	}
	return 0;
}

/*
 * Makes room by forgetting slots of the dead: in a larger table, or, where most slots were dead ones, in the
 * same. A reader that looks meanwhile finds less than there is, and comes back under the lock.
 */
static int table_rebuild_locked(struct mapping *mapping)
{
	CLEANUP(free_pointer) struct window **living = NULL;
	struct window_table *table = atomic_load_explicit(&mapping->table, memory_order_relaxed);
	size_t slots = TABLE_SLOTS_MIN, count;
	int result = table_living_locked(mapping, table, &living, &count);

	if (result < 0)
		return result;
	while (slots < 2 * (count + 1))
		slots *= 2;
	if (table == NULL || slots > table->mask + 1) {
		struct window_table *larger = calloc(1, sizeof(*larger) + slots * sizeof(larger->slot[0]));

		if (larger == NULL)
			return -ENOMEM;
		larger->mask = slots - 1;
		larger->retired = table;
		table = larger;
	} else {
		for (size_t i = 0; i <= table->mask; i++)
			atomic_store_explicit(&table->slot[i], NULL, memory_order_relaxed);
		table->used = 0;
	}
	for (size_t i = 0; i < count; i++)
		table_put_locked(mapping, table, living[i], atomic_load(&living[i]->index));
	atomic_store_explicit(&mapping->table, table, memory_order_release);
	return 0;
}

static int table_insert_locked(struct mapping *mapping, struct window *window, uint64_t index)
{
	struct window_table *table = atomic_load_explicit(&mapping->table, memory_order_relaxed);
	int result = 0;

	if (table == NULL || table->used * 4 >= (table->mask + 1) * 3)
		result = table_rebuild_locked(mapping);
	if (result == 0)
		table_put_locked(mapping, atomic_load_explicit(&mapping->table, memory_order_relaxed), window,
				 index);
	return result;
}

/*
 * mmap(2) of a reserved window, and once more for each window that can be let go when there is no room, and
 * without MAP_SYNC where that is refused.
 */
static int map_bytes(struct window *window, const struct window_source *source, uint64_t start, size_t length,
		     size_t huge, struct paging_refusal *ret_refusal)
{
	struct window_cache *cache = window->cache;
	int flags = source->direct && guard_can_persist() ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED;

	if (source->direct && flags == MAP_SHARED)
		*ret_refusal = (struct paging_refusal){EOPNOTSUPP, CALL_MMAP};
	for (;;) {
		void *bytes = window_mmap(cache, source, start, length, flags, huge);
		int error = errno;

		if (bytes != MAP_FAILED) {
			window->bytes = bytes;
			window->sync_tried = source->direct;
			window->lasting = flags != MAP_SHARED;
			return 0;
		}
		if (error == EOPNOTSUPP && flags != MAP_SHARED) {
			flags = MAP_SHARED;
			*ret_refusal = (struct paging_refusal){error, CALL_MMAP};
			continue;
		}
		if (mapping_errno_find(CALL_MMAP, error)->action != ACTION_EVICT || !window_evict(cache))
			return -error;
	}
}

static int window_map_locked(struct mapping *mapping, const struct window_source *source, uint64_t index,
			     uint64_t offset, struct window **ret_window, struct paging_refusal *ret_refusal)
{
	struct window_cache *cache = mapping->cache;
	size_t huge = advice_wants_huge(mapping) > 0 ? cache->huge_size : 0;
	struct window *window;
	uint64_t start, length;
	int result;

	window_span(cache, source, offset, &start, &length);
	if (length > SIZE_MAX / 2 || start + length > INT64_MAX)
		return -EOVERFLOW;
	result = window_reserve(cache, (size_t)length, &window);
	if (result < 0)
		return result;
	result = map_bytes(window, source, start, (size_t)length, huge, ret_refusal);
	if (result < 0) {
		window_unreserve(cache, (size_t)length, window);
		return result;
	}
	window->offset = start;
	window->length = (size_t)length;
	window->shared = source->writable;
	atomic_store_explicit(&window->inside, 0, memory_order_relaxed);
	atomic_store_explicit(&window->storable, source->store, memory_order_relaxed);
	atomic_store_explicit(&window->touched, 0, memory_order_relaxed);
	atomic_store_explicit(&window->fresh, true, memory_order_relaxed);
	atomic_store_explicit(&window->read_ahead, false, memory_order_relaxed);
	atomic_store_explicit(&window->locked, 0, memory_order_relaxed);
	result = table_insert_locked(mapping, window, index);
	if (result < 0) {
		munmap(window->bytes, window->length);
		window_unreserve(cache, (size_t)length, window);
		return result;
	}
	/* The table names it already; it is dead until its identity and the pin are in place. */
	window_publish(window, mapping, index);
	window_count_inside(window, source->size);
	paging_begin_locked(mapping, window, ret_refusal);
	*ret_window = window;
	return 0;
}

static int find_or_map_locked(struct mapping *mapping, const struct window_source *source, uint64_t index,
			      uint64_t offset, struct window **ret_window, struct paging_refusal *ret_refusal)
{
	struct window_source quiet = *source;
	struct window *window;

	quiet.quiet = true;
	window = table_pin(mapping, index);
	if (window != NULL && source->store && window->shared &&
	    !atomic_load_explicit(&window->storable, memory_order_relaxed) &&
	    mprotect(window->bytes, window->length, PROT_READ | PROT_WRITE) == 0)
		atomic_store_explicit(&window->storable, true, memory_order_release);
	if (window != NULL && window_serves(window, &quiet, offset)) {
		*ret_window = window;
		return 0;
	}
	if (window != NULL)
		window_replace(window);
	return window_map_locked(mapping, source, index, offset, ret_window, ret_refusal);
}

static int mapping_pin_slow(struct mapping *mapping, const struct window_source *source, uint64_t index,
			    uint64_t offset, struct window **ret_window)
{
	struct paging_refusal refusal = {0};
	int result;

	pthread_mutex_lock(&mapping->lock);
	result = find_or_map_locked(mapping, source, index, offset, ret_window, &refusal);
	pthread_mutex_unlock(&mapping->lock);
	paging_refused(mapping, &refusal);
	if (result == 0 && !source->quiet &&
	    atomic_exchange_explicit(&(*ret_window)->fresh, false, memory_order_relaxed))
		paging_settle(mapping, source, *ret_window);
	return result;
}

int mapping_pin(struct mapping *mapping, const struct window_source *source, uint64_t offset, size_t length,
		struct window_pin *ret_pin)
{
	struct window_cache *cache = mapping->cache;
	uint64_t index = cache->window_size == UINT64_MAX ? 0 : offset / cache->window_size;
	struct window *window = table_pin(mapping, index);
	int result;

	if (window != NULL && window_serves(window, source, offset)) {
		tally_add(&cache->tally, WINDOW_HITS, 1);
	} else {
		if (window != NULL)
			window_unpin(&(struct window_pin){.window = window});
		result = mapping_pin_slow(mapping, source, index, offset, &window);
		if (result < 0)
			return result;
		tally_add(&cache->tally, WINDOW_MISSES, 1);
	}
	pin_bytes(window, source, offset, length, ret_pin);
	return 0;
}

struct window *mapping_next_locked(struct mapping *mapping, size_t *slot)
{
	struct window_table *table = atomic_load_explicit(&mapping->table, memory_order_relaxed);

	for (; table != NULL && *slot <= table->mask; (*slot)++) {
		struct window *window = atomic_load_explicit(&table->slot[*slot], memory_order_acquire);

		if (window == NULL || atomic_load_explicit(&window->owner, memory_order_relaxed) != mapping ||
		    !window_try_pin(window))
			continue;
		/* A struct that came back to this mapping may still stand in the slot of its former life. */
		if (atomic_load_explicit(&window->owner, memory_order_relaxed) == mapping &&
		    first_slot(table, window) == *slot) {
			(*slot)++;
			return window;
		}
		window_unpin(&(struct window_pin){.window = window});
	}
	return NULL;
}

void mapping_drop(struct mapping *mapping, bool shared_only)
{
	struct window *window;
	bool unlocked = false;
	size_t slot = 0;

	pthread_mutex_lock(&mapping->lock);
	while ((window = mapping_next_locked(mapping, &slot)) != NULL) {
		if (shared_only && !window->shared) {
			window_unpin(&(struct window_pin){.window = window});
			continue;
		}
		unlocked |= atomic_load(&window->locked) > 0;
		window_replace(window);
	}
	pthread_mutex_unlock(&mapping->lock);
	/* What is to stay in memory is mapped and locked again. */
	if (unlocked && mapping_wants_locks(mapping))
		paging_due(mapping);
}

void mapping_resized(struct mapping *mapping, uint64_t size)
{
	struct window *window;
	size_t slot = 0;

	LOCK_SCOPE(&mapping->lock);
	while ((window = mapping_next_locked(mapping, &slot)) != NULL) {
		bool shrinks = size < window->offset + atomic_load(&window->inside);

		window_count_inside(window, size);
		if (shrinks && atomic_load(&window->locked) > 0)
			window_lock_locked(mapping, window, true);
		window_unpin(&(struct window_pin){.window = window});
	}
}

void mapping_usage(struct mapping *mapping, size_t *ret_windows, uint64_t *ret_inside)
{
	struct window *window;
	size_t slot = 0;

	*ret_windows = 0;
	*ret_inside = 0;
	LOCK_SCOPE(&mapping->lock);
	while ((window = mapping_next_locked(mapping, &slot)) != NULL) {
		*ret_windows += 1;
		*ret_inside += atomic_load_explicit(&window->inside, memory_order_relaxed);
		window_unpin(&(struct window_pin){.window = window});
	}
}
