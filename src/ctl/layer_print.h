/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CTL_LAYER_PRINT_H
#define MEMMAPFS_CTL_LAYER_PRINT_H

/* What is in a layer, as tables. Knows the answers of layer/report.h and asks nobody. */

#include <jansson.h>
#include <stdbool.h>

/** layer_print_status() - @object: {"directory", "backing", "files", "totals"} */
void layer_print_status(const json_t *object);

/** layer_print_diff() - @object: {"changes", "totals"}; @stat: sizes instead of ranges, and totals */
void layer_print_diff(const json_t *object, bool stat);

#endif
