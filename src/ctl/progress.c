/* SPDX-License-Identifier: MIT */
#include "ctl/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/text.h"
#include "util.h"

#define EVERY_S 0.2
#define COLUMNS 79
#define BAR 20

static double since(const struct timespec *then)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

void progress_begin(struct progress *progress, bool wanted, uint64_t all)
{
	*progress = (struct progress){.shown = wanted && isatty(STDERR_FILENO), .all = all};
	clock_gettime(CLOCK_MONOTONIC, &progress->began);
	progress->printed = progress->began;
}

void progress_line(const struct progress *progress, double seconds, char *ret_line, size_t size)
{
	char done[TEXT_SIZE], all[TEXT_SIZE], percent[TEXT_SIZE], rate[TEXT_SIZE], left[TEXT_SIZE],
		bar[BAR + 1];
	int filled = progress->all == 0 ? BAR
					: (int)(BAR * (double)MIN(progress->done, progress->all) /
						(double)progress->all);

	memset(bar, '.', BAR);
	memset(bar, '#', (size_t)filled);
	bar[BAR] = '\0';
	text_bytes(progress->done, done);
	text_bytes(progress->all, all);
	text_percent(progress->done, progress->all, percent);
	text_bytes(progress->rate, rate);
	if (progress->done >= progress->all)
		snprintf(ret_line, size, "[%s] %s in %s, %s/s", bar, done,
			 text_duration((uint64_t)(seconds + 0.5), left), rate);
	else if (progress->rate == 0)
		snprintf(ret_line, size, "[%s] %s of %s, %s", bar, done, all, percent);
	else
		snprintf(ret_line, size, "[%s] %s of %s, %s, %s/s, %s left", bar, done, all, percent, rate,
			 text_duration((progress->all - progress->done + progress->rate - 1) / progress->rate,
				       left));
}

static void print(struct progress *progress)
{
	char line[COLUMNS + 1];

	progress_line(progress, since(&progress->began), line, sizeof(line));
	fprintf(stderr, "\r%-*s", COLUMNS, line);
	clock_gettime(CLOCK_MONOTONIC, &progress->printed);
	progress->done_then = progress->done;
}

void progress_add(struct progress *progress, uint64_t bytes)
{
	double seconds = since(&progress->printed);

	progress->done += bytes;
	if (!progress->shown || seconds < EVERY_S)
		return;
	/* The newest look counts a third, so that the time left does not jump. */
	uint64_t rate = (uint64_t)((double)(progress->done - progress->done_then) / seconds);

	progress->rate = progress->rate == 0 ? rate : (2 * progress->rate + rate) / 3;
	print(progress);
}

void progress_end(struct progress *progress)
{
	double seconds = since(&progress->began);

	if (!progress->shown)
		return;
	/* The whole, not the last stretch. */
	progress->rate = seconds > 0 ? (uint64_t)((double)progress->done / seconds) : 0;
	progress->all = progress->done;
	print(progress);
	fputc('\n', stderr);
}
