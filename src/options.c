/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "options_private.h"
#include "util.h"

#define USAGE_LINE "usage: memmapfs-fuse [-fdhV] [-o OPTION[,OPTION...]] BACKING MOUNTPOINT"
#define SUBTYPE "memmapfs-fuse"

/* What the kernel takes for max_read; below a page it would round up in silence. */
#define MAX_READ_MIN 4096
#define MAX_READ_MAX UINT32_MAX

/* One word for libfuse, kept until all are known: a later one of the same name replaces it. */
struct passed_word {
	size_t order; /* 0: not given */
	char *value;  /* NULL for a bare word */
};

/* The state of one options_parse(). */
struct parse {
	struct options options;
	option_mask given;
	struct passed_word passed[MOUNT_WORD_COUNT];
	size_t last_order;
	const char **texts; /* what followed each -o; borrowed from argv */
	size_t text_count;
	const char *operands[3]; /* the third only to complain about it */
	size_t operand_count;
	char *flag_error; /* the first bad flag, told unless help or version follows */
	char *error;
};

static void parse_fini(struct parse *parse)
{
	options_fini(&parse->options);
	for (size_t i = 0; i < MOUNT_WORD_COUNT; i++)
		free(parse->passed[i].value);
	free(parse->texts);
	free(parse->flag_error);
	free(parse->error);
}

/* ---- the command line ---------------------------------------------------------------------- */

static int add_flag_error(struct parse *parse, const char *what, const char *flag, size_t length)
{
	if (parse->flag_error != NULL)
		return 0;
	int error = option_refuse(&parse->flag_error, "%s '%.*s'; see memmapfs-fuse --help", what,
				  (int)MIN(length, 200), flag);
	return error == -ENOMEM ? error : 0;
}

static int read_long_flag(struct parse *parse, const char *argument)
{
	if (strcmp(argument, "--help") == 0)
		parse->options.help = true;
	else if (strcmp(argument, "--version") == 0)
		parse->options.version = true;
	else
		return add_flag_error(parse, "unknown flag", argument, strlen(argument));
	return 0;
}

/* -f, -fd, -oX, -fo X. @next is the argument behind it and is counted in @index when used. */
static int read_short_flags(struct parse *parse, const char *argument, const char *next, int *index)
{
	int error = 0;

	for (const char *flag = argument + 1; *flag != '\0' && error == 0; flag++) {
		switch (*flag) {
		case 'f':
			parse->options.foreground = true;
			break;
		case 'd':
			parse->options.debug = true;
			break;
		case 'h':
			parse->options.help = true;
			break;
		case 'V':
			parse->options.version = true;
			break;
		case 'o':
			if (flag[1] == '\0' && next == NULL)
				return add_flag_error(parse, "missing options after", "-o", 2);
			if (flag[1] == '\0')
				(*index)++;
			parse->texts[parse->text_count++] = flag[1] != '\0' ? flag + 1 : next;
			return 0;
		default: {
			const char unknown[2] = {'-', *flag};
			error = add_flag_error(parse, "unknown flag", unknown, sizeof(unknown));
			break;
		}
		}
	}
	return error;
}

static void add_operand(struct parse *parse, const char *operand)
{
	if (parse->operand_count < ARRAY_LENGTH(parse->operands))
		parse->operands[parse->operand_count++] = operand;
}

/* By hand and not by getopt(3): that one reorders argv or heeds POSIXLY_CORRECT, and mount(8)'s helper
 * puts -o behind the operands. */
static int read_arguments(struct parse *parse, int argc, char **argv)
{
	bool flags_end = false;
	int error = 0;

	for (int i = 1; i < argc && error == 0; i++) {
		const char *argument = argv[i];
		if (flags_end || argument[0] != '-' || argument[1] == '\0')
			add_operand(parse, argument);
		else if (strcmp(argument, "--") == 0)
			flags_end = true;
		else if (argument[1] == '-')
			error = read_long_flag(parse, argument);
		else
			error = read_short_flags(parse, argument, i + 1 < argc ? argv[i + 1] : NULL, &i);
	}
	return error;
}

