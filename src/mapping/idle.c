/* SPDX-License-Identifier: MIT */
/* What becomes of windows that nobody touches: see window_cache_idle() in paging.h. */
#include <errno.h>

#include "mapping/paging.h"
#include "mapping/windows.h"

/* Windows dealt with, and windows looked at, in one stretch with the lock held. */
#define BATCH 64
#define LOOKED_AT 4096

struct idle_batch {
	size_t count;
	struct {
		struct window *window;
		enum paging_idle action; /* PAGING_UNMAP: taken out of the cache; else pinned */
	} entry[BATCH];
};

/* The policy by which the window's time is up, or NULL. */
static const struct paging *due_locked(struct window *window, uint64_t now_ms)
{
	const struct paging *paging;
	uint32_t state = atomic_load(&window->state);
	uint8_t touched;

	if (state & WINDOW_DEAD)
		return NULL;
	touched =
		atomic_fetch_and_explicit(&window->touched, (uint8_t)~TOUCHED_FOR_IDLE, memory_order_relaxed);
	if ((touched & TOUCHED_FOR_IDLE) || state != 0) {
		window->touched_ms = now_ms;
		window->cold = false;
		return NULL;
	}
	/* A window that lives has its mapping: that drops its windows, which takes the lock held here. */
	paging = atomic_load_explicit(&atomic_load(&window->owner)->paging, memory_order_acquire);
	if (paging == NULL || paging->idle_ms == 0 || window->cold || atomic_load(&window->locked) > 0 ||
	    now_ms - window->touched_ms < paging->idle_ms)
		return NULL;
	return paging;
}

static void collect_locked(struct window *window, uint64_t now_ms, struct idle_batch *batch)
{
	const struct paging *paging = due_locked(window, now_ms);

	if (paging == NULL)
		return;
	if (paging->idle == PAGING_UNMAP ? !window_take_locked(window) : !window_try_pin(window))
		return;
	window->cold = true;
	batch->entry[batch->count].window = window;
	batch->entry[batch->count++].action = paging->idle;
}

static int act(struct window *window, enum paging_idle action)
{
	size_t length = (size_t)page_round_up(atomic_load(&window->inside));
	int result = 0;

	if (action == PAGING_UNMAP) {
		window_bury(window);
		return 0;
	}
	if (length > 0)
		result = advice_give(window->bytes, length,
				     action == PAGING_COLD ? ADVICE_COLD : ADVICE_PAGEOUT);
	window_unpin(&(struct window_pin){.window = window});
	return result;
}

size_t window_cache_idle(struct window_cache *cache, uint64_t now_ms, int *ret_refused)
{
	struct window *window;
	size_t total = 0;

	pthread_mutex_lock(&cache->lock);
	/* Structs are never freed while the cache lives, and new ones are put in front. */
	for (window = cache->all; window != NULL;) {
		struct idle_batch batch = {0};

		for (size_t looked = 0; window != NULL && looked < LOOKED_AT && batch.count < BATCH;
		     looked++) {
			collect_locked(window, now_ms, &batch);
			window = window->all_next;
		}
		pthread_mutex_unlock(&cache->lock);
		for (size_t i = 0; i < batch.count; i++) {
			int result = act(batch.entry[i].window, batch.entry[i].action);

			if (result < 0)
				*ret_refused = -result;
		}
		total += batch.count;
		pthread_mutex_lock(&cache->lock);
	}
	pthread_mutex_unlock(&cache->lock);
	return total;
}
