/* SPDX-License-Identifier: MIT */
#include "options_private.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "util.h"

/* Longer words are not looked up: no option comes near. */
#define NEAREST_MAX 48
#define USAGE_COLUMN 34

int option_refuse(char **ret_error, const char *format, ...)
{
	va_list arguments;
	char *text;

	va_start(arguments, format);
	int length = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (length < 0)
		return -ENOMEM;
	for (char *c = text; *c != '\0'; c++)
		if (iscntrl((unsigned char)*c))
			*c = '?';
	*ret_error = text;
	return -EINVAL;
}

int option_text_close(FILE *stream)
{
	/* A write that found no memory is remembered by the stream and not by fclose(). */
	bool failed = ferror(stream) != 0;

	return fclose(stream) != 0 || failed ? -ENOMEM : 0;
}

static size_t min3(size_t a, size_t b, size_t c)
{
	return MIN(a, MIN(b, c));
}

/* Insertions, deletions, replacements and swapped neighbours between two words; case costs nothing. */
static size_t word_distance(const char *a, const char *b)
{
	size_t rows[3][NEAREST_MAX + 1];
	size_t *before = rows[0];
	size_t *previous = rows[1];
	size_t *current = rows[2];
	size_t length = strlen(b);

	for (size_t j = 0; j <= length; j++)
		previous[j] = j;
	for (size_t i = 1; a[i - 1] != '\0'; i++) {
		current[0] = i;
		for (size_t j = 1; j <= length; j++) {
			int here = tolower((unsigned char)a[i - 1]);
			int there = tolower((unsigned char)b[j - 1]);
			current[j] =
				min3(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (here != there));
			if (i > 1 && j > 1 && here == tolower((unsigned char)b[j - 2]) &&
			    there == tolower((unsigned char)a[i - 2]))
				current[j] = MIN(current[j], before[j - 2] + 1);
		}
		size_t *spare = before;
		before = previous;
		previous = current;
		current = spare;
	}
	return previous[length];
}

void option_nearest_try(struct option_nearest *nearest, const char *candidate)
{
	size_t typed = strlen(nearest->typed), other = strlen(candidate), length = MAX(typed, other);
	/* One slip in three letters; a word of two is not recognised by one of them. */
	size_t allowed = MIN(length / 3, 3);

	/* What one word is longer is to be inserted: nothing else has to be counted. */
	if (length > NEAREST_MAX || length - MIN(typed, other) > allowed)
		return;
	size_t distance = word_distance(nearest->typed, candidate);
	if (distance > allowed)
		return;
	if (nearest->best == NULL || distance < nearest->distance) {
		nearest->best = candidate;
		nearest->distance = distance;
	}
}

static int print_values(FILE *stream, const struct option_row *row)
{
	const char *separator = "";
	int length = 0;

	switch (row->kind) {
	case KIND_CHOICE:
		for (const struct option_choice *choice = row->choices; choice->name != NULL; choice++) {
			length += fprintf(stream, "%s%s", separator, choice->name);
			separator = "|";
		}
		return length;
	case KIND_FLAG:
		return 0;
	case KIND_SIZE:
		return fprintf(stream, "SIZE");
	case KIND_WINDOW:
		return fprintf(stream, "SIZE|full");
	case KIND_INTERVAL:
		return fprintf(stream, "TIME");
	case KIND_SECONDS:
		return fprintf(stream, "SECONDS");
	case KIND_COUNT:
		return fprintf(stream, "NUMBER");
	case KIND_PATH:
		return fprintf(stream, "PATH");
	case KIND_PATHS:
		return fprintf(stream, "DIR[:DIR...]");
	case KIND_IDLE:
		return fprintf(stream, "0|TIME:cold|TIME:pageout|TIME:unmap");
	}
	return 0;
}

static void print_row(FILE *stream, const struct option_row *row)
{
	int column = fprintf(stream, "    %s%s", row->name, row->kind == KIND_FLAG ? "" : "=");

	column += print_values(stream, row);
	fprintf(stream, "%*s  %s (default %s)\n", MAX(USAGE_COLUMN - column, 0), "", row->meaning,
		row->preset_note != NULL ? row->preset_note : row->preset);
}

char *options_usage(void)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	if (stream == NULL)
		return NULL;
	fputs("usage: memmapfs-fuse [-f] [-d] [-h] [-V] [-o OPTION[,OPTION...]] BACKING MOUNTPOINT\n"
	      "\n"
	      "Mount the directory BACKING at MOUNTPOINT and serve its files from memory-mapped windows.\n"
	      "\n"
	      "  -f             stay in the foreground\n"
	      "  -d             as -f, and log every request (log_level=debug)\n"
	      "  -h, --help     print this help\n"
	      "  -V, --version  print the version\n"
	      "  -o OPTION      one or more of the following, with commas between them\n"
	      "\n"
	      "Options after -o; SIZE is as 4096, 64K, 1G, and TIME is as 500ms, 5s, 1m, 0.5:\n",
	      stream);
	for (size_t i = 0; i < OPTION_COUNT; i++)
		print_row(stream, &option_rows[i]);
	fputs("\n"
	      "The words of mount(8), fstab and libfuse are taken as well: ro, allow_other, fsname=NAME,\n"
	      "nodev, nosuid, noexec, noatime, auto_unmount, ...; see memmapfs-fuse(8).\n",
	      stream);
	if (option_text_close(stream) < 0)
		free_pointer(&text);
	return text;
}

const char *options_describe(const struct options *options, size_t index, char **ret_value)
{
	if (index >= OPTION_COUNT)
		return NULL;
	*ret_value = option_value_print(&option_rows[index], options);
	return *ret_value == NULL ? NULL : option_rows[index].name;
}
