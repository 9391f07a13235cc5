/* SPDX-License-Identifier: MIT */
/*
 * Happy path: mapping_pin() probes the mapping's table, finds a living window that covers the offset,
 * adds a pin to its state word and checks that it is still the window it looked for.
 *
 * Otherwise mapping_pin_slow() takes the mapping's lock, looks again (another thread may have mapped
 * it meanwhile), makes room in the cache, maps and publishes. A window that is too short, because the
 * file has grown, or mapped from the wrong kind of descriptor is killed and replaced: it stays mapped
 * for those who have pinned it and goes with its last pin.
 *
 * A window dies exactly once: WINDOW_DEAD is set under cache->lock, and whoever brings the state to
 * DEAD with no pins (the killer or the last unpin) unmaps it.
 */
#include "mapping/cache.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define WINDOW_DEAD 0x80000000u
#define TABLE_SLOTS_MIN 4
#define RESIDENCY_CHUNK ((size_t)4096) /* pages asked of one mincore(2) */

/* Open addressing. A slot is a hint: it may name a window that has died or serves another mapping. */
struct window_table {
	struct window_table *retired; /* smaller ones that a concurrent probe may still be reading */
	size_t mask;
	size_t used; /* slots that were ever set; protected by mapping->lock */
	_Atomic(struct window *) slot[];
};

static size_t window_limit(void)
{
	unsigned long maps = 65530; /* DEFAULT_MAX_MAP_COUNT */
	FILE *file = fopen("/proc/sys/vm/max_map_count", "re");

	if (file != NULL) {
		if (fscanf(file, "%lu", &maps) != 1)
			maps = 65530;
		fclose(file);
	}
	return maps / 2 > 16 ? maps / 2 : 16;
}

int window_cache_init(struct window_cache *cache, uint64_t window_size, uint64_t max_mapped)
{
	memset(cache, 0, sizeof(*cache));
	cache->window_size = window_size;
	cache->max_mapped = max_mapped;
	cache->max_windows = window_limit();
	cache->lru.lru_next = cache->lru.lru_previous = &cache->lru;
	return -pthread_mutex_init(&cache->lock, NULL);
}

void window_cache_fini(struct window_cache *cache)
{
	for (struct window *window = cache->all, *next; window != NULL; window = next) {
		next = window->all_next;
		free(window);
	}
	pthread_mutex_destroy(&cache->lock);
}

static void lru_remove_locked(struct window *window)
{
	window->lru_previous->lru_next = window->lru_next;
	window->lru_next->lru_previous = window->lru_previous;
}

static void lru_insert_locked(struct window_cache *cache, struct window *window)
{
	window->lru_next = cache->lru.lru_next;
	window->lru_previous = &cache->lru;
	window->lru_next->lru_previous = window;
	cache->lru.lru_next = window;
}

/* The window is dead and unpinned: nobody else touches it. */
static void window_bury(struct window *window)
{
	struct window_cache *cache = window->cache;

	munmap(window->bytes, window->length);
	atomic_fetch_sub(&cache->inside, (int64_t)atomic_load(&window->inside));
	LOCK_SCOPE(&cache->lock);
	cache->count--;
	cache->mapped -= window->length;
	window->lru_next = cache->unused;
	cache->unused = window;
}

/* The caller has it pinned; the last unpin buries it. */
static void window_kill_locked(struct window *window)
{
	uint32_t before = atomic_fetch_or(&window->state, WINDOW_DEAD);

	assert(!(before & WINDOW_DEAD) && before > 0);
	lru_remove_locked(window);
}

/*
 * Takes the least recently used unpinned window out of the cache, or returns NULL. A window touched
 * since the last pass gets a second chance.
 */
static struct window *evict_one_locked(struct window_cache *cache)
{
	for (size_t tries = 2 * cache->count + 1; tries > 0; tries--) {
		struct window *window = cache->lru.lru_previous;
		uint32_t unpinned = 0;

		if (window == &cache->lru)
			return NULL;
		if (atomic_exchange_explicit(&window->touched, false, memory_order_relaxed) ||
		    !atomic_compare_exchange_strong(&window->state, &unpinned, WINDOW_DEAD)) {
			lru_remove_locked(window);
			lru_insert_locked(cache, window);
			continue;
		}
		lru_remove_locked(window);
		return window;
	}
	return NULL;
}

static bool over_limit_locked(const struct window_cache *cache, size_t length)
{
	return cache->count + 1 > cache->max_windows ||
	       (cache->max_mapped != 0 && cache->mapped + length > cache->max_mapped);
}

