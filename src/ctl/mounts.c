/* SPDX-License-Identifier: MIT */
/*
 * A line of mountinfo: id parent major:minor root point options [fields...] - type source super-options. A
 * space, tab, newline or backslash in a field stands there as \ and three octal digits. See proc(5).
 */
#include "ctl/mounts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

#define TYPE "fuse.memmapfs-fuse"

enum field { FIELD_POINT = 4, FIELD_OPTIONS = 5, FIELDS_BEFORE = 6 };

static bool is_octal(const char *text)
{
	return text[0] >= '0' && text[0] <= '3' && text[1] >= '0' && text[1] <= '7' && text[2] >= '0' &&
	       text[2] <= '7';
}

static char *unescape(const char *field)
{
	char *text = strdup(field), *to = text;

	if (text == NULL)
		return NULL;
	for (const char *from = field; *from != '\0'; from++) {
		if (*from == '\\' && is_octal(from + 1)) {
			*to++ = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
			from += 3;
		} else {
			*to++ = *from;
		}
	}
	*to = '\0';
	return text;
}

static bool has_word(const char *options, const char *word)
{
	size_t length = strlen(word);

	for (;;) {
		if (strncmp(options, word, length) == 0 &&
		    (options[length] == ',' || options[length] == '\0'))
			return true;
		options = strchr(options, ',');
		if (options == NULL)
			return false;
		options++;
	}
}

/* 1 for one of ours, 0 for another's, or -ENOMEM. */
static int parse_line(char *line, struct mount *ret_mount)
{
	char *before[FIELDS_BEFORE], *state = NULL, *word, *type, *source, *super, *user;

	for (int i = 0; i < FIELDS_BEFORE; i++) {
		before[i] = strtok_r(i == 0 ? line : NULL, " \n", &state);
		if (before[i] == NULL)
			return 0;
	}
	do {
		word = strtok_r(NULL, " \n", &state);
	} while (word != NULL && strcmp(word, "-") != 0);
	type = strtok_r(NULL, " \n", &state);
	source = strtok_r(NULL, " \n", &state);
	super = strtok_r(NULL, " \n", &state);
	if (super == NULL || strcmp(type, TYPE) != 0)
		return 0;
	user = strstr(super, "user_id=");
	*ret_mount = (struct mount){
		.backing = unescape(source),
		.point = unescape(before[FIELD_POINT]),
		.read_only = has_word(before[FIELD_OPTIONS], "ro") || has_word(super, "ro"),
		.user = user == NULL ? 0 : (uid_t)strtoul(user + strlen("user_id="), NULL, 10),
	};
	if (ret_mount->backing != NULL && ret_mount->point != NULL)
		return 1;
	free(ret_mount->backing);
	free(ret_mount->point);
	return -ENOMEM;
}

int mounts_read(const char *file, struct mount **ret_mounts, size_t *ret_count)
{
	CLEANUP(free_pointer) char *line = NULL;
	struct mount *mounts = NULL;
	size_t count = 0, size = 0;
	FILE *stream = fopen(file, "re");
	int result = stream == NULL ? -errno : 0;

	while (result == 0 && getline(&line, &size, stream) >= 0) {
		struct mount *more = realloc(mounts, (count + 1) * sizeof(*mounts));

		if (more == NULL) {
			result = -ENOMEM;
			break;
		}
		mounts = more;
		result = parse_line(line, &mounts[count]);
		if (result > 0) {
			count++;
			result = 0;
		}
	}
	if (stream != NULL)
		fclose(stream);
	if (result < 0) {
		mounts_free(mounts, count);
		return result;
	}
	*ret_mounts = mounts;
	*ret_count = count;
	return 0;
}

void mounts_free(struct mount *mounts, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(mounts[i].backing);
		free(mounts[i].point);
	}
	free(mounts);
}
