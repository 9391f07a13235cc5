/* SPDX-License-Identifier: MIT */
#include "options_private.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "util.h"

static const struct {
	const char *name;
	uint64_t ms;
} time_units[] = {
	{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};

static const char size_units[] = "KMGTP";

_Static_assert(sizeof(enum sync_mode) == sizeof(unsigned), "KIND_CHOICE fields are written as unsigned");

static void *field_of(const struct option_row *row, struct options *options)
{
	return (char *)options + row->offset;
}

static const void *const_field_of(const struct option_row *row, const struct options *options)
{
	return (const char *)options + row->offset;
}

unsigned option_choice_value(const struct option_row *row, const struct options *options)
{
	unsigned value;

	memcpy(&value, const_field_of(row, options), sizeof(value));
	return value;
}

int option_size_read(const char *text, uint64_t *ret_size)
{
	uint64_t size = 0;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	/* Read to the end before saying that it is too large: junk behind it is the better complaint. */
	bool overflow = false;
	for (; isdigit((unsigned char)*text); text++) {
		overflow |= __builtin_mul_overflow(size, 10, &size);
		overflow |= __builtin_add_overflow(size, (uint64_t)(*text - '0'), &size);
	}
	if (*text != '\0') {
		const char *unit = strchr(size_units, toupper((unsigned char)*text));
		if (unit == NULL || text[1] != '\0')
			return -EINVAL;
		uint64_t factor = UINT64_C(1) << (10 * (unit - size_units + 1));
		overflow |= __builtin_mul_overflow(size, factor, &size);
	}
	if (overflow)
		return -ERANGE;
	*ret_size = size;
	return 0;
}

/* strtod() alone would take signs, blanks, exponents, hexadecimal, inf and nan. */
static int read_time(const char *text, double *ret_ms)
{
	size_t length = strspn(text, "0123456789.");
	char *end;
	double number = strtod(text, &end);
	uint64_t unit_ms = 1000;

	if (length == 0 || end != text + length)
		return -EINVAL;
	if (*end != '\0') {
		size_t i = 0;
		while (i < ARRAY_LENGTH(time_units) && strcmp(end, time_units[i].name) != 0)
			i++;
		if (i == ARRAY_LENGTH(time_units))
			return -EINVAL;
		unit_ms = time_units[i].ms;
	}
	double ms = number * (double)unit_ms;
	if (!isfinite(ms))
		return -ERANGE;
	*ret_ms = ms;
	return 0;
}

static int read_interval(const struct option_row *row, const char *text, uint64_t *ret_ms)
{
	double ms;
	int error = read_time(text, &ms);

	if (error < 0)
		return error;
	if (ms < (double)row->min || ms > (double)row->max)
		return -ERANGE;
	*ret_ms = (uint64_t)(ms + 0.5);
	return 0;
}

static int read_seconds(const char *text, double *ret_seconds)
{
	double ms;
	int error = read_time(text, &ms);

	if (error < 0)
		return error;
	*ret_seconds = ms / 1000;
	return 0;
}

static int read_size(const struct option_row *row, const char *text, uint64_t *ret_size)
{
	uint64_t size;
	int error = option_size_read(text, &size);

	if (error < 0)
		return error;
	if (size < row->min || size > row->max)
		return -ERANGE;
	*ret_size = size;
	return 0;
}

static int read_window(const struct option_row *row, const char *text, uint64_t *ret_size)
{
	uint64_t size;
	int error;

	if (strcmp(text, "full") == 0) {
		*ret_size = WINDOW_SIZE_FULL;
		return 0;
	}
	error = read_size(row, text, &size);
	if (error < 0)
		return error;
	if (size == 0 || size % page_size() != 0)
		return -ERANGE;
	*ret_size = size;
	return 0;
}

static int read_count(const struct option_row *row, const char *text, unsigned *ret_count)
{
	uint64_t count;

	if (strspn(text, "0123456789") != strlen(text))
		return -EINVAL;
	int error = read_size(row, text, &count);
	if (error < 0)
		return error;
	*ret_count = (unsigned)count;
	return 0;
}

static const struct option_choice *find_choice(const struct option_row *row, const char *text)
{
	for (const struct option_choice *choice = row->choices; choice->name != NULL; choice++)
		if (strcmp(choice->name, text) == 0)
			return choice;
	return NULL;
}

static int read_idle(const struct option_row *row, const char *text, struct options *options)
{
	const char *colon = strchr(text, ':');
	double ms;

	if (colon == NULL) {
		int error = read_time(text, &ms);
		/* A time without an action is only good as "off". */
		if (error < 0 || ms > 0)
			return -EINVAL;
		options->idle_ms = 0;
		return 0;
	}
	const struct option_choice *choice = find_choice(row, colon + 1);
	char time[64];
	if (choice == NULL || colon - text >= (ptrdiff_t)sizeof(time))
		return -EINVAL;
	memcpy(time, text, (size_t)(colon - text));
	time[colon - text] = '\0';
	int error = read_interval(row, time, &options->idle_ms);
	if (error < 0)
		return error;
	options->idle_action = choice->value;
	return 0;
}

static int read_path(const struct option_row *row, const char *text, char **path)
{
	if (row->kind == KIND_PATHS) {
		size_t length = strlen(text);
		if (text[0] == ':' || text[length - 1] == ':' || strstr(text, "::") != NULL)
			return -EINVAL;
	}
	char *copy = strdup(text);
	if (copy == NULL)
		return -ENOMEM;
	free(*path);
	*path = copy;
	return 0;
}

static char *print_size(uint64_t size)
{
	const char *unit = size_units;
	char *text;

	if (size == 0 || size % 1024 != 0)
		return asprintf(&text, "%" PRIu64, size) < 0 ? NULL : text;
	for (size /= 1024; size % 1024 == 0 && unit[1] != '\0'; size /= 1024)
		unit++;
	return asprintf(&text, "%" PRIu64 "%c", size, *unit) < 0 ? NULL : text;
}

static char *print_interval(uint64_t ms, const char *action)
{
	size_t i = 0;
	char *text;

	while (ms % time_units[i].ms != 0)
		i++;
	int length = asprintf(&text, "%" PRIu64 "%s%s%s", ms / time_units[i].ms, time_units[i].name,
			      action == NULL ? "" : ":", action == NULL ? "" : action);
	return length < 0 ? NULL : text;
}

static char *print_seconds(double seconds)
{
	char *text;

	return asprintf(&text, "%.15g", seconds) < 0 ? NULL : text;
}

static char *print_count(unsigned count)
{
	char *text;

	return asprintf(&text, "%u", count) < 0 ? NULL : text;
}

static const char *choice_name(const struct option_row *row, unsigned value)
{
	const struct option_choice *choice = row->choices;

	while (choice->name != NULL && choice->value != value)
		choice++;
	return choice->name;
}

char *option_value_print(const struct option_row *row, const struct options *options)
{
	const void *field = const_field_of(row, options);

	switch (row->kind) {
	case KIND_CHOICE:
		return strdup(choice_name(row, option_choice_value(row, options)));
	case KIND_FLAG:
		return strdup(*(const bool *)field ? "on" : "off");
	case KIND_WINDOW:
		if (*(const uint64_t *)field == WINDOW_SIZE_FULL)
			return strdup("full");
		return print_size(*(const uint64_t *)field);
	case KIND_SIZE:
		return print_size(*(const uint64_t *)field);
	case KIND_INTERVAL:
		return print_interval(*(const uint64_t *)field, NULL);
	case KIND_SECONDS:
		if (*(const double *)field < 0)
			return strdup(row->preset_note);
		return print_seconds(*(const double *)field);
	case KIND_COUNT:
		if (*(const unsigned *)field == 0)
			return strdup(row->preset_note);
		return print_count(*(const unsigned *)field);
	case KIND_PATH:
	case KIND_PATHS:
		return strdup(*(char *const *)field == NULL ? "" : *(char *const *)field);
	case KIND_IDLE:
		if (options->idle_ms == 0)
			return strdup("0");
		return print_interval(options->idle_ms, choice_name(row, options->idle_action));
	}
	return NULL;
}

/* "rw", "rw or ro", "auto, pwrite or window": what is available. */
static char *list_choices(const struct option_row *row)
{
	const struct option_choice *last = NULL;
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);
	const char *separator = "";

	if (stream == NULL)
		return NULL;
	for (const struct option_choice *choice = row->choices; choice->name != NULL; choice++) {
		if (last != NULL) {
			fprintf(stream, "%s%s", separator, last->name);
			separator = ", ";
		}
		last = choice;
	}
	if (last != NULL)
		fprintf(stream, "%s%s", *separator == '\0' ? "" : " or ", last->name);
	if (option_text_close(stream) < 0)
		free_pointer(&text);
	return text;
}

