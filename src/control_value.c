/* SPDX-License-Identifier: MIT */
#include "control_value.h"

#include <errno.h>
#include <string.h>

#include "options.h"
#include "util.h"

/* Longer numbers do not fit anyway. */
#define NUMBER_MAX 32

static int refuse(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EINVAL;
}

/* The number between @text and @end. */
static int read_number(const char *text, const char *end, uint64_t *ret_number)
{
	char number[NUMBER_MAX];
	size_t length = (size_t)(end - text);

	if (length >= sizeof(number))
		return -EINVAL;
	memcpy(number, text, length);
	number[length] = '\0';
	return options_size(number, ret_number);
}

int control_value_read(const char *text, struct control_value *ret_value, const char **ret_why)
{
	const char *end = text + strlen(text), *colon = strchr(text, ':'), *second;
	const char *word_end = colon == NULL ? end : colon;
	struct control_value value = {.ranged = colon != NULL};
	uint64_t sum;

	if ((size_t)(word_end - text) >= sizeof(value.word))
		return refuse(ret_why, "the word is too long");
	memcpy(value.word, text, (size_t)(word_end - text));
	if (colon != NULL) {
		second = strchr(colon + 1, ':');
		if (second == NULL || read_number(colon + 1, second, &value.offset) < 0 ||
		    read_number(second + 1, end, &value.length) < 0)
			return refuse(ret_why, "a range is :OFFSET:LENGTH, in bytes or as 64K, 1M, 2G");
		if (value.length == 0)
			return refuse(ret_why, "a range has at least one byte");
		if (__builtin_add_overflow(value.offset, value.length, &sum) || sum > INT64_MAX)
			return refuse(ret_why, "the range lies outside of the file");
	}
	*ret_value = value;
	return 0;
}
