/* SPDX-License-Identifier: MIT */
/*
 * A pattern becomes a row of tokens. Matching keeps the set of tokens that the characters so far can have
 * led to, and moves all of them on by each character: no pattern makes it try anything twice.
 */
#include "glob.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "util.h"

/* Patterns are read by people: nobody writes a longer one. */
#define TOKENS_MAX 512

enum token_kind {
	TOKEN_CHARACTER, /* exactly this one */
	TOKEN_SET,	 /* one of a set; never a slash */
	TOKEN_NAME,	 /* any number of characters but the slash */
	TOKEN_PATH,	 /* any number of characters */
	TOKEN_LEVELS,	 /* nothing, or any number of characters up to and with a slash: two tokens long, */
	TOKEN_INSIDE,	 /* ... this being the second, for when a character of it was seen */
};

struct token {
	enum token_kind kind;
	unsigned char character;
	uint32_t set[8]; /* bit N % 32 of word N / 32: character N */
};

struct glob {
	bool last_name_only;
	size_t count;
	struct token token[];
};

/* A compilation. */
struct reader {
	const char *pattern;
	size_t at;
	struct glob *glob;
	const char *why;
};

static void set_add(struct token *token, unsigned char character)
{
	token->set[character / 32] |= UINT32_C(1) << (character % 32);
}

static bool set_has(const struct token *token, unsigned char character)
{
	return (token->set[character / 32] >> (character % 32)) & 1;
}

static int refuse(struct reader *reader, const char *why)
{
	reader->why = why;
	return -EINVAL;
}

/* One character of a set, a backslash in front of it taken off. */
static int read_member(struct reader *reader, unsigned char *ret_character)
{
	if (reader->pattern[reader->at] == '\\')
		reader->at++;
	if (reader->pattern[reader->at] == '\0')
		return refuse(reader, "']' is missing");
	*ret_character = (unsigned char)reader->pattern[reader->at++];
	return 0;
}

static int read_set(struct reader *reader, struct token *token)
{
	const char *pattern = reader->pattern;
	size_t start = reader->at++;
	bool negated = pattern[reader->at] == '!' || pattern[reader->at] == '^', first = true;

	token->kind = TOKEN_SET;
	if (negated)
		reader->at++;
	/* As in the shell: a bracket that comes first is a member. */
	for (; first || pattern[reader->at] != ']'; first = false) {
		unsigned char from, to;

		if (read_member(reader, &from) < 0) {
			reader->at = start;
			return -EINVAL;
		}
		to = from;
		if (pattern[reader->at] == '-' && pattern[reader->at + 1] != ']') {
			reader->at++;
			if (read_member(reader, &to) < 0) {
				reader->at = start;
				return -EINVAL;
			}
		}
		if (to < from)
			return refuse(reader, "a range in '[...]' runs backwards");
		for (unsigned character = from; character <= to; character++)
			set_add(token, (unsigned char)character);
	}
	reader->at++;
	for (size_t i = 0; negated && i < ARRAY_LENGTH(token->set); i++)
		token->set[i] = ~token->set[i];
	token->set['/' / 32] &= ~(UINT32_C(1) << ('/' % 32));
	return 0;
}

static int read_token(struct reader *reader)
{
	const char *here = reader->pattern + reader->at;
	bool begins = reader->at == 0 || here[-1] == '/';
	struct token *token = &reader->glob->token[reader->glob->count++];

	*token = (struct token){.kind = TOKEN_CHARACTER, .character = (unsigned char)*here};
	switch (*here) {
	case '[':
		return read_set(reader, token);
	case '?':
		token->kind = TOKEN_SET;
		memset(token->set, 0xff, sizeof(token->set));
		token->set['/' / 32] &= ~(UINT32_C(1) << ('/' % 32));
		break;
	case '*':
		if (here[1] != '*') {
			token->kind = TOKEN_NAME;
			break;
		}
		token->kind = TOKEN_PATH;
		reader->at++;
		if (begins && here[2] == '/') {
			token->kind = TOKEN_LEVELS;
			reader->glob->token[reader->glob->count++].kind = TOKEN_INSIDE;
			reader->at++;
		}
		break;
	case '\\':
		if (here[1] == '\0')
			return refuse(reader, "a backslash has nothing behind it");
		token->character = (unsigned char)here[1];
		reader->at++;
		break;
	default:
		break;
	}
	reader->at++;
	return 0;
}

