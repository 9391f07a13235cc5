/* SPDX-License-Identifier: MIT */
#include "ctl/top_view.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"
#include "ctl/text.h"
#include "util.h"

/* A line that is cut where the terminal ends; nothing in it is wider than a column. */
__attribute__((format(printf, 2, 3))) static char *line(size_t columns, const char *format, ...)
{
	va_list arguments;
	char *text;
	int length;

	va_start(arguments, format);
	length = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (length < 0)
		return NULL;
	if ((size_t)length > columns)
		text[columns] = '\0';
	return text;
}

/* What a counter grew by in a second; it may have been reset. */
static uint64_t rate(const struct top_sample *sample, const struct top_sample *before, const char *path)
{
	uint64_t now = ctl_number(sample->stats, path), then = ctl_number(before->stats, path);

	return now < then || sample->seconds <= 0 ? 0 : (uint64_t)((double)(now - then) / sample->seconds);
}

static char *io_line(const struct top_sample *sample, const struct top_sample *before, size_t columns)
{
	char read[TEXT_SIZE], written[TEXT_SIZE];

	if (before == NULL)
		return line(columns, "so far: %llu reads, %s; %llu writes, %s",
			    (unsigned long long)ctl_number(sample->stats, "io.reads"),
			    text_bytes(ctl_number(sample->stats, "io.read_bytes"), read),
			    (unsigned long long)ctl_number(sample->stats, "io.writes"),
			    text_bytes(ctl_number(sample->stats, "io.write_bytes"), written));
	return line(columns, "a second: %llu reads, %s; %llu writes, %s",
		    (unsigned long long)rate(sample, before, "io.reads"),
		    text_bytes(rate(sample, before, "io.read_bytes"), read),
		    (unsigned long long)rate(sample, before, "io.writes"),
		    text_bytes(rate(sample, before, "io.write_bytes"), written));
}

static char *first_line(const char *mount, const struct top_sample *sample, size_t columns)
{
	char up[TEXT_SIZE], tail[64];
	CLEANUP(free_pointer) char *name = NULL;
	/* One handle is our own, of the mount's root. */
	size_t length =
		(size_t)snprintf(tail, sizeof(tail), "  up %s, %llu files, %llu open",
				 text_duration(ctl_number(sample->stats, "uptime_s"), up),
				 (unsigned long long)ctl_number(sample->files, "files"),
				 (unsigned long long)MAX(ctl_number(sample->stats, "handles"), 1) - 1);

	name = text_fit(mount, columns > length ? columns - length : 0);
	return name == NULL ? NULL : line(strlen(name) + columns, "%s%s", name, tail);
}

char *top_header(const char *mount, const struct top_sample *sample, const struct top_sample *before,
		 unsigned number, size_t columns)
{
	const json_t *stats = sample->stats;
	char mapped[TEXT_SIZE], dirty[TEXT_SIZE], hits[TEXT_SIZE];
	uint64_t faults = ctl_number(stats, "faults.truncated") + ctl_number(stats, "faults.nospace") +
			  ctl_number(stats, "faults.io");
	uint64_t hit = ctl_number(stats, "windows.hits"), miss = ctl_number(stats, "windows.misses");

	switch (number) {
	case 0:
		return first_line(mount, sample, columns);
	case 1:
		return io_line(sample, before, columns);
	case 2:
		return line(columns, "windows: %llu, %s mapped, %s hits, %llu evictions",
			    (unsigned long long)ctl_number(stats, "windows.count"),
			    text_bytes(ctl_number(stats, "windows.bytes"), mapped),
			    text_percent(hit, hit + miss, hits),
			    (unsigned long long)ctl_number(stats, "windows.evictions"));
	default:
		return line(columns, "dirty: %s; sync errors: %llu; faults: %llu",
			    text_bytes(ctl_number(stats, "sync.dirty_bytes"), dirty),
			    (unsigned long long)ctl_number(stats, "sync.errors"), (unsigned long long)faults);
	}
}

static const struct {
	const char *measure, *title;
} titles[] = {
	{"io", "IO/S"},	    {"mapped", "MAPPED"}, {"resident", "RESIDENT"},
	{"dirty", "DIRTY"}, {"locked", "LOCKED"},
};

char *top_titles(const char *measure, size_t columns)
{
	char words[ARRAY_LENGTH(titles)][16];

	for (size_t i = 0; i < ARRAY_LENGTH(titles); i++)
		snprintf(words[i], sizeof(words[i]), "%s%s",
			 strcmp(titles[i].measure, measure) == 0 ? "*" : "", titles[i].title);
	return line(columns, "%9s %9s %9s %9s %9s %4s FILE", words[0], words[1], words[2], words[3], words[4],
		    "OPEN");
}

char *top_row(const struct top_sample *sample, size_t index, size_t columns)
{
	const json_t *row = json_array_get(json_object_get(sample->files, "rows"), index);
	const char *path = json_string_value(json_object_get(row, "path"));
	char cells[ARRAY_LENGTH(titles)][TEXT_SIZE], *text;
	CLEANUP(free_pointer) char *name = NULL;
	const char *const keys[] = {"rate", "mapped", "resident", "dirty", "locked"};
	size_t room = columns > 56 ? columns - 56 : 0;

	if (row == NULL)
		return NULL;
	for (size_t i = 0; i < ARRAY_LENGTH(keys); i++)
		text_bytes(ctl_number(row, keys[i]), cells[i]);
	name = text_fit(path == NULL ? "?" : path, room);
	if (name == NULL ||
	    asprintf(&text, "%9s %9s %9s %9s %9s %4llu %s", cells[0], cells[1], cells[2], cells[3], cells[4],
		     (unsigned long long)ctl_number(row, "open"), name) < 0)
		return NULL;
	/* Where there is no room for a name, all of it is ASCII. */
	if (room == 0 && strlen(text) > columns)
		text[columns] = '\0';
	return text;
}
