/* SPDX-License-Identifier: MIT */
/*
 * Feeds a fuzz target: first each file of a corpus, then changes of them, for so many seconds. Takes libFuzzer's
 * -max_total_time=, -runs= and -seed=, so that a target is started alike with either.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

#define INPUT_MAX 4096
#define HANG_S 20 /* so long no 256 inputs may take; SIGALRM then ends the program */
#define CORPUS_MAX 4096

struct input {
	size_t size;
	uint8_t bytes[INPUT_MAX];
};

static struct input *corpus;
static size_t corpus_count;

static void add_file(const char *directory, const char *name)
{
	struct input *input = &corpus[corpus_count];
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = name[0] == '.' || corpus_count == CORPUS_MAX ? NULL : fopen(path, "re");
	if (file == NULL)
		return;
	input->size = fread(input->bytes, 1, INPUT_MAX, file);
	fclose(file);
	corpus_count++;
}

static int read_corpus(const char *directory)
{
	DIR *stream = opendir(directory);
	struct dirent *entry;

	if (stream == NULL) {
		fprintf(stderr, "cannot open the corpus %s\n", directory);
		return -1;
	}
	while ((entry = readdir(stream)) != NULL)
		add_file(directory, entry->d_name);
	closedir(stream);
	return 0;
}

static size_t below(size_t limit)
{
	return limit == 0 ? 0 : (size_t)random() % limit;
}

/* A byte that means something to the readers more often than not. */
static uint8_t some_byte(void)
{
	static const char special[] = " \t\n\r#*?[]\\/:=,!^-0189KMGTPsdhm.\"'\0\377";

	return random() % 3 ? (uint8_t)special[below(sizeof(special))] : (uint8_t)random();
}

static void change(struct input *input)
{
	size_t at = below(input->size + 1), length = below(16) + 1;
	const struct input *other = &corpus[below(corpus_count)];
	size_t from = below(other->size + 1);

	switch (random() % 4) {
	case 0: /* replace */
		if (at < input->size)
			input->bytes[at] = some_byte();
		break;
	case 1: /* remove */
		length = at + length > input->size ? input->size - at : length;
		memmove(input->bytes + at, input->bytes + at + length, input->size - at - length);
		input->size -= length;
		break;
	case 2: /* insert */
		if (input->size < INPUT_MAX) {
			memmove(input->bytes + at + 1, input->bytes + at, input->size - at);
			input->bytes[at] = some_byte();
			input->size++;
		}
		break;
	default: /* splice */
		length = other->size - from < INPUT_MAX - at ? other->size - from : INPUT_MAX - at;
		memcpy(input->bytes + at, other->bytes + from, length);
		input->size = at + length;
		break;
	}
}

/* In memory of just that size, so that a sanitizer sees a step too far. */
static void run(const struct input *input)
{
	static unsigned count;
	uint8_t *copy = malloc(input->size > 0 ? input->size : 1);

	if (copy == NULL)
		abort();
	memcpy(copy, input->bytes, input->size);
	/* A system call each would be most of what the parsers cost. */
	if (count++ % 256 == 0)
		alarm(HANG_S);
	LLVMFuzzerTestOneInput(copy, input->size);
	free(copy);
}

int main(int argc, char **argv)
{
	unsigned long seconds = 10, runs = 0, seed = (unsigned long)time(NULL), done = 0;
	struct timespec begun, now;
	struct input input;

	corpus = calloc(CORPUS_MAX, sizeof(*corpus));
	if (corpus == NULL)
		return EXIT_FAILURE;
	for (int i = 1; i < argc; i++) {
		if (sscanf(argv[i], "-max_total_time=%lu", &seconds) == 1 ||
		    sscanf(argv[i], "-runs=%lu", &runs) == 1 || sscanf(argv[i], "-seed=%lu", &seed) == 1)
			continue;
		if (read_corpus(argv[i]) < 0)
			return EXIT_FAILURE;
	}
	if (corpus_count == 0)
		corpus_count = 1;
	printf("%zu files of the corpus, seed %lu\n", corpus_count, seed);
	fflush(stdout);
	srandom((unsigned)seed);
	for (size_t i = 0; i < corpus_count; i++)
		run(&corpus[i]);
	clock_gettime(CLOCK_MONOTONIC, &begun);
	do {
		input = corpus[below(corpus_count)];
		for (size_t changes = below(8) + 1; changes > 0; changes--)
			change(&input);
		run(&input);
		done++;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((runs == 0 || done < runs) && (unsigned long)(now.tv_sec - begun.tv_sec) < seconds);
	printf("%lu inputs\n", done);
	free(corpus);
	return EXIT_SUCCESS;
}
