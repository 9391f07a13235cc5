/* SPDX-License-Identifier: MIT */
/*
 * Happy path: mapping_pin() maps a window and, the mapping still locked, paging_begin_locked() gives it what
 * costs nothing: flags of the mapping, and marks on the pages that are to stay. The lock released,
 * paging_settle() reads ahead what is waited for and reports the rest as due; mapping_work(), in some
 * other thread, does it.
 *
 * Failure modes: the kernel refuses a hint or a lock. The window serves all the same; hooks.refused is told.
 */
#include "mapping/paging.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "mapping/guard.h"
#include "mapping/lock.h"
#include "mapping/residency.h"
#include "mapping/stream.h"
#include "mapping/windows.h"

/* What is read at a time, and how far the reading runs ahead of the waiting. */
#define PRELOAD_STEP ((uint64_t)8 << 20)
#define PRELOAD_AHEAD ((uint64_t)32 << 20)
/* How many windows are looked for in smaps. */
#define HUGE_WINDOWS 64

static const struct paging *paging_of(const struct mapping *mapping)
{
	return atomic_load_explicit(&mapping->paging, memory_order_acquire);
}

static enum paging_preload preload_of(const struct paging *paging)
{
	return paging == NULL ? PAGING_OFF : paging->preload;
}

static void note_refusal(struct paging_refusal *refusal, enum mapping_call call, int result)
{
	if (result < 0 && refusal->error == 0)
		*refusal = (struct paging_refusal){.error = -result, .call = call};
}

void paging_refused(struct mapping *mapping, const struct paging_refusal *refusal)
{
	if (refusal->error != 0 && mapping->cache->hooks.refused != NULL)
		mapping->cache->hooks.refused(mapping, refusal->call, refusal->error);
}

void paging_due(struct mapping *mapping)
{
	if (mapping->cache->hooks.due != NULL)
		mapping->cache->hooks.due(mapping);
}

/* The flags of a window's mapping. Normal is what a new one has. */
static void give_flags(struct mapping *mapping, struct window *window, bool is_new,
		       struct paging_refusal *refusal)
{
	enum advice advice = advice_in_force(mapping);
	int huge = advice_wants_huge(mapping);

	if (advice == ADVICE_WILLNEED)
		advice = ADVICE_NORMAL;
	if (!is_new || advice != ADVICE_NORMAL)
		note_refusal(refusal, CALL_MADVISE, advice_give(window->bytes, window->length, advice));
	if (huge >= 0)
		note_refusal(refusal, CALL_MADVISE,
			     advice_give(window->bytes, window->length,
					 huge ? ADVICE_HUGEPAGE : ADVICE_NOHUGEPAGE));
}

/* The policy's locks: of this window as far as it may ever reach. */
static int want_lock_locked(struct mapping *mapping, const struct window *window)
{
	uint64_t size = mapping->cache->window_size;

	if (size == UINT64_MAX)
		return locks_add_locked(mapping, 0, UINT64_MAX & ~(uint64_t)(page_size() - 1));
	return locks_add_locked(mapping, window->offset, window->offset + MAX(size, window->length));
}

void paging_begin_locked(struct mapping *mapping, struct window *window, struct paging_refusal *ret_refusal)
{
	const struct paging *paging = paging_of(mapping);
	int result = 0;

	give_flags(mapping, window, true, ret_refusal);
	if (paging != NULL && paging->lock)
		result = want_lock_locked(mapping, window);
	if (result == 0 && mapping_wants_locks(mapping))
		result = window_lock_locked(mapping, window, false);
	note_refusal(ret_refusal, CALL_MLOCK, result);
}

static size_t inside_pages(const struct window *window)
{
	return (size_t)page_round_up(atomic_load_explicit(&window->inside, memory_order_relaxed));
}

/* Where the disk is not waited for, it is to be busy with the next part while this one is. */
static uint64_t read_until(const struct stream *stream, uint64_t at, uint64_t end)
{
	return MIN(at + (stream_waits(stream) ? PRELOAD_STEP : PRELOAD_AHEAD), end);
}

int mapping_preload(struct mapping *mapping, const struct window_source *source, uint64_t offset,
		    uint64_t length, const struct mapping_stop *stop)
{
	CLEANUP(stream_end) struct stream stream = STREAM_NONE;
	struct window_source quiet = *source;
	uint64_t at = page_round_down(offset), end = MIN(offset + length, source->size);
	int result = 0;

	quiet.quiet = true;
	stream_begin(source->fd, at, end, source->size, &stream);
	while (result == 0 && (at = past_hole(source->fd, at, end)) < end) {
		struct window_pin pin = {0};

		result = stream_on(&stream, read_until(&stream, at, end), stop);
		if (result == 0)
			result = mapping_pin(mapping, &quiet, at, (size_t)MIN(end - at, PRELOAD_STEP), &pin);
		if (result == 0)
			result = populate(pin.bytes, (size_t)page_round_up(pin.length), stop);
		at += pin.length;
		window_unpin(&pin);
	}
	return result;
}