/* Lets one window go. False: all are pinned, or there is none. */
static bool cache_evict(struct window_cache *cache)
{
	struct window *victim;

	pthread_mutex_lock(&cache->lock);
	victim = evict_one_locked(cache);
	pthread_mutex_unlock(&cache->lock);
	if (victim == NULL)
		return false;
	tally_add(&cache->tally, WINDOW_EVICTIONS, 1);
	window_bury(victim);
	return true;
}

/* Counts a window of @length bytes in and returns an unused struct for it. */
static int cache_reserve(struct window_cache *cache, size_t length, struct window **ret_window)
{
	struct window *window;

	for (;;) {
		pthread_mutex_lock(&cache->lock);
		if (!over_limit_locked(cache, length))
			break;
		pthread_mutex_unlock(&cache->lock);
		if (!cache_evict(cache))
			return -ENOMEM;
	}
	window = cache->unused;
	if (window != NULL) {
		cache->unused = window->lru_next;
	} else {
		window = calloc(1, sizeof(*window));
		if (window == NULL) {
			pthread_mutex_unlock(&cache->lock);
			return -ENOMEM;
		}
		window->cache = cache;
		atomic_init(&window->state, WINDOW_DEAD);
		window->all_next = cache->all;
		cache->all = window;
	}
	cache->count++;
	cache->mapped += length;
	pthread_mutex_unlock(&cache->lock);
	*ret_window = window;
	return 0;
}

static void cache_unreserve(struct window_cache *cache, size_t length, struct window *window)
{
	LOCK_SCOPE(&cache->lock);
	cache->count--;
	cache->mapped -= length;
	window->lru_next = cache->unused;
	cache->unused = window;
}

int mapping_init(struct mapping *mapping, struct window_cache *cache)
{
	memset(mapping, 0, sizeof(*mapping));
	mapping->cache = cache;
	return -pthread_mutex_init(&mapping->lock, NULL);
}

