/* SPDX-License-Identifier: MIT */
/* The parser of the command line: the input's lines are its words. What is taken can be described. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "options.h"
#include "util.h"

#define WORDS_MAX 64

static char program[] = "memmapfs-fuse";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = copy_text(data, size), *words[WORDS_MAX + 1] = {program}, *rest = text;
	struct options options = {0};
	char *error = NULL, *value;
	int count = 1, result;

	while (rest != NULL && count < WORDS_MAX)
		words[count++] = strsep(&rest, "\n");
	result = options_parse(count, words, &options, &error);
	if ((result != 0) != (error != NULL) || (error != NULL && strchr(error, '\n') != NULL))
		abort();
	if (result == 0 && !options.help && !options.version) {
		for (size_t i = 0; options_describe(&options, i, &value) != NULL; i++)
			free(value);
	}
	options_fini(&options);
	free(error);
	free(text);
	return 0;
}
