/* SPDX-License-Identifier: MIT */
/* memmapfsctl layer: what is in a layer. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"
#include "ctl/layer_print.h"
#include "ctl/layer_target.h"
#include "util.h"

/* All rows of all answers to a verb, in one array. */
static int collect(const struct layer_target *target, const char *verb, json_t **ret_rows)
{
	CLEANUP(free_pointer) char *cursor = strdup("");
	json_t *rows = json_array(), *answer;
	int result = 0;

	while (cursor != NULL && (result = layer_target_ask(target, verb, cursor, &answer)) == 0) {
		const char *next = json_string_value(json_object_get(answer, "next"));

		json_array_extend(rows, json_object_get(answer, "rows"));
		free(cursor);
		cursor = next == NULL ? NULL : strdup(next);
		json_decref(answer);
	}
	if (result < 0)
		json_decref(rows);
	else
		*ret_rows = rows;
	return result;
}

static int compare_paths(const void *a, const void *b)
{
	const char *first = json_string_value(json_object_get(*(json_t *const *)a, "path"));
	const char *second = json_string_value(json_object_get(*(json_t *const *)b, "path"));

	return strcmp(first == NULL ? "" : first, second == NULL ? "" : second);
}

/* The same rows by path; consumes them. */
static json_t *sort_rows(json_t *rows)
{
	size_t count = json_array_size(rows);
	CLEANUP(free_pointer) json_t **sorted = malloc((count + 1) * sizeof(sorted[0]));
	json_t *array;

	if (sorted == NULL)
		return rows;
	for (size_t i = 0; i < count; i++)
		sorted[i] = json_array_get(rows, i);
	qsort(sorted, count, sizeof(sorted[0]), compare_paths);
	array = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append(array, sorted[i]);
	json_decref(rows);
	return array;
}

static json_t *status_totals(const json_t *files)
{
	uint64_t pages = 0, bytes = 0, changes = 0;
	const json_t *file;
	size_t index;

	json_array_foreach(files, index, file)
	{
		const char *base = json_string_value(json_object_get(file, "base"));

		pages += ctl_number(file, "pages");
		bytes += ctl_number(file, "bytes");
		changes += base != NULL && strcmp(base, "same") != 0 && strcmp(base, "unknown") != 0;
	}
	return json_pack("{sI sI sI sI}", "files", (json_int_t)json_array_size(files), "pages",
			 (json_int_t)pages, "bytes", (json_int_t)bytes, "base_changes", (json_int_t)changes);
}

enum ctl_status ctl_layer_status(const char *const *options, char **operands, int count)
{
	CLEANUP(layer_target_close) struct layer_target target = LAYER_TARGET_NONE;
	json_t *object, *files;

	(void)count;
	if (layer_target_open(operands[0], &target) < 0 || layer_target_ask(&target, "info", "", &object) < 0)
		return CTL_FAILED;
	if (collect(&target, "status", &files) < 0) {
		json_decref(object);
		return CTL_FAILED;
	}
	files = sort_rows(files);
	json_object_set_new(object, "totals", status_totals(files));
	json_object_set_new(object, "files", files);
	if (options[0] != NULL)
		return ctl_print_json(object);
	layer_print_status(object);
	json_decref(object);
	return CTL_DONE;
}

/* The ranges that did not fit into the row. */
static int complete_ranges(const struct layer_target *target, json_t *change)
{
	CLEANUP(free_pointer) char *cursor = NULL;
	const char *more = json_string_value(json_object_get(change, "more"));
	json_t *ranges = json_object_get(change, "ranges"), *answer;
	int result;

	cursor = more == NULL ? NULL : strdup(more);
	json_object_del(change, "more");
	while (cursor != NULL) {
		result = layer_target_ask(target, "ranges", cursor, &answer);
		/* It may be gone from the layer by now. */
		if (result < 0)
			return result;
		json_array_extend(ranges, json_object_get(answer, "ranges"));
		more = json_string_value(json_object_get(answer, "next"));
		free(cursor);
		cursor = more == NULL ? NULL : strdup(more);
		json_decref(answer);
	}
	return 0;
}

static json_t *diff_totals(const json_t *changes)
{
	static const char *const kinds[] = {"added", "removed", "replaced", "changed"};
	json_int_t counts[ARRAY_LENGTH(kinds)] = {0}, bytes = 0;
	json_t *totals = json_object();
	const json_t *change;
	size_t index;

	json_array_foreach(changes, index, change)
	{
		const char *kind = json_string_value(json_object_get(change, "change"));

		for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++)
			counts[i] += kind != NULL && strcmp(kind, kinds[i]) == 0;
		bytes += (json_int_t)ctl_number(change, "bytes");
	}
	for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++)
		json_object_set_new(totals, kinds[i], json_integer(counts[i]));
	json_object_set_new(totals, "bytes", json_integer(bytes));
	return totals;
}

enum ctl_status ctl_layer_diff(const char *const *options, char **operands, int count)
{
	CLEANUP(layer_target_close) struct layer_target target = LAYER_TARGET_NONE;
	bool stat = options[0] != NULL, json = options[1] != NULL, differs;
	json_t *object, *changes, *change;
	enum ctl_status status = CTL_DONE;
	size_t index;

	(void)count;
	if (layer_target_open(operands[0], &target) < 0 || collect(&target, "diff", &changes) < 0)
		return CTL_FAILED;
	changes = sort_rows(changes);
	json_array_foreach(changes, index, change)
	{
		if (stat) {
			json_object_del(change, "ranges");
			json_object_del(change, "more");
		} else if (complete_ranges(&target, change) < 0) {
			status = CTL_FAILED;
		}
	}
	differs = json_array_size(changes) > 0;
	object = json_pack("{so so}", "totals", diff_totals(changes), "changes", changes);
	if (json) {
		if (ctl_print_json(object) != CTL_DONE)
			status = CTL_FAILED;
	} else {
		layer_print_diff(object, stat);
		json_decref(object);
	}
	return differs ? CTL_FAILED : status;
}