static int read_pattern(struct reader *reader)
{
	const char *pattern = reader->pattern;
	size_t length = strlen(pattern);
	int result = 0;

	reader->glob->last_name_only = strchr(pattern, '/') == NULL;
	if (pattern[0] == '/')
		reader->at++;
	if (pattern[reader->at] == '\0')
		return refuse(reader, "the pattern is empty");
	if (pattern[length - 1] == '/') {
		reader->at = length - 1;
		return refuse(reader, "a rule is about files: write '/**' for all below a directory");
	}
	/* "**" at the start of a pattern with a slash in front begins a path as well: see read_token(). */
	while (pattern[reader->at] != '\0' && result == 0) {
		if (reader->glob->count + 2 > TOKENS_MAX)
			return refuse(reader, "the pattern is too long");
		result = read_token(reader);
	}
	return result;
}

int glob_new(const char *pattern, struct glob **ret_glob, size_t *ret_at, const char **ret_why)
{
	struct reader reader = {.pattern = pattern};
	size_t tokens = MIN(strlen(pattern) + 2, TOKENS_MAX);
	int result;

	reader.glob = calloc(1, sizeof(*reader.glob) + tokens * sizeof(reader.glob->token[0]));
	if (reader.glob == NULL)
		return -ENOMEM;
	result = read_pattern(&reader);
	if (result < 0) {
		free(reader.glob);
		*ret_at = reader.at;
		*ret_why = reader.why;
		return result;
	}
	*ret_glob = reader.glob;
	return 0;
}

void glob_free(struct glob *glob)
{
	free(glob);
}

/* The token can be reached, and with it those behind tokens that may stand for nothing. */
static void reach(const struct glob *glob, bool *reached, size_t at)
{
	while (at < glob->count && !reached[at]) {
		reached[at] = true;
		switch (glob->token[at].kind) {
		case TOKEN_NAME:
		case TOKEN_PATH:
			at++;
			break;
		case TOKEN_LEVELS:
			reached[at + 1] = true;
			at += 2;
			break;
		default:
			return;
		}
	}
	if (at == glob->count)
		reached[at] = true;
}

static void step(const struct glob *glob, size_t at, unsigned char character, bool *reached)
{
	const struct token *token = &glob->token[at];

	switch (token->kind) {
	case TOKEN_CHARACTER:
		if (token->character == character)
			reach(glob, reached, at + 1);
		break;
	case TOKEN_SET:
		if (set_has(token, character))
			reach(glob, reached, at + 1);
		break;
	case TOKEN_NAME:
		if (character != '/')
			reach(glob, reached, at);
		break;
	case TOKEN_PATH:
		reach(glob, reached, at);
		break;
	case TOKEN_LEVELS:
		break;
	case TOKEN_INSIDE:
		reached[at] = true;
		if (character == '/')
			reach(glob, reached, at + 1);
		break;
	}
}

bool glob_matches(const struct glob *glob, const char *path)
{
	bool rows[2][TOKENS_MAX + 1] = {{false}};
	const char *slash = strrchr(path, '/');
	size_t now = 0;

	if (glob->last_name_only && slash != NULL)
		path = slash + 1;
	reach(glob, rows[now], 0);
	for (; *path != '\0'; path++, now = 1 - now) {
		bool any = false;

		memset(rows[1 - now], 0, glob->count + 1);
		for (size_t at = 0; at < glob->count; at++) {
			if (rows[now][at])
				step(glob, at, (unsigned char)*path, rows[1 - now]);
		}
		for (size_t at = 0; at <= glob->count && !any; at++)
			any = rows[1 - now][at];
		if (!any)
			return false;
	}
	return rows[now][glob->count];
}
