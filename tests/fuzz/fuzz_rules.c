/* SPDX-License-Identifier: MIT */
/* The rules parser, and what its rules say of paths. The input's first line is a path, the rest the rules. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "rules.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *newline = size == 0 ? NULL : memchr(data, '\n', size);
	size_t path_length = newline == NULL ? 0 : (size_t)(newline - data);
	const char *text = (const char *)data + (newline == NULL ? 0 : path_length + 1);
	struct options mount = {.sync_interval_ms = 5000}, merged = mount;
	unsigned lines[PATH_OPTIONS] = {0};
	struct rules *rules = NULL;
	char *error = NULL, *path;
	int result = rules_parse(text, size - (size_t)(text - (const char *)data), "rules", &mount, &rules,
				 &error);

	/* Either rules, or one line that says why not. */
	if ((result == 0) != (rules != NULL) || (result != 0) != (error != NULL))
		abort();
	if (error != NULL && strchr(error, '\n') != NULL)
		abort();
	free(error);
	if (rules == NULL)
		return 0;
	path = copy_text(data, path_length);
	if (path != NULL)
		rules_apply(rules, path, &merged, lines);
	for (size_t i = 0; i < PATH_OPTIONS; i++) {
		if (lines[i] > size + 1)
			abort();
	}
	(void)rules_idle_ms(rules);
	free(path);
	rules_free(rules);
	return 0;
}