static int read_operands(struct parse *parse)
{
	const char **operands = parse->operands;

	if (parse->operand_count == 0)
		return option_refuse(&parse->error, "missing BACKING and MOUNTPOINT; " USAGE_LINE);
	if (*operands[0] == '\0')
		return option_refuse(&parse->error, "BACKING is empty; " USAGE_LINE);
	if (parse->operand_count == 1)
		return option_refuse(&parse->error, "missing MOUNTPOINT behind '%s'; " USAGE_LINE,
				     operands[0]);
	if (*operands[1] == '\0')
		return option_refuse(&parse->error, "MOUNTPOINT is empty; " USAGE_LINE);
	if (parse->operand_count > 2)
		return option_refuse(&parse->error, "extra operand '%s'; " USAGE_LINE, operands[2]);

	parse->options.backing = strdup(operands[0]);
	parse->options.mountpoint = strdup(operands[1]);
	if (parse->options.backing == NULL || parse->options.mountpoint == NULL)
		return -ENOMEM;
	return 0;
}

/* ---- one word of -o ------------------------------------------------------------------------ */

static int unknown_word(struct parse *parse, const char *name)
{
	struct option_nearest nearest = {.typed = name};

	for (size_t i = 0; i < OPTION_COUNT; i++)
		option_nearest_try(&nearest, option_rows[i].name);
	for (size_t i = 0; i < MOUNT_WORD_COUNT; i++)
		option_nearest_try(&nearest, mount_words[i].name);
	if (nearest.best == NULL)
		return option_refuse(&parse->error, "unknown option '%s'; see memmapfs-fuse --help", name);
	return option_refuse(&parse->error, "unknown option '%s': did you mean '%s'?", name, nearest.best);
}

static bool mount_word_matches(const struct mount_word *word, const char *name)
{
	size_t length = strlen(word->name);

	if (word->name[length - 1] == '*')
		return strncmp(word->name, name, length - 1) == 0;
	return strcmp(word->name, name) == 0;
}

static const struct mount_word *find_mount_word(const char *name)
{
	for (size_t i = 0; i < MOUNT_WORD_COUNT; i++)
		if (mount_word_matches(&mount_words[i], name))
			return &mount_words[i];
	return NULL;
}

static void apply_effect(struct options *options, enum mount_word_effect effect)
{
	switch (effect) {
	case EFFECT_READ_ONLY:
		options->mount_read_only = true;
		break;
	case EFFECT_ATIME:
		options->noatime = false;
		break;
	case EFFECT_NOATIME:
		options->noatime = true;
		break;
	case EFFECT_ALLOW_OTHER:
		options->allow_other = true;
		break;
	case EFFECT_DEBUG:
		options->debug = true;
		break;
	case EFFECT_NONE:
		break;
	}
}

static int check_mount_value(struct parse *parse, const struct mount_word *word, const char *value)
{
	if (word->form == FORM_BARE && value != NULL)
		return option_refuse(&parse->error, "'%s' takes no value", word->name);
	if (word->form == FORM_BARE || word->form == FORM_BARE_OR_VALUE)
		return 0;
	if (value == NULL || *value == '\0')
		return option_refuse(&parse->error, "'%s' needs a value: %s=%s", word->name, word->name,
				     word->form == FORM_NUMBER ? "BYTES" : "TEXT");
	if (word->form == FORM_NUMBER) {
		uint64_t number;
		/* It goes to the kernel as it is, which knows no suffix. */
		if (value[strspn(value, "0123456789")] != '\0' || option_size_read(value, &number) < 0 ||
		    number < MAX_READ_MIN || number > MAX_READ_MAX)
			return option_refuse(&parse->error,
					     "bad value '%s' for '%s': expected bytes from %u to %u", value,
					     word->name, (unsigned)MAX_READ_MIN, (unsigned)MAX_READ_MAX);
		parse->options.max_read = (uint32_t)number;
	}
	return 0;
}

static int pass_word(struct parse *parse, const struct mount_word *word, const char *value)
{
	struct passed_word *passed = &parse->passed[word - mount_words];
	char *copy = NULL;

	if (value != NULL) {
		copy = strdup(value);
		if (copy == NULL)
			return -ENOMEM;
	}
	free(passed->value);
	passed->value = copy;
	passed->order = ++parse->last_order;
	return 0;
}