void mapping_fini(struct mapping *mapping)
{
	struct window_table *table;

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

void window_unpin(struct window_pin *pin)
{
	struct window *window = pin->window;

	if (window == NULL)
		return;
	pin->window = NULL;
	if (atomic_fetch_sub(&window->state, 1) == (WINDOW_DEAD | 1))
		window_bury(window);
}

/* Pins the window if it lives. */
static bool window_try_pin(struct window *window)
{
	uint32_t state = atomic_load_explicit(&window->state, memory_order_relaxed);

	while (!(state & WINDOW_DEAD)) {
		if (atomic_compare_exchange_weak(&window->state, &state, state + 1))
			return true;
	}
	return false;
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
	       (!source->store || atomic_load_explicit(&window->storable, memory_order_acquire));
}

static void window_count_inside(struct window *window, uint64_t size)
{
	uint64_t inside = size <= window->offset ? 0 : MIN(size - window->offset, window->length);
	uint64_t before = atomic_exchange_explicit(&window->inside, inside, memory_order_relaxed);

	atomic_fetch_add_explicit(&window->cache->inside, (int64_t)(inside - before),
				  memory_order_relaxed);
}

static void pin_bytes(struct window *window, const struct window_source *source, uint64_t offset,
		      size_t length, struct window_pin *ret_pin)
{
	size_t skip = (size_t)(offset - window->offset);
	uint64_t inside = atomic_load_explicit(&window->inside, memory_order_relaxed);

	if (source->size > window->offset + inside && inside < window->length)
		window_count_inside(window, source->size);
	if (!atomic_load_explicit(&window->touched, memory_order_relaxed))
		atomic_store_explicit(&window->touched, true, memory_order_relaxed);
	ret_pin->window = window;
	ret_pin->bytes = window->bytes + skip;
	ret_pin->length = MIN(length, window->length - skip);
}

/* Where the window that holds @offset starts and how far it should reach. */
static void window_span(const struct window_cache *cache, const struct window_source *source,
			uint64_t offset, uint64_t *ret_start, uint64_t *ret_length)
{
	uint64_t end = page_round_up(MAX(source->size, offset + 1));

	if (cache->window_size == UINT64_MAX) {
		*ret_start = 0;
		*ret_length = end;
		/* Room to grow into: an eighth, at least a mebibyte, so that remaps stay rare. */
		if (source->growing)
			*ret_length = page_round_up(end + MAX(end / 8, UINT64_C(1) << 20));
		return;
	}
	*ret_start = offset - offset % cache->window_size;
	*ret_length = cache->window_size;
	if (!source->growing && end < *ret_start + cache->window_size)
		*ret_length = end - *ret_start;
}

/* Finds a slot for one more window, in a larger table where this one is full. */
static int table_insert_locked(struct mapping *mapping, struct window *window, uint64_t index)
{
	struct window_table *table = atomic_load_explicit(&mapping->table, memory_order_relaxed);
	size_t slot, live = 0;

	if (table != NULL && table->used * 4 < (table->mask + 1) * 3)
		goto insert;
	for (size_t i = 0; table != NULL && i <= table->mask; i++) {
		struct window *old = atomic_load_explicit(&table->slot[i], memory_order_relaxed);

		live += old != NULL && atomic_load_explicit(&old->owner, memory_order_relaxed) == mapping;
	}
	{
		size_t slots = TABLE_SLOTS_MIN;
		struct window_table *larger;

		while (slots < 2 * (live + 1))
			slots *= 2;
		larger = calloc(1, sizeof(*larger) + slots * sizeof(larger->slot[0]));
		if (larger == NULL)
			return -ENOMEM;
		larger->mask = slots - 1;
		larger->retired = table;
		for (size_t i = 0; table != NULL && i <= table->mask; i++) {
			struct window *old = atomic_load_explicit(&table->slot[i], memory_order_relaxed);

			if (old == NULL || atomic_load_explicit(&old->owner, memory_order_relaxed) != mapping)
				continue;
			slot = slot_of(larger, atomic_load_explicit(&old->index, memory_order_relaxed));
			while (atomic_load_explicit(&larger->slot[slot], memory_order_relaxed) != NULL)
				slot = (slot + 1) & larger->mask;
			atomic_store_explicit(&larger->slot[slot], old, memory_order_relaxed);
			larger->used++;
		}
		atomic_store_explicit(&mapping->table, larger, memory_order_release);
		table = larger;
	}
insert:
	for (slot = slot_of(table, index);; slot = (slot + 1) & table->mask) {
		struct window *old = atomic_load_explicit(&table->slot[slot], memory_order_relaxed);

		if (old == NULL)
			table->used++;
		else if (old != window && atomic_load_explicit(&old->owner, memory_order_relaxed) == mapping &&
			 !(atomic_load(&old->state) & WINDOW_DEAD))
			continue;
		atomic_store_explicit(&table->slot[slot], window, memory_order_release);
		return 0;
	}
}

/* mmap(2), and once more for each window that can be let go when there is no room. */
static int map_bytes(struct window_cache *cache, const struct window_source *source, uint64_t start,
		     size_t length, unsigned char **ret_bytes)
{
	int protection = PROT_READ | (source->store ? PROT_WRITE : 0);

	for (;;) {
		void *bytes = mmap(NULL, length, protection, MAP_SHARED, source->fd, (off_t)start);
		int error = errno;

		if (bytes != MAP_FAILED) {
			*ret_bytes = bytes;
			return 0;
		}
		if (mapping_errno_find(CALL_MMAP, error)->action != ACTION_EVICT || !cache_evict(cache))
			return -error;
	}
}

static int window_map_locked(struct mapping *mapping, const struct window_source *source, uint64_t index,
			     uint64_t offset, struct window **ret_window)
{
	struct window_cache *cache = mapping->cache;
	struct window *window;
	uint64_t start, length;
	int result;

	window_span(cache, source, offset, &start, &length);
	if (length > SIZE_MAX / 2 || start + length > INT64_MAX)
		return -EOVERFLOW;
	result = cache_reserve(cache, (size_t)length, &window);
	if (result < 0)
		return result;
	result = map_bytes(cache, source, start, (size_t)length, &window->bytes);
	if (result < 0) {
		cache_unreserve(cache, (size_t)length, window);
		return result;
	}
	window->offset = start;
	window->length = (size_t)length;
	window->shared = source->writable;
	atomic_store_explicit(&window->inside, 0, memory_order_relaxed);
	atomic_store_explicit(&window->storable, source->store, memory_order_relaxed);
	atomic_store_explicit(&window->touched, false, memory_order_relaxed);
	result = table_insert_locked(mapping, window, index);
	if (result < 0) {
		munmap(window->bytes, window->length);
		cache_unreserve(cache, (size_t)length, window);
		return result;
	}
	/* Published to the table already, but dead until its identity and its pin are in place. */
	LOCK_SCOPE(&cache->lock);
	atomic_store_explicit(&window->owner, mapping, memory_order_relaxed);
	atomic_store_explicit(&window->index, index, memory_order_relaxed);
	lru_insert_locked(cache, window);
	atomic_store_explicit(&window->state, 1, memory_order_release);
	*ret_window = window;
	return 0;
}

/* The window, pinned by the caller, is not what is wanted: out with it, at its last unpin. */
static void window_replace(struct window *window)
{
	struct window_pin pin = {.window = window};

	pthread_mutex_lock(&window->cache->lock);
	if (!(atomic_load(&window->state) & WINDOW_DEAD))
		window_kill_locked(window);
	pthread_mutex_unlock(&window->cache->lock);
	window_unpin(&pin);
}

static int mapping_pin_slow(struct mapping *mapping, const struct window_source *source, uint64_t index,
			    uint64_t offset, struct window **ret_window)
{
	struct window *window;

	LOCK_SCOPE(&mapping->lock);
	window = table_pin(mapping, index);
	if (window != NULL && source->store && window->shared &&
	    !atomic_load_explicit(&window->storable, memory_order_relaxed) &&
	    mprotect(window->bytes, window->length, PROT_READ | PROT_WRITE) == 0)
		atomic_store_explicit(&window->storable, true, memory_order_release);
	if (window != NULL && window_serves(window, source, offset)) {
		*ret_window = window;
		return 0;
	}
	if (window != NULL)
		window_replace(window);
	return window_map_locked(mapping, source, index, offset, ret_window);
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

static size_t first_slot(const struct window_table *table, const struct window *window)
{
	size_t slot = slot_of(table, atomic_load_explicit(&window->index, memory_order_relaxed));

	while (atomic_load_explicit(&table->slot[slot], memory_order_relaxed) != window)
		slot = (slot + 1) & table->mask;
	return slot;
}

/*
 * The living windows of a mapping, one a call, pinned; the slot to go on from is kept in @slot.
 * mapping->lock is held, so none is added meanwhile; the eviction may take one that is not pinned.
 */
static struct window *next_window_locked(struct mapping *mapping, size_t *slot)
{
	struct window_table *table = atomic_load_explicit(&mapping->table, memory_order_relaxed);

	for (; table != NULL && *slot <= table->mask; (*slot)++) {
		struct window *window = atomic_load_explicit(&table->slot[*slot], memory_order_acquire);

		if (window == NULL ||
		    atomic_load_explicit(&window->owner, memory_order_relaxed) != mapping ||
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
	size_t slot = 0;

	LOCK_SCOPE(&mapping->lock);
	while ((window = next_window_locked(mapping, &slot)) != NULL) {
		if (!shared_only || window->shared)
			window_replace(window);
		else
			window_unpin(&(struct window_pin){.window = window});
	}
}

void mapping_resized(struct mapping *mapping, uint64_t size)
{
	struct window *window;
	size_t slot = 0;

	LOCK_SCOPE(&mapping->lock);
	while ((window = next_window_locked(mapping, &slot)) != NULL) {
		window_count_inside(window, size);
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
	while ((window = next_window_locked(mapping, &slot)) != NULL) {
		*ret_windows += 1;
		*ret_inside += atomic_load_explicit(&window->inside, memory_order_relaxed);
		window_unpin(&(struct window_pin){.window = window});
	}
}

static uint64_t window_resident(const struct window *window, uint64_t size)
{
	unsigned char pages[RESIDENCY_CHUNK];
	uint64_t resident = 0;
	size_t inside = size <= window->offset ? 0 : (size_t)MIN(size - window->offset, window->length);

	for (size_t at = 0; at < inside; at += RESIDENCY_CHUNK * page_size()) {
		size_t length = MIN(inside - at, RESIDENCY_CHUNK * page_size());

		if (mincore(window->bytes + at, length, pages) < 0)
			continue;
		for (size_t i = 0; i * page_size() < length; i++)
			resident += pages[i] & 1 ? page_size() : 0;
	}
	return resident;
}

uint64_t mapping_resident(struct mapping *mapping, uint64_t size)
{
	uint64_t resident = 0;
	size_t slot = 0;

	for (;;) {
		struct window_pin pin = {0};

		pthread_mutex_lock(&mapping->lock);
		pin.window = next_window_locked(mapping, &slot);
		pthread_mutex_unlock(&mapping->lock);
		if (pin.window == NULL)
			return resident;
		resident += window_resident(pin.window, size);
		window_unpin(&pin);
	}
}
