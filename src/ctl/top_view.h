/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CTL_TOP_VIEW_H
#define MEMMAPFS_CTL_TOP_VIEW_H

/* The lines of `memmapfsctl top`, as text: the same on a terminal and in a pipe. */

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* One look at a mount. */
struct top_sample {
	json_t *stats;	/* user.memmapfs.stats */
	json_t *files;	/* answer of listing_files() */
	double seconds; /* since the sample before it; 0: there is none */
};

#define TOP_HEADER_LINES 4

/** top_header() - line @number, below TOP_HEADER_LINES; malloc'ed, or NULL without memory */
char *top_header(const char *mount, const struct top_sample *sample, const struct top_sample *before,
		 unsigned number, size_t columns);

/** top_titles() - the line above the files; the measure they are sorted by is marked with '*' */
char *top_titles(const char *measure, size_t columns);

/** top_row() - the line of one file of @sample->files; NULL past the last, or without memory */
char *top_row(const struct top_sample *sample, size_t index, size_t columns);

#endif