int file_preload(int fd, uint64_t offset, uint64_t length, const struct mapping_stop *stop)
{
	CLEANUP(stream_end) struct stream stream = STREAM_NONE;
	uint64_t at = page_round_down(offset), end = page_round_up(offset + length);
	struct stat info;
	int result = 0;

	stream_begin(fd, at, end, fstat(fd, &info) == 0 ? (uint64_t)info.st_size : UINT64_MAX, &stream);
	while (result == 0 && (at = past_hole(fd, at, end)) < end) {
		size_t step = (size_t)MIN(end - at, PRELOAD_STEP);
		void *bytes;

		result = stream_on(&stream, read_until(&stream, at, end), stop);
		if (result < 0)
			break;
		bytes = mmap(NULL, step, PROT_READ, MAP_SHARED, fd, (off_t)at);
		if (bytes == MAP_FAILED)
			return -errno;
		result = populate(bytes, step, stop);
		munmap(bytes, step);
		at += step;
	}
	return result;
}

void paging_settle(struct mapping *mapping, const struct window_source *source, struct window *window)
{
	const struct paging *paging = paging_of(mapping);
	enum paging_preload preload = preload_of(paging);
	bool first = preload != PAGING_OFF && !atomic_exchange(&mapping->preloaded, true);
	bool due = mapping_wants_locks(mapping);

	switch (preload) {
	case PAGING_OFF:
		break;
	case PAGING_POPULATE:
		/* What fails here is told to whoever reads the page. */
		(void)populate(window->bytes, inside_pages(window), NULL);
		break;
	case PAGING_SYNC:
		if (first)
			(void)mapping_preload(mapping, source, 0, source->size, NULL);
		else
			(void)mapping_preload(mapping, source, window->offset, inside_pages(window), NULL);
		break;
	case PAGING_ASYNC:
		if (first)
			atomic_store(&mapping->read_ahead, true);
		else
			atomic_store(&window->read_ahead, true);
		due = true;
		break;
	}
	if (preload == PAGING_OFF && advice_in_force(mapping) == ADVICE_WILLNEED) {
		atomic_store(&window->read_ahead, true);
		due = true;
	}
	if (due || (paging != NULL && paging->huge_pages))
		paging_due(mapping);
}

/* A window that waits for being read ahead, pinned, or NULL. */
static struct window *next_to_read(struct mapping *mapping)
{
	struct window *window;
	size_t slot = 0;

	LOCK_SCOPE(&mapping->lock);
	while ((window = mapping_next_locked(mapping, &slot)) != NULL) {
		if (atomic_exchange(&window->read_ahead, false))
			return window;
		window_unpin(&(struct window_pin){.window = window});
	}
	return NULL;
}

static int stream_range(const struct window_source *source, uint64_t offset, uint64_t length,
			const struct mapping_stop *stop)
{
	CLEANUP(stream_end) struct stream stream = STREAM_NONE;

	stream_begin(source->fd, offset, offset + length, source->size, &stream);
	return stream_on(&stream, offset + length, stop);
}

int mapping_work(struct mapping *mapping, const struct window_source *source, const struct mapping_stop *stop)
{
	struct paging_refusal refusal = {0};
	struct window_pin pin = {0};
	int result = 0;

	if (atomic_exchange(&mapping->read_ahead, false))
		result = stream_range(source, 0, source->size, stop);
	while (result == 0 && (pin.window = next_to_read(mapping)) != NULL) {
		result = stream_range(source, pin.window->offset, inside_pages(pin.window), stop);
		window_unpin(&pin);
	}
	if (result == 0 && mapping_wants_locks(mapping)) {
		result = mapping_lock_again(mapping, source, stop);
		if (result != -EINTR && result != -EFAULT)
			note_refusal(&refusal, CALL_MLOCK, result);
	}
	paging_refused(mapping, &refusal);
	return result;
}

static bool same_advice(const struct paging *one, const struct paging *other)
{
	return (one == NULL ? ADVICE_NORMAL : one->advice) == (other == NULL ? ADVICE_NORMAL : other->advice);
}

static bool wants(const struct paging *paging, bool huge_pages)
{
	return paging != NULL && (huge_pages ? paging->huge_pages : paging->lock);
}

