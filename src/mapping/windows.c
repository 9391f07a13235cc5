/* SPDX-License-Identifier: MIT */
/*
 * The windows of all files together: which structs there are, which windows live, and which goes when there
 * is no room. A window dies exactly once: WINDOW_DEAD is set under cache->lock, and whoever brings the
 * state to DEAD with no pins (the eviction or the last unpin) unmaps it.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "mapping/cache.h"
#include "mapping/windows.h"

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

/* Bytes that one entry of the page tables' second level maps. */
static size_t huge_page_size(void)
{
	unsigned long size = 0;
	FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "re");

	if (file == NULL)
		return 0;
	if (fscanf(file, "%lu", &size) != 1 || (size & (size - 1)) != 0 || size <= page_size())
		size = 0;
	fclose(file);
	return size;
}

/* Some pages full of structs. One by one they would lie all over the heap, and as they are kept, keep it. */
#define SLAB_WINDOWS ((4 * 4096 - 2 * sizeof(void *)) / sizeof(struct window))

struct window_slab {
	struct window_slab *next;
	struct window windows[SLAB_WINDOWS];
};

int window_cache_init(struct window_cache *cache, uint64_t window_size, uint64_t max_mapped)
{
	memset(cache, 0, sizeof(*cache));
	cache->huge_size = huge_page_size();
	cache->unit = page_size();
	cache->window_size = window_size;
	cache->max_mapped = max_mapped;
	cache->max_windows = window_limit();
	cache->lru.lru_next = cache->lru.lru_previous = &cache->lru;
	return -pthread_mutex_init(&cache->lock, NULL);
}

void window_cache_set_unit(struct window_cache *cache, uint64_t unit)
{
	cache->unit = unit;
	/* The kernel aligns these mappings by itself. */
	cache->huge_size = 0;
	if (cache->window_size != UINT64_MAX)
		cache->window_size = (cache->window_size + unit - 1) / unit * unit;
}

void window_cache_fini(struct window_cache *cache)
{
	for (struct window_slab *slab = cache->slabs, *next; slab != NULL; slab = next) {
		next = slab->next;
		free(slab);
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
void window_bury(struct window *window)
{
	struct window_cache *cache = window->cache;

	munmap(window->bytes, window->length);
	atomic_fetch_sub(&cache->inside, (int64_t)atomic_load(&window->inside));
	atomic_fetch_sub(&cache->locked, (int64_t)atomic_exchange(&window->locked, 0));
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

bool window_take_locked(struct window *window)
{
	uint32_t unpinned = 0;

	if (!atomic_compare_exchange_strong(&window->state, &unpinned, WINDOW_DEAD))
		return false;
	lru_remove_locked(window);
	return true;
}

/*
 * Takes the least recently used unpinned window out of the cache, or returns NULL. A window touched
 * since the last pass gets a second chance; one with locked pages stays: they are to be in memory.
 */
static struct window *evict_one_locked(struct window_cache *cache)
{
	for (size_t tries = 2 * cache->count + 1; tries > 0; tries--) {
		struct window *window = cache->lru.lru_previous;

		if (window == &cache->lru)
			return NULL;
		if (!(atomic_fetch_and_explicit(&window->touched, (uint8_t)~TOUCHED_FOR_EVICTION,
						memory_order_relaxed) &
		      TOUCHED_FOR_EVICTION) &&
		    atomic_load_explicit(&window->locked, memory_order_relaxed) == 0 &&
		    window_take_locked(window))
			return window;
		lru_remove_locked(window);
		lru_insert_locked(cache, window);
	}
	return NULL;
}

static bool over_limit_locked(const struct window_cache *cache, size_t length)
{
	return cache->count + 1 > cache->max_windows ||
	       (cache->max_mapped != 0 && cache->mapped + length > cache->max_mapped);
}

bool window_evict(struct window_cache *cache)
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

static int add_slab_locked(struct window_cache *cache)
{
	struct window_slab *slab = calloc(1, sizeof(*slab));

	if (slab == NULL)
		return -ENOMEM;
	slab->next = cache->slabs;
	cache->slabs = slab;
	for (size_t i = 0; i < SLAB_WINDOWS; i++) {
		struct window *window = &slab->windows[i];

		window->cache = cache;
		atomic_init(&window->state, WINDOW_DEAD);
		window->all_next = cache->all;
		cache->all = window;
		window->lru_next = cache->unused;
		cache->unused = window;
	}
	return 0;
}

int window_reserve(struct window_cache *cache, size_t length, struct window **ret_window)
{
	struct window *window;

	for (;;) {
		pthread_mutex_lock(&cache->lock);
		if (!over_limit_locked(cache, length))
			break;
		pthread_mutex_unlock(&cache->lock);
		if (!window_evict(cache))
			return -ENOMEM;
	}
	if (cache->unused == NULL && add_slab_locked(cache) < 0) {
		pthread_mutex_unlock(&cache->lock);
		return -ENOMEM;
	}
	window = cache->unused;
	cache->unused = window->lru_next;
	cache->count++;
	cache->mapped += length;
	pthread_mutex_unlock(&cache->lock);
	*ret_window = window;
	return 0;
}

void window_unreserve(struct window_cache *cache, size_t length, struct window *window)
{
	LOCK_SCOPE(&cache->lock);
	cache->count--;
	cache->mapped -= length;
	window->lru_next = cache->unused;
	cache->unused = window;
}

void window_publish(struct window *window, struct mapping *owner, uint64_t index)
{
	LOCK_SCOPE(&window->cache->lock);
	atomic_store_explicit(&window->owner, owner, memory_order_relaxed);
	atomic_store_explicit(&window->index, index, memory_order_relaxed);
	lru_insert_locked(window->cache, window);
	atomic_store_explicit(&window->state, 1, memory_order_release);
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

bool window_try_pin(struct window *window)
{
	uint32_t state = atomic_load_explicit(&window->state, memory_order_relaxed);

	while (!(state & WINDOW_DEAD)) {
		if (atomic_compare_exchange_weak(&window->state, &state, state + 1))
			return true;
	}
	return false;
}

void window_replace(struct window *window)
{
	struct window_pin pin = {.window = window};

	pthread_mutex_lock(&window->cache->lock);
	if (!(atomic_load(&window->state) & WINDOW_DEAD))
		window_kill_locked(window);
	pthread_mutex_unlock(&window->cache->lock);
	window_unpin(&pin);
}
