/* SPDX-License-Identifier: MIT */
#include "mapping/advice.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "mapping/guard.h"
#include "mapping/paging.h"
#include "mapping/residency.h"
#include "mapping/windows.h"

/* Newer than some libc headers; the kernel says EINVAL where it does not know them either. */
#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* Bytes between two questions whether to stop. */
#define STEP ((uint64_t)16 << 20)
/* Of one MADV_WILLNEED the kernel reads no more than its read-ahead or the device's largest request. */
#define READ_AHEAD ((uint64_t)128 << 10)
/* Runs of cached pages asked for at once. */
#define RUNS_MAX 64

static const struct {
	const char *name;
	int number;
	bool stands;
	bool divides; /* a property of the mapping, not of its pages */
} rows[ADVICE_COUNT] = {
	[ADVICE_NORMAL] = {"normal", MADV_NORMAL, true, true},
	[ADVICE_RANDOM] = {"random", MADV_RANDOM, true, true},
	[ADVICE_SEQUENTIAL] = {"sequential", MADV_SEQUENTIAL, true, true},
	[ADVICE_WILLNEED] = {"willneed", MADV_WILLNEED, true, false},
	[ADVICE_DONTNEED] = {"dontneed", MADV_DONTNEED, false, false},
	[ADVICE_COLD] = {"cold", MADV_COLD, false, false},
	[ADVICE_PAGEOUT] = {"pageout", MADV_PAGEOUT, false, false},
	[ADVICE_HUGEPAGE] = {"hugepage", MADV_HUGEPAGE, true, true},
	[ADVICE_NOHUGEPAGE] = {"nohugepage", MADV_NOHUGEPAGE, true, true},
	[ADVICE_POPULATE_READ] = {"populate_read", MADV_POPULATE_READ, false, false},
	[ADVICE_COLLAPSE] = {"collapse", MADV_COLLAPSE, false, false},
};

const char *advice_name(enum advice advice)
{
	return rows[advice].name;
}

int advice_find(const char *name, enum advice *ret_advice, const char **ret_why)
{
	for (size_t i = 0; i < ADVICE_COUNT; i++) {
		if (strcmp(rows[i].name, name) == 0) {
			*ret_advice = (enum advice)i;
			return 0;
		}
	}
	if (strcmp(name, "free") == 0 || strcmp(name, "remove") == 0) {
		*ret_why = strcmp(name, "free") == 0
				   ? "it destroys data: the kernel may drop written pages instead of writing "
				     "them back"
				   : "it destroys data: it punches a hole into the file";
		return -EPERM;
	}
	*ret_why = "normal, random, sequential, willneed, dontneed, cold, pageout, hugepage, nohugepage, "
		   "populate_read or collapse";
	return -EINVAL;
}

bool advice_stands(enum advice advice)
{
	return rows[advice].stands;
}

int advice_give(unsigned char *bytes, size_t length, enum advice advice)
{
	return madvise(bytes, length, rows[advice].number) < 0 ? -errno : 0;
}

void advice_give_descriptor(int fd, enum advice advice)
{
	static const int numbers[] = {[ADVICE_NORMAL] = POSIX_FADV_NORMAL,
				      [ADVICE_RANDOM] = POSIX_FADV_RANDOM,
				      [ADVICE_SEQUENTIAL] = POSIX_FADV_SEQUENTIAL};

	/* A hint that is not taken changes nothing, and there is nobody to tell. */
	if (advice <= ADVICE_SEQUENTIAL)
		(void)posix_fadvise(fd, 0, 0, numbers[advice]);
}

enum advice advice_in_force(const struct mapping *mapping)
{
	const struct paging *paging = atomic_load_explicit(&mapping->paging, memory_order_acquire);
	uint8_t set = atomic_load_explicit(&mapping->advice_set, memory_order_relaxed);

	if (set != 0)
		return (enum advice)(set - 1);
	return paging == NULL ? ADVICE_NORMAL : paging->advice;
}

int advice_wants_huge(const struct mapping *mapping)
{
	const struct paging *paging = atomic_load_explicit(&mapping->paging, memory_order_acquire);
	uint8_t set = atomic_load_explicit(&mapping->huge_set, memory_order_relaxed);

	if (set != 0)
		return set == ADVICE_HUGEPAGE + 1;
	return paging != NULL && paging->huge_pages ? 1 : -1;
}

uint64_t past_hole(int fd, uint64_t at, uint64_t end)
{
	uint64_t data = at < end ? page_round_down(data_after(fd, at, end)) : end;

	return data > at && data - at > LONG_HOLE ? data : MIN(at, end);
}

int read_ahead(int fd, uint64_t offset, uint64_t length, const struct mapping_stop *stop)
{
	uint64_t end = offset + length, look = offset;

	for (uint64_t at = offset; at < end; at += READ_AHEAD) {
		if (at >= look) {
			if (stop_asked(stop))
				return -EINTR;
			at = past_hole(fd, at, end);
			look = at + STEP;
		}
		/* What madvise(MADV_WILLNEED) of a file mapping does, without a mapping. */
		if (at < end)
			(void)posix_fadvise(fd, (off_t)at, (off_t)MIN(READ_AHEAD, end - at),
					    POSIX_FADV_WILLNEED);
	}
	return 0;
}

/* One byte of every page: for kernels without MADV_POPULATE_READ. */
static int touch_pages(const unsigned char *bytes, size_t length)
{
	unsigned char byte;

	for (size_t at = 0; at < length; at += page_size()) {
		int result = guarded_copy(&byte, bytes + at, 1);

		if (result < 0)
			return result;
	}
	return 0;
}