/* Every window gets what its new policy says. */
static void reapply_locked(struct mapping *mapping, bool lock, bool fresh, struct paging_refusal *refusal)
{
	struct window *window;
	size_t slot = 0;

	while ((window = mapping_next_locked(mapping, &slot)) != NULL) {
		give_flags(mapping, window, false, refusal);
		if (lock)
			note_refusal(refusal, CALL_MLOCK, want_lock_locked(mapping, window));
		note_refusal(refusal, CALL_MLOCK, window_lock_locked(mapping, window, !lock));
		if (fresh)
			atomic_store(&window->fresh, true);
		window_unpin(&(struct window_pin){.window = window});
	}
	mapping->splits = 0;
}

int mapping_set_paging(struct mapping *mapping, const struct paging *paging)
{
	struct paging_refusal refusal = {0};
	const struct paging *before;
	bool locks, realign, fresh;

	pthread_mutex_lock(&mapping->lock);
	before = paging_of(mapping);
	atomic_store_explicit(&mapping->paging, paging, memory_order_release);
	if (before == paging) {
		pthread_mutex_unlock(&mapping->lock);
		return 0;
	}
	if (!same_advice(before, paging))
		atomic_store(&mapping->advice_set, 0);
	realign = wants(before, true) != wants(paging, true);
	if (realign)
		atomic_store(&mapping->huge_set, 0);
	if (wants(before, false) && !wants(paging, false))
		locks_clear_locked(mapping);
	fresh = preload_of(before) != preload_of(paging);
	if (fresh)
		atomic_store(&mapping->preloaded, false);
	reapply_locked(mapping, wants(paging, false), fresh, &refusal);
	locks = mapping_wants_locks(mapping);
	pthread_mutex_unlock(&mapping->lock);
	if (realign)
		mapping_drop(mapping, false);
	else if (locks)
		paging_due(mapping);
	paging_refused(mapping, &refusal);
	return -refusal.error;
}

void mapping_touch(const struct window_pin *pin)
{
	unsigned char byte;

	(void)guarded_copy(&byte, pin->bytes, 1);
}

int mapping_resident(struct mapping *mapping, int fd, uint64_t size, uint64_t *ret_resident)
{
	uint64_t resident = 0;
	size_t slot = 0;
	int result = 0;

	while (result == 0) {
		struct residency residency = {0};
		struct window_pin pin = {0};

		pthread_mutex_lock(&mapping->lock);
		pin.window = mapping_next_locked(mapping, &slot);
		pthread_mutex_unlock(&mapping->lock);
		if (pin.window == NULL)
			break;
		if (size > pin.window->offset)
			result = residency_count(fd, pin.window->offset,
						 MIN(size - pin.window->offset, pin.window->length),
						 &residency);
		resident += residency.cached;
		window_unpin(&pin);
	}
	if (result == 0)
		*ret_resident = resident;
	return result;
}

/* Adds what one block of smaps says is mapped by huge pages. */
static uint64_t huge_line(const char *line)
{
	static const char *const names[] = {
		"FilePmdMapped:", "ShmemPmdMapped:", "Shared_Hugetlb:", "Private_Hugetlb:"};
	unsigned long long kilobytes;

	for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
		size_t length = strlen(names[i]);

		if (strncmp(line, names[i], length) == 0 && sscanf(line + length, "%llu", &kilobytes) == 1)
			return (uint64_t)kilobytes << 10;
	}
	return 0;
}

static bool is_of_window(uintptr_t address, const struct window_pin *pins, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (address - (uintptr_t)pins[i].window->bytes < pins[i].window->length)
			return true;
	}
	return false;
}

int mapping_huge_bytes(struct mapping *mapping, uint64_t *ret_bytes)
{
	struct window_pin pins[HUGE_WINDOWS] = {0};
	size_t count = 0, slot = 0;
	uint64_t bytes = 0;
	bool inside = false;
	char line[512];
	FILE *file = fopen("/proc/self/smaps", "re");

	if (file == NULL)
		return -errno;
	pthread_mutex_lock(&mapping->lock);
	while (count < HUGE_WINDOWS && (pins[count].window = mapping_next_locked(mapping, &slot)) != NULL)
		count++;
	pthread_mutex_unlock(&mapping->lock);
	while (fgets(line, sizeof(line), file) != NULL) {
		unsigned long from, to;

		/* Only the first line of a block has a range of addresses. */
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = is_of_window(from, pins, count);
		else if (inside)
			bytes += huge_line(line);
	}
	fclose(file);
	for (size_t i = 0; i < count; i++)
		window_unpin(&pins[i]);
	*ret_bytes = bytes;
	return 0;
}
