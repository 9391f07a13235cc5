/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CTL_PICTURE_H
#define MEMMAPFS_CTL_PICTURE_H

/* A file's residency in parts of equal length, a character a part. Knows no mount. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct picture_part {
	uint64_t pages; /* the last part of a file may have fewer */
	uint64_t cached, dirty, locked, hole;
};

struct picture {
	uint64_t size;	     /* of the file, bytes */
	uint64_t page_bytes; /* of a page */
	uint64_t part_bytes; /* a multiple of it */
	size_t count;
	struct picture_part *parts;
};

/**
 * picture_new() - the parts of a file, nothing known of them yet
 * @max: parts, > 0; the file is cut into as many as that or fewer
 *
 * Return: 0 with @ret_picture to be released by picture_fini(), or -ENOMEM.
 */
int picture_new(uint64_t size, uint64_t page_bytes, size_t max, struct picture *ret_picture);

/** picture_fini() - also as CLEANUP() */
void picture_fini(struct picture *picture);

/** picture_add_hole() - note that there is no data from @start to @end; partial pages do not count */
void picture_add_hole(struct picture *picture, uint64_t start, uint64_t end);

/**
 * picture_character() - 'L' locked, 'D' dirty, '#' all of it cached, '+' some of it, ' ' hole, '.' nothing
 *
 * What is first in this order and true of any page of the part.
 */
char picture_character(const struct picture_part *part);

/** picture_sum() - all parts together */
struct picture_part picture_sum(const struct picture *picture);

/** picture_print() - lines of @columns characters between bars, with the offset in front of each */
void picture_print(FILE *stream, const struct picture *picture, size_t columns);

#endif