/* What would be right, to go behind "expected". */
static char *print_expectation(const struct option_row *row)
{
	CLEANUP(free_pointer) char *low = NULL;
	CLEANUP(free_pointer) char *high = NULL;
	char *text = NULL;
	int length = 0;

	switch (row->kind) {
	case KIND_CHOICE:
		return list_choices(row);
	case KIND_FLAG:
		return strdup("no value");
	case KIND_SIZE:
		if (row->max == UINT64_MAX)
			return strdup("a size such as 64M, or 0");
		low = print_size(row->min);
		high = print_size(row->max);
		if (low != NULL && high != NULL)
			length = asprintf(&text, "a size from %s to %s", low, high);
		break;
	case KIND_WINDOW:
		low = print_size(page_size());
		high = print_size(row->max);
		if (low != NULL && high != NULL)
			length = asprintf(&text, "a multiple of %s up to %s, or full", low, high);
		break;
	case KIND_INTERVAL:
		low = print_interval(row->min, NULL);
		high = print_interval(row->max, NULL);
		if (low != NULL && high != NULL)
			length = asprintf(&text, "a time from %s to %s, such as 500ms, 5s or 1m", low, high);
		break;
	case KIND_SECONDS:
		return strdup("seconds, 0 or more, such as 0, 0.5 or 60");
	case KIND_COUNT:
		length = asprintf(&text, "a number from %" PRIu64 " to %" PRIu64, row->min, row->max);
		break;
	case KIND_PATH:
		return strdup("a path");
	case KIND_PATHS:
		return strdup("one or more directories with a colon between them");
	case KIND_IDLE:
		return strdup("0, or a time and what to do, such as 30s:cold, 5m:pageout or 10m:unmap");
	}
	return length < 0 ? NULL : text;
}

