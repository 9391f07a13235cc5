/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_PAGES_H
#define MEMMAPFS_LAYER_PAGES_H

/*
 * Which bytes of a file are whose. Each page of a file in a layer is one of three: clean, its bytes are
 * BACKING's; data, its bytes lie in the layer's page file at the same offset; zero, it reads as zeros and
 * has no bytes anywhere. What is past the clean bytes and no data is zero without being noted.
 *
 * Two sets of page numbers and a length. Knows no files and takes no lock: the owner's.
 */

#include <stdint.h>

#include "layer/page_set.h"

/* Of the layer, whatever the machine's: a layer may be kept. */
#define LAYER_PAGE UINT64_C(4096)
/* Page numbers have 32 bits. */
#define LAYER_FILE_MAX (LAYER_PAGE << 32)

struct pages {
	struct page_set data;
	struct page_set zero; /* disjoint from data, all below clean */
	uint64_t clean;	      /* bytes from the start that are BACKING's where no page is noted */
};

enum page_kind { PAGES_CLEAN, PAGES_DATA, PAGES_ZERO };

/** pages_fini() - free the sets; everything is clean up to @pages->clean again */
void pages_fini(struct pages *pages);

/** pages_copy() - the same sets once more. Return: 0 or -ENOMEM. */
int pages_copy(const struct pages *pages, struct pages *ret_copy);

/**
 * pages_run() - how far bytes from @offset on are of one kind
 * @offset: in bytes, below LAYER_FILE_MAX
 * @end:    in bytes, above @offset: no need to look further
 *
 * Return: where the run ends, in (@offset, @end]. A clean run ends at pages->clean, inside a page too.
 */
uint64_t pages_run(const struct pages *pages, uint64_t offset, uint64_t end, enum page_kind *ret_kind);

/** pages_missing() - pages of [@first, @end) that are no data: what making them so would add. In pages. */
uint64_t pages_missing(const struct pages *pages, uint64_t first, uint64_t end);

/**
 * pages_reserve() - memory for the next change of pages in [@first, @end), to be asked for before it
 *
 * Return: 0 or -ENOMEM.
 */
int pages_reserve(const struct pages *pages, uint64_t first, uint64_t end);

/** pages_set_data() - pages [@first, @end) are data now */
void pages_set_data(struct pages *pages, uint64_t first, uint64_t end);

/** pages_set_zero() - pages [@first, @end) are zero now. Return: how many were data. */
uint64_t pages_set_zero(struct pages *pages, uint64_t first, uint64_t end);

/**
 * pages_cut() - the file was truncated to @size bytes
 *
 * No byte from there on is BACKING's any more, should the file grow again. What a data page has of bytes past
 * @size is the caller's to clear.
 *
 * Return: data pages that went.
 */
uint64_t pages_cut(struct pages *pages, uint64_t size);

/** pages_data() - how many pages are data */
uint64_t pages_data(const struct pages *pages);

/** pages_clean() - how many pages have clean bytes */
uint64_t pages_clean(const struct pages *pages);

#endif
