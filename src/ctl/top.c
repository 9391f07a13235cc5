/* SPDX-License-Identifier: MIT */
/* The busiest files of a mount: on a terminal live until q, elsewhere once. */
#include <errno.h>
#include <locale.h>
#include <ncurses.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/text.h"
#include "ctl/top_view.h"
#include "util.h"

static const struct {
	int key;
	const char *measure;
} measures[] = {{'i', "io"}, {'m', "mapped"}, {'r', "resident"}, {'d', "dirty"}, {'l', "locked"}};

struct top {
	struct client client;
	const char *mount;
	const char *measure;
	double interval;
	struct timespec looked;
	struct top_sample sample, before;
};

static void sample_fini(struct top_sample *sample)
{
	json_decref(sample->stats);
	json_decref(sample->files);
	*sample = (struct top_sample){0};
}

static void top_fini(struct top *top)
{
	sample_fini(&top->sample);
	sample_fini(&top->before);
	client_close(&top->client);
}

static int top_look(struct top *top, size_t rows)
{
	struct top_sample sample = {0};
	struct timespec now;
	char value[32];
	int result;

	snprintf(value, sizeof(value), "%s:%zu", top->measure, MAX(rows, 1));
	clock_gettime(CLOCK_MONOTONIC, &now);
	result = client_ask(&top->client, "stats", NULL, &sample.stats);
	if (result == 0)
		result = client_ask(&top->client, "files", value, &sample.files);
	if (result < 0) {
		sample_fini(&sample);
		return result;
	}
	sample.seconds = (double)(now.tv_sec - top->looked.tv_sec) +
			 (double)(now.tv_nsec - top->looked.tv_nsec) / 1e9;
	top->looked = now;
	sample_fini(&top->before);
	top->before = top->sample;
	top->sample = sample;
	return 0;
}

static char *top_line(const struct top *top, size_t number, size_t columns)
{
	const struct top_sample *before = top->before.stats == NULL ? NULL : &top->before;

	if (number < TOP_HEADER_LINES)
		return top_header(top->mount, &top->sample, before, (unsigned)number, columns);
	if (number == TOP_HEADER_LINES)
		return top_titles(top->measure, columns);
	return top_row(&top->sample, number - TOP_HEADER_LINES - 1, columns);
}

static enum ctl_status top_once(struct top *top)
{
	size_t columns, rows;

	text_terminal(STDOUT_FILENO, &columns, &rows);
	if (top_look(top, isatty(STDOUT_FILENO) ? MAX(rows, 8) - 7 : 20) < 0)
		return CTL_FAILED;
	for (size_t i = 0;; i++) {
		CLEANUP(free_pointer) char *text = top_line(top, i, columns);

		if (text == NULL)
			return CTL_DONE;
		puts(text);
	}
}

static void draw(const struct top *top)
{
	int rows, columns;

	getmaxyx(stdscr, rows, columns);
	erase();
	for (int i = 0; i < rows - 1; i++) {
		CLEANUP(free_pointer) char *text = top_line(top, (size_t)i, (size_t)columns);

		if (text == NULL)
			break;
		if (i == TOP_HEADER_LINES)
			attron(A_REVERSE);
		mvaddnstr(i, 0, text, -1);
		/* The titles are a bar across the whole screen. */
		if (i == TOP_HEADER_LINES)
			hline(' ', columns);
		attroff(A_REVERSE);
	}
	mvaddnstr(rows - 1, 0, "sort: i/o m)apped r)esident d)irty l)ocked   q)uit", columns - 1);
	refresh();
}

/* False: quit. */
static bool react(struct top *top, int key)
{
	for (size_t i = 0; i < ARRAY_LENGTH(measures); i++) {
		if (measures[i].key == key)
			top->measure = measures[i].measure;
	}
	return key != 'q' && key != 'Q';
}

static enum ctl_status top_live(struct top *top)
{
	SCREEN *screen = newterm(NULL, stdout, stdin);
	bool on = true;
	int result = 0;

	/* A terminal that ncurses knows nothing of. */
	if (screen == NULL)
		return top_once(top);
	/* What fails is said once the screen is the shell's again. */
	ctl_hold();
	cbreak();
	noecho();
	curs_set(0);
	keypad(stdscr, TRUE);
	timeout((int)(top->interval * 1000));
	while (on) {
		result = top_look(top, (size_t)MAX(getmaxy(stdscr) - TOP_HEADER_LINES - 2, 1));
		if (result < 0)
			break;
		draw(top);
		on = react(top, getch());
	}
	endwin();
	delscreen(screen);
	ctl_release();
	return result < 0 ? CTL_FAILED : CTL_DONE;
}

enum ctl_status ctl_top(const char *const *options, char **operands, int count)
{
	CLEANUP(top_fini) struct top top = {.client = CLIENT_NONE, .interval = 2};
	const char *wanted = options[0] == NULL ? "io" : options[0];

	(void)count;
	for (size_t i = 0; i < ARRAY_LENGTH(measures); i++) {
		if (strcmp(measures[i].measure, wanted) == 0)
			top.measure = measures[i].measure;
	}
	if (top.measure == NULL)
		return ctl_usage_error("cannot sort by '%s': io, mapped, resident, dirty or locked", wanted);
	if (options[1] != NULL && !text_seconds(options[1], 0.1, 3600, &top.interval))
		return ctl_usage_error("'%s' is no interval: 0.1 to 3600 seconds", options[1]);
	if (client_open(operands[0], CLIENT_ROOT, &top.client) < 0)
		return CTL_FAILED;
	top.mount = operands[0];
	return isatty(STDOUT_FILENO) && isatty(STDIN_FILENO) ? top_live(&top) : top_once(&top);
}