static int refuse_choice(const struct option_row *row, const char *text, const char *expected,
			 char **ret_error)
{
	struct option_nearest nearest = {.typed = text};

	for (const struct option_choice *choice = row->choices; choice->name != NULL; choice++)
		option_nearest_try(&nearest, choice->name);
	if (nearest.best != NULL)
		return option_refuse(ret_error, "unknown value '%s' for '%s': did you mean '%s'?", text,
				     row->name, nearest.best);
	return option_refuse(ret_error, "unknown value '%s' for '%s': expected %s", text, row->name,
			     expected);
}

static int refuse_value(const struct option_row *row, const char *text, int error, char **ret_error)
{
	CLEANUP(free_pointer) char *expected = print_expectation(row);

	if (expected == NULL)
		return -ENOMEM;
	if (text == NULL || *text == '\0')
		return option_refuse(ret_error, "'%s' needs a value: expected %s", row->name, expected);
	if (row->kind == KIND_CHOICE)
		return refuse_choice(row, text, expected, ret_error);
	return option_refuse(ret_error, "%s '%s' for '%s': expected %s",
			     error == -ERANGE ? "value out of range" : "bad value", text, row->name,
			     expected);
}

int option_value_read(const struct option_row *row, const char *text, struct options *options,
		      char **ret_error)
{
	void *field = field_of(row, options);
	const struct option_choice *choice;
	int error = -EINVAL;

	if (row->kind == KIND_FLAG) {
		if (text != NULL)
			return option_refuse(ret_error, "'%s' takes no value", row->name);
		*(bool *)field = true;
		return 0;
	}
	if (text == NULL || *text == '\0')
		return refuse_value(row, text, -EINVAL, ret_error);

	switch (row->kind) {
	case KIND_CHOICE:
		choice = find_choice(row, text);
		if (choice != NULL) {
			memcpy(field, &choice->value, sizeof(choice->value));
			error = 0;
		}
		break;
	case KIND_SIZE:
		error = read_size(row, text, field);
		break;
	case KIND_WINDOW:
		error = read_window(row, text, field);
		break;
	case KIND_INTERVAL:
		error = read_interval(row, text, field);
		break;
	case KIND_SECONDS:
		error = read_seconds(text, field);
		break;
	case KIND_COUNT:
		error = read_count(row, text, field);
		break;
	case KIND_PATH:
	case KIND_PATHS:
		error = read_path(row, text, field);
		break;
	case KIND_IDLE:
		error = read_idle(row, text, options);
		break;
	case KIND_FLAG:
		break;
	}
	if (error == 0 || error == -ENOMEM)
		return error;
	return refuse_value(row, text, error, ret_error);
}