static int take_mount_word(struct parse *parse, const struct mount_word *word, const char *value)
{
	int error = check_mount_value(parse, word, value);

	if (error < 0)
		return error;
	apply_effect(&parse->options, word->effect);
	switch (word->way) {
	case WAY_PASS:
		return pass_word(parse, word, value);
	case WAY_REFUSE:
		return option_refuse(&parse->error, "'%s' is not possible: unmount and mount again",
				     word->name);
	case WAY_IGNORE:
		break;
	}
	return 0;
}

/* @word is cut in two at its first '='. */
static int take_word(struct parse *parse, char *word)
{
	char *value = strchr(word, '=');
	const struct option_row *row = NULL;

	if (value != NULL)
		*value++ = '\0';
	for (size_t i = 0; i < OPTION_COUNT && row == NULL; i++)
		if (strcmp(option_rows[i].name, word) == 0)
			row = &option_rows[i];

	/* `sync` alone is mount(8)'s and `sync=` is ours; elsewhere a name has one owner. */
	const struct mount_word *mount_word = find_mount_word(word);
	if (mount_word != NULL && (row == NULL || value == NULL))
		return take_mount_word(parse, mount_word, value);
	if (row == NULL)
		return unknown_word(parse, word);
	parse->given |= (option_mask)1 << (row - option_rows);
	return option_value_read(row, value, &parse->options, &parse->error);
}

/* ---- -o: words between commas -------------------------------------------------------------- */

static bool is_octal(const char *text)
{
	return text[0] >= '0' && text[0] <= '3' && text[1] >= '0' && text[1] <= '7' && text[2] >= '0' &&
	       text[2] <= '7' && (text[0] != '0' || text[1] != '0' || text[2] != '0');
}

/*
 * Copy one word without its escapes to @word, which is large enough, and return what follows its comma,
 * or NULL. Backslashes mean what they mean to libfuse: the next character itself, or three octal digits.
 * As in mount(8), commas between double quotes that open a value belong to it (SELinux contexts).
 */
static const char *read_word(const char *text, char *word)
{
	bool quoted = false;
	char *out = word;

	for (; *text != '\0' && (quoted || *text != ','); text++) {
		if (*text == '"' &&
		    (quoted || (out > word && out[-1] == '=' && strchr(text + 1, '"') != NULL)))
			quoted = !quoted;
		if (text[0] != '\\' || text[1] == '\0') {
			*out++ = *text;
		} else if (is_octal(text + 1)) {
			*out++ = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + (text[3] - '0'));
			text += 3;
		} else {
			*out++ = *++text;
		}
	}
	*out = '\0';
	return *text == ',' ? text + 1 : NULL;
}

static int read_words(struct parse *parse, const char *text)
{
	CLEANUP(free_pointer) char *word = malloc(strlen(text) + 1);
	int error = 0;

	if (word == NULL)
		return -ENOMEM;
	while (text != NULL && error == 0) {
		text = read_word(text, word);
		if (*word != '\0')
			error = take_word(parse, word);
	}
	return error;
}

/* ---- what is kept as text ------------------------------------------------------------------ */

static void print_escaped(FILE *stream, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == ',' || *text == '\\')
			fputc('\\', stream);
		fputc(*text, stream);
	}
}

static void print_word(FILE *stream, size_t index, const char *value)
{
	fprintf(stream, ",%s", mount_words[index].name);
	if (value != NULL) {
		fputc('=', stream);
		print_escaped(stream, value);
	}
}

