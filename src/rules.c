/* SPDX-License-Identifier: MIT */
#include "rules.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "glob.h"
#include "util.h"

/* A file of this size is something else, taken for rules. */
#define SIZE_MAX_OF_FILE ((size_t)16 << 20)

struct rule {
	struct glob *glob;
	unsigned line;
	unsigned given; /* bit N: enum path_option N */
	struct options values;
};

struct rules {
	size_t count;
	size_t capacity;
	struct rule *rule;
};

/* The state of one rules_parse(). */
struct parse {
	const char *name;
	const struct options *mount;
	struct rules *rules;
	unsigned line;
	const char *start; /* of the line */
	char *error;
};

void rules_free(struct rules *rules)
{
	if (rules == NULL)
		return;
	for (size_t i = 0; i < rules->count; i++)
		glob_free(rules->rule[i].glob);
	free(rules->rule);
	free(rules);
}

size_t rules_count(const struct rules *rules)
{
	return rules->count;
}

static int refuse_at(struct parse *parse, const char *at, const char *why)
{
	char *text;

	if (asprintf(&text, "%s:%u:%u: %s", parse->name, parse->line, (unsigned)(at - parse->start) + 1,
		     why) < 0)
		return -ENOMEM;
	for (char *c = text; *c != '\0'; c++) {
		if (iscntrl((unsigned char)*c))
			*c = '?';
	}
	parse->error = text;
	return -EINVAL;
}

static bool is_blank(char character)
{
	return character == ' ' || character == '\t' || character == '\r';
}

static const char *skip_blanks(const char *at, const char *end)
{
	while (at < end && is_blank(*at))
		at++;
	return at;
}

/* The end of a word. In a pattern a backslash keeps a blank. */
static const char *word_end(const char *at, const char *end, bool escapes)
{
	while (at < end && !is_blank(*at))
		at += escapes && *at == '\\' && at + 1 < end ? 2 : 1;
	return at;
}

static int add_rule(struct parse *parse, struct rule **ret_rule)
{
	struct rules *rules = parse->rules;

	if (rules->count == rules->capacity) {
		size_t capacity = MAX(rules->capacity * 2, (size_t)16);
		struct rule *larger = realloc(rules->rule, capacity * sizeof(*larger));

		if (larger == NULL)
			return -ENOMEM;
		rules->rule = larger;
		rules->capacity = capacity;
	}
	*ret_rule = &rules->rule[rules->count++];
	**ret_rule = (struct rule){.line = parse->line};
	return 0;
}

static int read_pattern(struct parse *parse, const char *at, const char *end, struct rule *rule)
{
	CLEANUP(free_pointer) char *pattern = copy_text(at, (size_t)(end - at));
	const char *why = NULL;
	size_t wrong = 0;
	int result;

	if (pattern == NULL)
		return -ENOMEM;
	result = glob_new(pattern, &rule->glob, &wrong, &why);
	return result == -EINVAL ? refuse_at(parse, at + wrong, why) : result;
}

static int read_option(struct parse *parse, const char *at, const char *end, struct rule *rule)
{
	CLEANUP(free_pointer) char *word = copy_text(at, (size_t)(end - at));
	CLEANUP(free_pointer) char *why = NULL;
	enum path_option option;
	int result;

	if (word == NULL)
		return -ENOMEM;
	result = options_path_word(word, &rule->values, &option, &why);
	if (result == 0)
		rule->given |= 1u << option;
	return result == -EINVAL ? refuse_at(parse, at, why == NULL ? "it is wrong" : why) : result;
}

static int check_rule(struct parse *parse, const char *at, const struct rule *rule)
{
	CLEANUP(free_pointer) char *why = NULL;
	int result = options_path_check(parse->mount, &rule->values, rule->given, &why);

	return result == -EINVAL ? refuse_at(parse, at, why == NULL ? "it conflicts" : why) : result;
}

static int read_line(struct parse *parse, const char *end)
{
	const char *at = skip_blanks(parse->start, end), *first, *next;
	struct rule *rule;
	int result;

	if (at == end || *at == '#')
		return 0;
	if (memchr(parse->start, '\0', (size_t)(end - parse->start)) != NULL)
		return refuse_at(parse, memchr(parse->start, '\0', (size_t)(end - parse->start)),
				 "a zero byte: this is no text");
	result = add_rule(parse, &rule);
	if (result < 0)
		return result;
	next = word_end(at, end, true);
	result = read_pattern(parse, at, next, rule);
	first = at = skip_blanks(next, end);
	if (result == 0 && (at == end || *at == '#'))
		return refuse_at(parse, at, "the rule has no options");
	while (result == 0 && at < end && *at != '#') {
		next = word_end(at, end, false);
		result = read_option(parse, at, next, rule);
		at = skip_blanks(next, end);
	}
	return result == 0 ? check_rule(parse, first, rule) : result;
}

