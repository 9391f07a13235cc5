/* SPDX-License-Identifier: MIT */
#include "ctl/text.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <wchar.h>
#include <wctype.h>

#define MINUTE 60
#define HOUR 3600
#define DAY 86400

const char *text_bytes(uint64_t bytes, char buffer[TEXT_SIZE])
{
	static const char units[] = "KMGTPE";
	double value = (double)bytes;
	int unit = -1;

	/* What rounds to four digits is told in the next unit. */
	while (value >= (unit < 0 ? 1024 : 1023.5) && unit + 1 < (int)strlen(units)) {
		value /= 1024;
		unit++;
	}
	if (unit < 0)
		snprintf(buffer, TEXT_SIZE, "%llu B", (unsigned long long)bytes);
	else
		snprintf(buffer, TEXT_SIZE, "%.*f %ciB", value < 99.95 ? 1 : 0, value, units[unit]);
	return buffer;
}

const char *text_duration(uint64_t seconds, char buffer[TEXT_SIZE])
{
	unsigned long long days = seconds / DAY;
	unsigned hours = (unsigned)(seconds % DAY / HOUR);
	unsigned minutes = (unsigned)(seconds % HOUR / MINUTE);
	unsigned rest = (unsigned)(seconds % MINUTE);

	if (days > 0)
		snprintf(buffer, TEXT_SIZE, "%llu d %02u:%02u", days, hours, minutes);
	else if (hours > 0)
		snprintf(buffer, TEXT_SIZE, "%u:%02u:%02u", hours, minutes, rest);
	else
		snprintf(buffer, TEXT_SIZE, "%u:%02u", minutes, rest);
	return buffer;
}

const char *text_percent(uint64_t part, uint64_t whole, char buffer[TEXT_SIZE])
{
	double percent = whole == 0 ? 0 : 100.0 * (double)part / (double)whole;

	if (part == 0 || part >= whole)
		snprintf(buffer, TEXT_SIZE, "%s", part == 0 ? "0 %" : "100 %");
	else
		snprintf(buffer, TEXT_SIZE, "%.1f %%", fmin(fmax(percent, 0.1), 99.9));
	return buffer;
}

/* One character of @name; returns its bytes, and how many columns it takes, -1 for what is to be a '?'. */
static size_t next_character(const char *name, size_t left, mbstate_t *state, int *ret_width)
{
	wchar_t wide;
	size_t bytes = mbrtowc(&wide, name, left, state);

	if (bytes == (size_t)-1 || bytes == (size_t)-2 || bytes == 0) {
		memset(state, 0, sizeof(*state));
		*ret_width = -1;
		return 1;
	}
	*ret_width = iswprint((wint_t)wide) ? wcwidth(wide) : -1;
	return bytes;
}

static size_t clean(const char *name, char *to)
{
	size_t left = strlen(name), length = 0, columns = 0;
	mbstate_t state = {0};

	while (left > 0) {
		int width;
		size_t bytes = next_character(name, left, &state, &width);

		if (width < 0) {
			to[length++] = '?';
		} else {
			memcpy(to + length, name, bytes);
			length += bytes;
		}
		columns += (size_t)(width < 0 ? 1 : width);
		name += bytes;
		left -= bytes;
	}
	to[length] = '\0';
	return columns;
}

char *text_fit(const char *name, size_t columns)
{
	static const char dots[] = "...";
	/* A question mark is never longer than what it stands for. */
	char *text = malloc(strlen(name) + sizeof(dots));
	size_t width, skip = 0;
	mbstate_t state = {0};

	if (text == NULL)
		return NULL;
	width = clean(name, text);
	if (width <= columns)
		return text;
	if (columns < strlen(dots)) {
		text[0] = '\0';
		return text;
	}
	while (width > columns - strlen(dots)) {
		int one;

		skip += next_character(text + skip, strlen(text + skip), &state, &one);
		width -= (size_t)(one < 0 ? 1 : one);
	}
	memmove(text + strlen(dots), text + skip, strlen(text + skip) + 1);
	memcpy(text, dots, strlen(dots));
	return text;
}

void text_clean(char *text)
{
	char *to = text;

	for (const unsigned char *from = (const unsigned char *)text; *from != '\0'; from++) {
		bool wide = from[0] == 0xc2 && from[1] >= 0x80 && from[1] <= 0x9f;

		*to++ = wide || *from < ' ' || *from == 0x7f ? '?' : (char)*from;
		from += wide;
	}
	*to = '\0';
}

bool text_seconds(const char *text, double min, double max, double *ret_seconds)
{
	char *end;
	double seconds;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	seconds = strtod(text, &end);
	if (errno != 0 || *end != '\0' || !(seconds >= min && seconds <= max))
		return false;
	*ret_seconds = seconds;
	return true;
}

void text_terminal(int fd, size_t *ret_columns, size_t *ret_rows)
{
	struct winsize size;
	bool known = ioctl(fd, TIOCGWINSZ, &size) == 0;

	*ret_columns = known && size.ws_col > 0 ? size.ws_col : 80;
	*ret_rows = known && size.ws_row > 0 ? size.ws_row : 24;
}
