/* SPDX-License-Identifier: MIT */
#include "mapping/lock.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "mapping/extents.h"
#include "mapping/paging.h"
#include "mapping/windows.h"

static struct extent_list *list_of(const struct mapping *mapping)
{
	return atomic_load_explicit(&mapping->to_lock, memory_order_relaxed);
}

bool mapping_wants_locks(const struct mapping *mapping)
{
	return list_of(mapping) != NULL;
}

int locks_add_locked(struct mapping *mapping, uint64_t start, uint64_t end)
{
	struct extent_list *list = list_of(mapping);
	int result;

	if (list == NULL) {
		list = calloc(1, sizeof(*list));
		if (list == NULL)
			return -ENOMEM;
		atomic_store_explicit(&mapping->to_lock, list, memory_order_relaxed);
	}
	result = extents_add(list, start, end);
	if (list->count == 0)
		locks_clear_locked(mapping);
	return result;
}

void locks_clear_locked(struct mapping *mapping)
{
	struct extent_list *list = list_of(mapping);

	if (list == NULL)
		return;
	atomic_store_explicit(&mapping->to_lock, NULL, memory_order_relaxed);
	extents_fini(list);
	free(list);
}

/* Bytes locked of [@start, @end), which lies in the window; at least what was locked of it before. */
static int lock_part(const struct window *window, uint64_t start, uint64_t end, uint64_t *ret_locked)
{
	unsigned char *bytes = window->bytes + (start - window->offset);

	if (mlock2(bytes, (size_t)(end - start), MLOCK_ONFAULT) < 0)
		return -errno;
	*ret_locked += end - start;
	return 0;
}

int window_lock_locked(struct mapping *mapping, struct window *window, bool unlock)
{
	const struct extent_list *list = list_of(mapping);
	uint64_t end = window->offset + page_round_up(atomic_load(&window->inside));
	uint64_t before = atomic_load(&window->locked), locked = 0, at = window->offset;
	struct extent extent;
	int result = 0;

	if (unlock && before > 0) {
		/* Not by its wrapper, which AddressSanitizer replaces by nothing. */
		syscall(SYS_munlock, window->bytes, window->length);
		before = 0;
	}
	while (list != NULL && extents_next(list, at, end, &extent)) {
		int error = lock_part(window, extent.start, extent.end, &locked);

		result = result < 0 ? result : error;
		at = extent.end;
	}
	/* What could not be locked may have been in part, when the file was shorter. */
	if (result < 0)
		locked = MAX(locked, before);
	before = atomic_exchange(&window->locked, locked);
	atomic_fetch_add(&window->cache->locked, (int64_t)(locked - before));
	return result;
}

/* The windows there are follow the list. Returns the first refusal. */
static int lock_windows_locked(struct mapping *mapping, bool unlock)
{
	struct window *window;
	size_t slot = 0;
	int result = 0;

	while ((window = mapping_next_locked(mapping, &slot)) != NULL) {
		int error = window_lock_locked(mapping, window, unlock);

		result = result < 0 ? result : error;
		window_unpin(&(struct window_pin){.window = window});
	}
	return result;
}

static int copy_list_locked(const struct mapping *mapping, struct extent_list *ret_copy)
{
	const struct extent_list *list = list_of(mapping);

	*ret_copy = (struct extent_list){0};
	if (list == NULL || list->count == 0)
		return 0;
	ret_copy->extents = malloc(list->count * sizeof(list->extents[0]));
	if (ret_copy->extents == NULL)
		return -ENOMEM;
	memcpy(ret_copy->extents, list->extents, list->count * sizeof(list->extents[0]));
	ret_copy->count = ret_copy->capacity = list->count;
	return 0;
}

/* Back to how it was before a lock that was refused. */
static void restore_list(struct mapping *mapping, struct extent_list *copy)
{
	LOCK_SCOPE(&mapping->lock);
	locks_clear_locked(mapping);
	for (size_t i = 0; i < copy->count; i++)
		locks_add_locked(mapping, copy->extents[i].start, copy->extents[i].end);
	lock_windows_locked(mapping, true);
}

static int lock_pinned(struct mapping *mapping, const struct window_pin *pin, uint64_t size)
{
	LOCK_SCOPE(&mapping->lock);
	window_count_inside(pin->window, size);
	return window_lock_locked(mapping, pin->window, false);
}

