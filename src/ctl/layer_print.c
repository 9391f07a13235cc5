/* SPDX-License-Identifier: MIT */
#include "ctl/layer_print.h"

#include <stdio.h>
#include <string.h>

#include "ctl/ctl.h"
#include "ctl/text.h"
#include "util.h"

/* No name is longer, and none is cut. */
#define ALL_COLUMNS ((size_t)1 << 20)

static const char *text_of(const json_t *object, const char *key, const char *otherwise)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text == NULL ? otherwise : text;
}

static void print_name(const char *name)
{
	CLEANUP(free_pointer) char *clean = text_fit(name, ALL_COLUMNS);

	fputs(clean == NULL ? "?" : clean, stdout);
}

static const char *plural(uint64_t count)
{
	return count == 1 ? "" : "s";
}

void layer_print_status(const json_t *object)
{
	const json_t *files = json_object_get(object, "files"), *file;
	uint64_t count = ctl_number(object, "totals.files"),
		 changes = ctl_number(object, "totals.base_changes"),
		 pages = ctl_number(object, "totals.pages"), bases = ctl_number(object, "bases");
	char bytes[TEXT_SIZE], size[TEXT_SIZE];
	size_t index;

	fputs("layer ", stdout);
	print_name(text_of(object, "directory", "in memory"));
	if (bases > 0) {
		fputs(", over layer ", stdout);
		print_name(text_of(object, "base", "?"));
	}
	if (bases > 1)
		printf(" and %llu more", (unsigned long long)bases - 1);
	fputs(", over ", stdout);
	print_name(text_of(object, "backing", "?"));
	putchar('\n');
	if (json_is_true(json_object_get(object, "interrupted")))
		puts("a commit was interrupted: a part of it is in BACKING; the next commit finishes it");
	if (count > 0)
		printf("%10s %9s %9s  %-8s %s\n", "PAGES", "BYTES", "SIZE", "BASE", "FILE");
	json_array_foreach(files, index, file)
	{
		printf("%10llu %9s %9s  %-8s ", (unsigned long long)ctl_number(file, "pages"),
		       text_bytes(ctl_number(file, "bytes"), bytes),
		       text_bytes(ctl_number(file, "size"), size), text_of(file, "base", "-"));
		print_name(text_of(file, "path", "(a file whose place is not known)"));
		putchar('\n');
	}
	printf("%llu file%s, %llu page%s, %s; changed in BACKING meanwhile: %llu\n",
	       (unsigned long long)count, plural(count), (unsigned long long)pages, plural(pages),
	       text_bytes(ctl_number(object, "totals.bytes"), bytes), (unsigned long long)changes);
}

static char letter_of(const char *change)
{
	return strcmp(change, "added") == 0	 ? 'A'
	       : strcmp(change, "removed") == 0	 ? 'D'
	       : strcmp(change, "replaced") == 0 ? 'R'
						 : 'M';
}

static void print_attributes(const json_t *attributes)
{
	const json_t *name;
	size_t index;

	json_array_foreach(attributes, index, name)
		printf("%s%s", index == 0 ? "  " : ",", json_string_value(name));
}

static void print_ranges(const json_t *ranges)
{
	const json_t *range;
	size_t index;

	json_array_foreach(ranges, index, range)
		printf("    %lld+%lld\n", (long long)json_integer_value(json_array_get(range, 0)),
		       (long long)json_integer_value(json_array_get(range, 1)));
}

static void print_change(const json_t *change, bool stat)
{
	const char *from = json_string_value(json_object_get(change, "from"));
	char bytes[TEXT_SIZE], before[TEXT_SIZE], after[TEXT_SIZE];

	printf("%c %-9s ", letter_of(text_of(change, "change", "")), text_of(change, "type", "?"));
	print_name(text_of(change, "path", "?"));
	if (from != NULL) {
		fputs("  from ", stdout);
		print_name(from);
	}
	print_attributes(json_object_get(change, "attributes"));
	if (stat && json_object_get(change, "bytes") != NULL) {
		text_bytes(ctl_number(change, "old_size"), before);
		text_bytes(ctl_number(change, "size"), after);
		printf("  %s", text_bytes(ctl_number(change, "bytes"), bytes));
		if (json_object_get(change, "old_size") == NULL ||
		    ctl_number(change, "old_size") == ctl_number(change, "size"))
			printf(" of %s", after);
		else
			printf(" of %s, was %s", after, before);
	}
	putchar('\n');
	if (!stat)
		print_ranges(json_object_get(change, "ranges"));
}

void layer_print_diff(const json_t *object, bool stat)
{
	const json_t *changes = json_object_get(object, "changes"), *change;
	char bytes[TEXT_SIZE];
	size_t index;

	json_array_foreach(changes, index, change) print_change(change, stat);
	if (stat)
		printf("%llu added, %llu removed, %llu replaced, %llu changed; %s\n",
		       (unsigned long long)ctl_number(object, "totals.added"),
		       (unsigned long long)ctl_number(object, "totals.removed"),
		       (unsigned long long)ctl_number(object, "totals.replaced"),
		       (unsigned long long)ctl_number(object, "totals.changed"),
		       text_bytes(ctl_number(object, "totals.bytes"), bytes));
}
