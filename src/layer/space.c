/* SPDX-License-Identifier: MIT */
/* Holes of a layer's files: making them, filling them, finding them. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "fs.h"
#include "layer/content_private.h"
#include "layer/stack.h"
#include "util.h"

/* Zeros in [offset, end), which lies in one page. */
static int zero_part(struct access *access, uint64_t offset, uint64_t end)
{
	static const unsigned char zeros[LAYER_PAGE];
	uint64_t page = offset / LAYER_PAGE;
	enum page_kind kind;
	int result;

	if (offset >= end ||
	    (pages_run(&access->node->pages, offset, end, &kind) == end && kind == PAGES_ZERO))
		return 0;
	result = pages_reserve(&access->node->pages, page, page + 1);
	if (result == 0)
		result = layer_charge(access->fs, pages_missing(&access->node->pages, page, page + 1));
	if (result < 0)
		return result;
	result = access_put_part(access, zeros, (size_t)(end - offset), offset);
	if (result < 0)
		access_unreserve(access, offset, (size_t)(end - offset));
	else
		pages_set_data(&access->node->pages, page, page + 1);
	return result;
}

static int zero_range(struct access *access, uint64_t offset, uint64_t end)
{
	uint64_t first = (offset + LAYER_PAGE - 1) / LAYER_PAGE, last = end / LAYER_PAGE, freed;
	int result;

	if (first > last)
		return zero_part(access, offset, end);
	result = zero_part(access, offset, first * LAYER_PAGE);
	if (result == 0)
		result = zero_part(access, last * LAYER_PAGE, end);
	if (result < 0 || first == last)
		return result;
	result = pages_reserve(&access->node->pages, first, last);
	if (result < 0)
		return result;
	freed = pages_set_zero(&access->node->pages, first, last);
	layer_discharge(access->fs->layer, freed);
	access->node->loose = access->node->loose || freed > 0;
	if (freed > 0 && !access->fs->layer->kept && access_pages(access) == 0 &&
	    fallocate(access->pages.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(first * LAYER_PAGE), (off_t)((last - first) * LAYER_PAGE)) < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	return 0;
}

/* Less than this is given without looking how much memory there is. */
#define ASK_ROOM_BYTES (UINT64_C(16) << 20)

/* Memory that can be had without taking it from anybody, and swap. Without /proc nothing is known: none. */
static uint64_t memory_left(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	uint64_t bytes = 0, kib;
	char line[256];

	if (file == NULL)
		return 0;
	while (fgets(line, sizeof(line), file) != NULL) {
		if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1 ||
		    sscanf(line, "SwapFree: %" SCNu64, &kib) == 1)
			bytes += kib << 10;
	}
	fclose(file);
	return bytes;
}

uint64_t layer_room(const struct layer *layer)
{
	uint64_t used = atomic_load(&layer->page_count) * LAYER_PAGE;

	if (layer->max == 0)
		return memory_left();
	return layer->max > used ? layer->max - used : 0;
}

/* Gives what reads as zeros and has no page one. */
static int give_pages(struct access *access, uint64_t offset, uint64_t end)
{
	struct pages *pages = &access->node->pages;
	uint64_t at = offset / LAYER_PAGE * LAYER_PAGE, next;
	int result = 0;

	end = (end + LAYER_PAGE - 1) / LAYER_PAGE * LAYER_PAGE;
	for (; at < end && result == 0; at = next) {
		enum page_kind kind;

		next = pages_run(pages, at, end, &kind);
		/* A run of clean bytes may end inside a page, which then stays clean. */
		next = (next + LAYER_PAGE - 1) / LAYER_PAGE * LAYER_PAGE;
		if (kind != PAGES_ZERO)
			continue;
		/* Memory asked for at once would be given until the kernel kills somebody for it. */
		if (!access->fs->layer->kept && next - at > ASK_ROOM_BYTES &&
		    next - at > layer_room(access->fs->layer))
			return -ENOSPC;
		result = pages_reserve(pages, at / LAYER_PAGE, next / LAYER_PAGE);
		if (result == 0)
			result = layer_charge(access->fs, (next - at) / LAYER_PAGE);
		if (result < 0)
			break;
		result = access_pages(access);
		/* Whatever may lie there from before. */
		if (result == 0 && (fallocate(access->pages.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					      (off_t)at, (off_t)(next - at)) < 0 ||
				    fallocate(access->pages.fd, 0, (off_t)at, (off_t)(next - at)) < 0))
			result = -errno;
		if (result < 0)
			layer_discharge(access->fs->layer, (next - at) / LAYER_PAGE);
		else
			pages_set_data(pages, at / LAYER_PAGE, next / LAYER_PAGE);
	}
	return result;
}