int populate(unsigned char *bytes, size_t length, const struct mapping_stop *stop)
{
	for (size_t done = 0; done < length; done += STEP) {
		size_t step = MIN((size_t)STEP, length - done);
		int result;

		if (stop_asked(stop))
			return -EINTR;
		result = advice_give(bytes + done, step, ADVICE_POPULATE_READ);
		if (result == -EINVAL)
			result = touch_pages(bytes + done, step);
		if (result < 0)
			return result;
	}
	return 0;
}

/*
 * The kernel finds the pages to make cold or to reclaim by what is mapped: map what is in memory. Where it does
 * not tell what that is, only what is mapped already goes.
 */
static void map_resident(int fd, uint64_t offset, unsigned char *bytes, size_t length)
{
	struct extent runs[RUNS_MAX];
	uint64_t at = offset, end = offset + length;
	size_t count;

	while (at < end && residency_runs(fd, at, end - at, NULL, runs, RUNS_MAX, &count, &at) == 0) {
		for (size_t i = 0; i < count; i++) {
			uint64_t stop = MIN(runs[i].end, end);

			if (touch_pages(bytes + (runs[i].start - offset), (size_t)(stop - runs[i].start)) < 0)
				return;
		}
	}
}

/* @pin has bytes of the file from @offset on, which begins a page. */
static int advise_pinned(const struct window_pin *pin, int fd, uint64_t offset, enum advice advice,
			 const struct mapping_stop *stop)
{
	size_t length = (size_t)page_round_up(pin->length);

	if (advice == ADVICE_POPULATE_READ)
		return populate(pin->bytes, length, stop);
	for (size_t done = 0; done < length; done += STEP) {
		size_t step = rows[advice].divides ? length : MIN((size_t)STEP, length - done);
		int result;

		if (stop_asked(stop))
			return -EINTR;
		if (advice == ADVICE_COLD || advice == ADVICE_PAGEOUT)
			map_resident(fd, offset + done, pin->bytes + done, step);
		result = advice_give(pin->bytes + done, step, advice);
		if (result < 0 || step == length)
			return result;
	}
	return 0;
}

static int count_split(struct mapping *mapping)
{
	LOCK_SCOPE(&mapping->lock);
	if (mapping->splits >= WINDOW_SPLITS)
		return -ENOMEM;
	mapping->splits++;
	return 0;
}

int mapping_advise_range(struct mapping *mapping, const struct window_source *source, enum advice advice,
			 uint64_t offset, uint64_t length, const struct mapping_stop *stop)
{
	struct window_source quiet = *source;
	uint64_t at = page_round_down(offset), end = offset + length;
	int result = 0;

	if (advice == ADVICE_WILLNEED)
		return read_ahead(source->fd, at, end - at, stop);
	if (rows[advice].divides)
		result = count_split(mapping);
	quiet.quiet = true;
	while (at < end && result == 0) {
		struct window_pin pin = {0};

		result = mapping_pin(mapping, &quiet, at, (size_t)MIN(end - at, SIZE_MAX / 2), &pin);
		if (result < 0)
			return result;
		result = advise_pinned(&pin, source->fd, at, advice, stop);
		at += pin.length;
		window_unpin(&pin);
	}
	return result;
}

/* To the windows that are mapped. */
static int give_windows(struct mapping *mapping, enum advice advice)
{
	struct window *window;
	size_t slot = 0;
	int result = 0;

	LOCK_SCOPE(&mapping->lock);
	while ((window = mapping_next_locked(mapping, &slot)) != NULL) {
		int error = advice_give(window->bytes, window->length, advice);

		result = result < 0 ? result : error;
		window_unpin(&(struct window_pin){.window = window});
	}
	/* One advice for all of a mapping joins what was divided. */
	mapping->splits = 0;
	return result;
}

/* The kernel says by a window whether it has huge pages for this file; then all are mapped anew, aligned. */
static int advise_huge(struct mapping *mapping, const struct window_source *source, enum advice advice)
{
	uint8_t before = atomic_exchange(&mapping->huge_set, advice + 1);
	struct window_source quiet = *source;
	struct window_pin pin = {0};
	int result = 0;

	quiet.quiet = true;
	mapping_drop(mapping, false);
	if (source->size == 0)
		return 0;
	result = mapping_pin(mapping, &quiet, 0, 1, &pin);
	if (result == 0)
		result = advice_give(pin.window->bytes, pin.window->length, advice);
	window_unpin(&pin);
	if (result < 0)
		atomic_store(&mapping->huge_set, before);
	return result;
}

int mapping_advise_file(struct mapping *mapping, const struct window_source *source, enum advice advice,
			const struct mapping_stop *stop)
{
	uint8_t before;
	int result;

	if (advice == ADVICE_HUGEPAGE || advice == ADVICE_NOHUGEPAGE)
		return advise_huge(mapping, source, advice);
	if (!advice_stands(advice))
		return mapping_advise_range(mapping, source, advice, 0, source->size, stop);
	before = atomic_exchange(&mapping->advice_set, advice + 1);
	result = give_windows(mapping, advice == ADVICE_WILLNEED ? ADVICE_NORMAL : advice);
	if (result < 0)
		atomic_store(&mapping->advice_set, before);
	else if (advice == ADVICE_WILLNEED)
		result = read_ahead(source->fd, 0, source->size, stop);
	return result;
}