/* Maps what is to be locked of [@at, @end), locks it, and has it read. */
static int lock_range(struct mapping *mapping, const struct window_source *source, uint64_t at, uint64_t end,
		      const struct mapping_stop *stop)
{
	struct window_source quiet = *source;
	int result = 0;

	quiet.quiet = true;
	while (at < end && result == 0) {
		struct window_pin pin = {0};

		result = mapping_pin(mapping, &quiet, at, (size_t)MIN(end - at, SIZE_MAX / 2), &pin);
		if (result == 0)
			result = lock_pinned(mapping, &pin, source->size);
		if (result == 0)
			result = populate(pin.bytes, (size_t)page_round_up(pin.length), stop);
		at += pin.length;
		window_unpin(&pin);
	}
	return result;
}

int mapping_lock(struct mapping *mapping, const struct window_source *source, uint64_t offset,
		 uint64_t length, const struct mapping_stop *stop)
{
	uint64_t start = page_round_down(offset), end = page_round_up(offset + length);
	bool whole = offset == 0 && length >= source->size;
	struct extent_list before;
	int result;

	pthread_mutex_lock(&mapping->lock);
	result = !whole && mapping->splits >= WINDOW_SPLITS ? -ENOMEM : copy_list_locked(mapping, &before);
	if (result == 0) {
		mapping->splits += !whole;
		result = locks_add_locked(mapping, start, whole ? UINT64_MAX & ~(page_size() - 1) : end);
		if (result < 0)
			extents_fini(&before);
	}
	pthread_mutex_unlock(&mapping->lock);
	if (result < 0)
		return result;
	result = lock_range(mapping, source, start, MIN(end, source->size), stop);
	/* A page that cannot appear is no reason to let the others go. */
	if (result < 0 && result != -EFAULT)
		restore_list(mapping, &before);
	extents_fini(&before);
	return result;
}

int mapping_unlock(struct mapping *mapping, uint64_t offset, uint64_t length)
{
	struct extent_list *list;
	int result;

	LOCK_SCOPE(&mapping->lock);
	list = list_of(mapping);
	if (list == NULL)
		return 0;
	result = extents_remove(list, page_round_down(offset), page_round_up(offset + length));
	if (list->count == 0)
		locks_clear_locked(mapping);
	lock_windows_locked(mapping, true);
	return result;
}

void mapping_unlock_all(struct mapping *mapping)
{
	LOCK_SCOPE(&mapping->lock);
	locks_clear_locked(mapping);
	lock_windows_locked(mapping, true);
}

uint64_t mapping_locked(struct mapping *mapping)
{
	struct window *window;
	uint64_t locked = 0;
	size_t slot = 0;

	LOCK_SCOPE(&mapping->lock);
	while ((window = mapping_next_locked(mapping, &slot)) != NULL) {
		locked += atomic_load(&window->locked);
		window_unpin(&(struct window_pin){.window = window});
	}
	return locked;
}

uint64_t mapping_locked_in(struct mapping *mapping, uint64_t offset, uint64_t length)
{
	const struct extent_list *list;
	struct window *window;
	uint64_t locked = 0;
	size_t slot = 0;

	LOCK_SCOPE(&mapping->lock);
	list = list_of(mapping);
	while (list != NULL && (window = mapping_next_locked(mapping, &slot)) != NULL) {
		uint64_t at = MAX(offset, window->offset);
		uint64_t end =
			MIN(offset + length, window->offset + page_round_up(atomic_load(&window->inside)));
		struct extent extent;

		while (atomic_load(&window->locked) > 0 && at < end && extents_next(list, at, end, &extent)) {
			locked += extent.end - extent.start;
			at = extent.end;
		}
		window_unpin(&(struct window_pin){.window = window});
	}
	return locked;
}

int mapping_lock_again(struct mapping *mapping, const struct window_source *source,
		       const struct mapping_stop *stop)
{
	struct extent_list wanted;
	int result;

	pthread_mutex_lock(&mapping->lock);
	result = copy_list_locked(mapping, &wanted);
	pthread_mutex_unlock(&mapping->lock);
	for (size_t i = 0; result == 0 && i < wanted.count; i++)
		result = lock_range(mapping, source, wanted.extents[i].start,
				    MIN(wanted.extents[i].end, source->size), stop);
	extents_fini(&wanted);
	return result;
}