int rules_parse(const char *text, size_t length, const char *name, const struct options *mount,
		struct rules **ret_rules, char **ret_error)
{
	struct parse parse = {.name = name, .mount = mount, .rules = calloc(1, sizeof(*parse.rules))};
	const char *end = text + length;
	int result = parse.rules == NULL ? -ENOMEM : 0;

	parse.start = text;
	while (result == 0 && parse.start < end) {
		const char *newline = memchr(parse.start, '\n', (size_t)(end - parse.start));

		parse.line++;
		result = read_line(&parse, newline == NULL ? end : newline);
		parse.start = newline == NULL ? end : newline + 1;
	}
	if (result < 0) {
		rules_free(parse.rules);
		*ret_error = parse.error;
		return result;
	}
	*ret_rules = parse.rules;
	return 0;
}

static int read_text(const char *path, char **ret_text, size_t *ret_length)
{
	FILE *file = fopen(path, "re");
	CLEANUP(free_pointer) char *text = NULL;
	size_t length = 0, capacity = 0, got;
	int result = 0;

	if (file == NULL)
		return -errno;
	do {
		if (length == capacity) {
			char *larger = realloc(text, capacity = MAX(capacity * 2, (size_t)4096));

			result = larger == NULL ? -ENOMEM : capacity > SIZE_MAX_OF_FILE ? -EFBIG : 0;
			text = larger == NULL ? text : larger;
		}
		got = result < 0 ? 0 : fread(text + length, 1, capacity - length, file);
		length += got;
	} while (got > 0);
	if (result == 0 && ferror(file))
		result = errno == 0 ? -EIO : -errno;
	fclose(file);
	if (result == 0) {
		*ret_text = text;
		*ret_length = length;
		text = NULL;
	}
	return result;
}

int rules_load(const char *path, const struct options *mount, struct rules **ret_rules, char **ret_error)
{
	CLEANUP(free_pointer) char *text = NULL;
	size_t length = 0;
	int result = read_text(path, &text, &length);

	*ret_error = NULL;
	if (result == 0)
		return rules_parse(text, length, path, mount, ret_rules, ret_error);
	if (asprintf(ret_error, "cannot read rules '%s': %s", path, strerror(-result)) < 0)
		*ret_error = NULL;
	return result;
}

uint64_t rules_sync_ms(const struct rules *rules, uint64_t mount_ms)
{
	uint64_t shortest = 0;

	for (size_t i = 0; i < rules->count; i++) {
		const struct rule *rule = &rules->rule[i];
		uint64_t interval = 0;

		if ((rule->given >> PATH_SYNC_INTERVAL) & 1)
			interval = rule->values.sync_interval_ms;
		else if (((rule->given >> PATH_SYNC) & 1) && rule->values.sync == SYNC_PERIODIC)
			interval = mount_ms;
		if (interval > 0 && (shortest == 0 || interval < shortest))
			shortest = interval;
	}
	return shortest;
}

uint64_t rules_idle_ms(const struct rules *rules)
{
	uint64_t shortest = 0;

	for (size_t i = 0; i < rules->count; i++) {
		const struct rule *rule = &rules->rule[i];

		if (((rule->given >> PATH_IDLE) & 1) && rule->values.idle_ms > 0 &&
		    (shortest == 0 || rule->values.idle_ms < shortest))
			shortest = rule->values.idle_ms;
	}
	return shortest;
}

void rules_apply(const struct rules *rules, const char *path, struct options *options, unsigned *ret_lines)
{
	unsigned decided = 0;

	/* From the last, as that wins. */
	for (size_t i = rules->count; i > 0 && decided != (1u << PATH_OPTIONS) - 1; i--) {
		const struct rule *rule = &rules->rule[i - 1];
		unsigned news = rule->given & ~decided;

		if (news == 0 || !glob_matches(rule->glob, path))
			continue;
		for (unsigned option = 0; option < PATH_OPTIONS; option++) {
			if (!((news >> option) & 1))
				continue;
			options_path_copy((enum path_option)option, &rule->values, options);
			ret_lines[option] = rule->line;
		}
		decided |= news;
	}
}
