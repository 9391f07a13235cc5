/* SPDX-License-Identifier: MIT */
#include "ctl/ctl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/text.h"
#include "util.h"

static const char *current = "";
static bool held;
static char *kept; /* the last that was said meanwhile */

void ctl_begin(const char *command)
{
	current = command;
}

__attribute__((format(printf, 1, 0))) static void say(const char *format, va_list arguments)
{
	char *text;

	if (vasprintf(&text, format, arguments) < 0)
		return;
	text_clean(text);
	if (held) {
		free(kept);
		kept = text;
		return;
	}
	fprintf(stderr, "memmapfsctl: %s\n", text);
	free(text);
}

void ctl_hold(void)
{
	held = true;
}

const char *ctl_held(void)
{
	return kept == NULL ? "" : kept;
}

void ctl_release(void)
{
	held = false;
	if (kept != NULL)
		fprintf(stderr, "memmapfsctl: %s\n", kept);
	free_pointer(&kept);
}

void ctl_say(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say(format, arguments);
	va_end(arguments);
}

enum ctl_status ctl_usage_error(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say(format, arguments);
	va_end(arguments);
	fprintf(stderr, "Try 'memmapfsctl %s%s--help'.\n", current, *current == '\0' ? "" : " ");
	return CTL_USAGE;
}

enum ctl_status ctl_print_json(json_t *object)
{
	int result = json_dumpf(object, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);

	json_decref(object);
	return result < 0 || putchar('\n') == EOF ? CTL_FAILED : CTL_DONE;
}

uint64_t ctl_number(const json_t *object, const char *path)
{
	while (object != NULL && *path != '\0') {
		size_t length = strcspn(path, ".");
		char key[64];

		if (length >= sizeof(key))
			return 0;
		memcpy(key, path, length);
		key[length] = '\0';
		object = json_object_get(object, key);
		path += length + (path[length] == '.');
	}
	return (uint64_t)MAX(json_integer_value(object), 0);
}
