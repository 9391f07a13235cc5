/* SPDX-License-Identifier: MIT */
#include "options_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "util.h"

/* 1 or 0, or -ENOMEM. */
static int differs_from_preset(const struct option_row *row, const struct options *options)
{
	CLEANUP(free_pointer) char *value = option_value_print(row, options);

	if (value == NULL)
		return -ENOMEM;
	return strcmp(value, row->preset) != 0;
}

/* An option as it would be written: "mode=cow", "writeback". NULL without memory. */
static char *print_option(const struct option_row *row, const struct options *options)
{
	CLEANUP(free_pointer) char *value = option_value_print(row, options);
	char *text;

	if (value == NULL)
		return NULL;
	if (row->kind == KIND_FLAG)
		return strdup(row->name);
	return asprintf(&text, "%s=%s", row->name, value) < 0 ? NULL : text;
}

/* 1 or 0, or -ENOMEM. */
static int condition_holds(const struct option_condition *condition, const struct options *options,
			   option_mask given)
{
	const struct option_row *row = &option_rows[condition->option];

	switch (condition->when) {
	case WHEN_IS:
		return option_choice_value(row, options) == condition->value;
	case WHEN_NOT:
		return option_choice_value(row, options) != condition->value;
	case WHEN_SET:
		return differs_from_preset(row, options);
	case WHEN_GIVEN:
		return (given >> condition->option) & 1;
	}
	return 0;
}

static int refuse_conflict(const struct option_conflict *conflict, const struct options *options,
			   char **ret_error)
{
	CLEANUP(free_pointer) char *one = print_option(&option_rows[conflict->one.option], options);
	CLEANUP(free_pointer) char *other = print_option(&option_rows[conflict->other.option], options);

	if (one == NULL || other == NULL)
		return -ENOMEM;
	return option_refuse(ret_error, "'%s' conflicts with '%s': %s", one, other, conflict->remedy);
}

int options_check(const struct options *options, option_mask given, char **ret_error)
{
	for (const struct option_conflict *conflict = option_conflicts; conflict->remedy != NULL;
	     conflict++) {
		int one = condition_holds(&conflict->one, options, given);
		int other = condition_holds(&conflict->other, options, given);
		if (one < 0 || other < 0)
			return -ENOMEM;
		if (one && other)
			return refuse_conflict(conflict, options, ret_error);
	}
	return 0;
}