static int allocate_locked(struct access *access, int mode, uint64_t offset, uint64_t end)
{
	struct node *node = access->node;
	int result;

	/* Past the end of the file its last page has zeros only. */
	if ((mode & FALLOC_FL_PUNCH_HOLE) && end >= node->stx.stx_size)
		end = (end + LAYER_PAGE - 1) / LAYER_PAGE * LAYER_PAGE;
	if (mode & FALLOC_FL_PUNCH_HOLE)
		return zero_range(access, offset, end);
	result = mode & FALLOC_FL_ZERO_RANGE ? zero_range(access, offset, end)
					     : give_pages(access, offset, end);
	if (result == 0 && !(mode & FALLOC_FL_KEEP_SIZE))
		node->stx.stx_size = MAX(node->stx.stx_size, end);
	return result;
}

int content_allocate(struct fs *fs, struct inode *inode, struct node *node, int mode, uint64_t offset,
		     uint64_t length, const struct content_writer *writer)
{
	CLEANUP(access_end)
	struct access access = {fs, inode, node, FD_USE_NONE, FD_USE_NONE};
	bool capability = false;
	uint64_t before;
	int result;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	if (offset + length > LAYER_FILE_MAX)
		return -EFBIG;
	pthread_rwlock_wrlock(&node->lock);
	before = pages_data(&node->pages);
	result = allocate_locked(&access, mode, offset, offset + length);
	/* A part of it may have been done. */
	if (result == 0 || pages_data(&node->pages) != before)
		capability = content_touch_locked(node, writer);
	pthread_rwlock_unlock(&node->lock);
	if (capability)
		content_drop_capability(fs, inode);
	return result;
}

/* The first data, or hole, that BACKING has in [at, end); @end where there is none. */
static off_t seek_clean(struct access *access, uint64_t at, uint64_t end, int whence)
{
	off_t found;
	int result = access->backing.fd >= 0 ? 0
					     : inode_fd(access->fs, access->inode, FD_READ, &access->backing);

	if (result < 0 && result != -ESTALE)
		return result;
	if (result < 0)
		return whence == SEEK_HOLE ? (off_t)at : (off_t)end;
	found = lseek(access->backing.fd, (off_t)at, whence);
	if (found < 0 && errno != ENXIO)
		return -errno;
	/* Past BACKING's end everything is a hole. */
	if (found < 0)
		return whence == SEEK_HOLE ? (off_t)at : (off_t)end;
	return MIN(found, (off_t)end);
}

/* The same through the bases, from this one down. */
static off_t seek_lower(struct access *access, struct lower *lower, uint64_t at, uint64_t end, int whence)
{
	uint64_t next;

	lower = lower_content(lower);
	if (lower == NULL)
		return seek_clean(access, at, end, whence);
	for (; at < end; at = next) {
		enum page_kind kind;
		off_t found;

		next = pages_run(&lower->pages, at, end, &kind);
		if (kind == (whence == SEEK_DATA ? PAGES_DATA : PAGES_ZERO))
			return (off_t)at;
		if (kind != PAGES_CLEAN)
			continue;
		found = seek_lower(access, lower->next, at, next, whence);
		if (found != (off_t)next)
			return found;
	}
	return (off_t)end;
}

off_t content_seek(struct fs *fs, struct inode *inode, struct node *node, uint64_t offset, int whence)
{
	CLEANUP(access_end)
	struct access access = {fs, inode, node, FD_USE_NONE, FD_USE_NONE};
	uint64_t at = offset, size, next;
	off_t found = -1;

	pthread_rwlock_rdlock(&node->lock);
	size = node->stx.stx_size;
	for (; at < size && found == -1; at = next) {
		enum page_kind kind;

		next = pages_run(&node->pages, at, size, &kind);
		if (kind == (whence == SEEK_DATA ? PAGES_DATA : PAGES_ZERO))
			found = (off_t)at;
		if (kind != PAGES_CLEAN)
			continue;
		found = seek_lower(&access, node->lower, at, next, whence);
		if (found == (off_t)next)
			found = -1;
		else if (found < 0)
			break;
	}
	pthread_rwlock_unlock(&node->lock);
	if (found != -1)
		return found;
	/* The end of the file is a hole. */
	return offset < size && whence == SEEK_HOLE ? (off_t)size : -ENXIO;
}