static int build_mount_words(struct parse *parse)
{
	static const size_t named[] = {MOUNT_WORD_FSNAME, MOUNT_WORD_SUBTYPE};
	const char *presets[] = {parse->options.backing, SUBTYPE};
	size_t in_order[MOUNT_WORD_COUNT];
	size_t count = 0;
	size_t size;
	FILE *stream = open_memstream(&parse->options.mount_words, &size);

	if (stream == NULL)
		return -ENOMEM;
	fputs("default_permissions", stream);
	for (size_t i = 0; i < ARRAY_LENGTH(named); i++) {
		struct passed_word *passed = &parse->passed[named[i]];
		print_word(stream, named[i], passed->order > 0 ? passed->value : presets[i]);
		passed->order = 0;
	}

	/* The order given is kept: of `dev,nodev` libfuse obeys the last. */
	for (size_t i = 0; i < MOUNT_WORD_COUNT; i++) {
		size_t at = count;
		if (parse->passed[i].order == 0)
			continue;
		for (; at > 0 && parse->passed[in_order[at - 1]].order > parse->passed[i].order; at--)
			in_order[at] = in_order[at - 1];
		in_order[at] = i;
		count++;
	}
	for (size_t i = 0; i < count; i++)
		print_word(stream, in_order[i], parse->passed[in_order[i]].value);
	return option_text_close(stream);
}

static int build_given(struct parse *parse)
{
	size_t size;
	FILE *stream = open_memstream(&parse->options.given, &size);

	if (stream == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < parse->text_count; i++)
		fprintf(stream, "%s%s", i == 0 ? "" : ",", parse->texts[i]);
	return option_text_close(stream);
}

/* ---- all of it ----------------------------------------------------------------------------- */

static int set_presets(struct parse *parse)
{
	int error = 0;

	for (size_t i = 0; i < OPTION_COUNT && error == 0; i++) {
		const struct option_row *row = &option_rows[i];
		if (row->kind == KIND_SECONDS && *row->preset == '\0')
			*(double *)((char *)&parse->options + row->offset) = -1;
		else if (row->kind != KIND_FLAG && *row->preset != '\0')
			error = option_value_read(row, row->preset, &parse->options, &parse->error);
	}
	return error;
}

static bool was_given(const struct parse *parse, size_t option)
{
	return (parse->given >> option) & 1;
}

/* Without a cache of bytes there is none of sizes and names either, unless it was asked for. */
static void set_timeouts(struct parse *parse)
{
	if (parse->options.cache != CACHE_NONE)
		return;
	if (!was_given(parse, OPTION_ATTR_TIMEOUT))
		parse->options.attr_timeout_s = 0;
	if (!was_given(parse, OPTION_ENTRY_TIMEOUT))
		parse->options.entry_timeout_s = 0;
}

static int parse_all(struct parse *parse, int argc, char **argv)
{
	int error = read_arguments(parse, argc, argv);

	if (error < 0 || parse->options.help || parse->options.version)
		return error;
	if (parse->flag_error != NULL) {
		parse->error = parse->flag_error;
		parse->flag_error = NULL;
		return -EINVAL;
	}
	error = set_presets(parse);
	for (size_t i = 0; i < parse->text_count && error == 0; i++)
		error = read_words(parse, parse->texts[i]);
	if (error == 0 && parse->options.debug) {
		parse->options.foreground = true;
		parse->options.log_level = LEVEL_DEBUG;
	}
	if (error == 0)
		error = read_operands(parse);
	if (error == 0)
		error = options_check(&parse->options, parse->given, &parse->error);
	if (error == 0)
		set_timeouts(parse);
	if (error == 0)
		error = build_mount_words(parse);
	if (error == 0)
		error = build_given(parse);
	return error;
}

int options_parse(int argc, char **argv, struct options *ret_options, char **ret_error)
{
	struct parse parse = {.texts = calloc((size_t)MAX(argc, 1), sizeof(char *))};
	int error = parse.texts == NULL ? -ENOMEM : parse_all(&parse, argc, argv);

	if (error == 0) {
		*ret_options = parse.options;
		parse.options = (struct options){0};
	} else {
		*ret_error = parse.error;
		parse.error = NULL;
	}
	parse_fini(&parse);
	return error;
}

void options_fini(struct options *options)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const struct option_row *row = &option_rows[i];
		if (row->kind == KIND_PATH || row->kind == KIND_PATHS)
			free(*(char **)((char *)options + row->offset));
	}
	free(options->backing);
	free(options->mountpoint);
	free(options->mount_words);
	free(options->given);
	*options = (struct options){0};
}
