/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_REPORT_DIFF_H
#define MEMMAPFS_LAYER_REPORT_DIFF_H

/* What report.c offers report_diff.c: an answer being written. */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layer/report.h"

struct report {
	char *text;
	size_t length, rows;
};

/** report_begin() - an answer without rows. Return: 0 or -ENOMEM; end with report_end(). */
int report_begin(struct report *report);

/** report_add() - add a row, which is consumed. Return: 0, 1 if it does not fit any more, -ENOMEM, -ENAMETOOLONG. */
int report_add(struct report *report, json_t *row);

/**
 * report_end() - the answer, or nothing if @result < 0
 * @next: where to go on, in characters that JSON takes as they are; NULL: nowhere
 *
 * Return: @result if it is negative, else 0.
 */
int report_end(struct report *report, int result, const char *next, char **ret_reply);

/** report_number() - read decimal digits; false where there are none */
bool report_number(const char *text, const char **ret_end, uint64_t *ret_number);

#endif
