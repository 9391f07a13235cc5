/* SPDX-License-Identifier: MIT */
#include "ctl/picture.h"

#include <errno.h>
#include <stdlib.h>

#include "ctl/text.h"
#include "util.h"

int picture_new(uint64_t size, uint64_t page_bytes, size_t max, struct picture *ret_picture)
{
	uint64_t pages = size / page_bytes + (size % page_bytes > 0);
	uint64_t each = MAX(pages / max + (pages % max > 0), 1);
	struct picture picture = {.size = size, .page_bytes = page_bytes, .part_bytes = each * page_bytes};

	picture.count = (size_t)(pages / each + (pages % each > 0));
	picture.parts = calloc(picture.count + 1, sizeof(picture.parts[0]));
	if (picture.parts == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < picture.count; i++)
		picture.parts[i].pages = MIN(each, pages - i * each);
	*ret_picture = picture;
	return 0;
}

void picture_fini(struct picture *picture)
{
	free(picture->parts);
	picture->parts = NULL;
}

void picture_add_hole(struct picture *picture, uint64_t start, uint64_t end)
{
	uint64_t page = start / picture->page_bytes + (start % picture->page_bytes > 0);
	uint64_t last = end / picture->page_bytes;
	uint64_t each = picture->part_bytes / picture->page_bytes;

	/* The page that the file ends in is a whole one. */
	if (end >= picture->size)
		last = picture->size / picture->page_bytes + (picture->size % picture->page_bytes > 0);
	while (page < last) {
		uint64_t stop = MIN(last, (page / each + 1) * each);

		picture->parts[page / each].hole += stop - page;
		page = stop;
	}
}

char picture_character(const struct picture_part *part)
{
	if (part->locked > 0)
		return 'L';
	if (part->dirty > 0)
		return 'D';
	if (part->cached >= part->pages)
		return '#';
	if (part->cached > 0)
		return '+';
	return part->hole >= part->pages ? ' ' : '.';
}

struct picture_part picture_sum(const struct picture *picture)
{
	struct picture_part sum = {0};

	for (size_t i = 0; i < picture->count; i++) {
		sum.pages += picture->parts[i].pages;
		sum.cached += picture->parts[i].cached;
		sum.dirty += picture->parts[i].dirty;
		sum.locked += picture->parts[i].locked;
		sum.hole += picture->parts[i].hole;
	}
	return sum;
}

void picture_print(FILE *stream, const struct picture *picture, size_t columns)
{
	char buffer[TEXT_SIZE];

	for (size_t i = 0; i < picture->count; i++) {
		if (i % columns == 0)
			fprintf(stream, "%8s |", text_bytes(i * picture->part_bytes, buffer));
		fputc(picture_character(&picture->parts[i]), stream);
		if ((i + 1) % columns == 0 || i + 1 == picture->count)
			fputs("|\n", stream);
	}
}
