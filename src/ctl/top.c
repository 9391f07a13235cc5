/* SPDX-License-Identifier: MIT */
/* The busiest files of a mount: on a terminal live until q, elsewhere once. */
#include <errno.h>
#include <locale.h>
#include <ncurses.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl/asker.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/text.h"
#include "ctl/top_view.h"
#include "util.h"

/* An answer that takes longer is late, and it is said. */
#define LATE_S 2

static const struct {
	int key;
	const char *measure;
} measures[] = {{'i', "io"}, {'m', "mapped"}, {'r', "resident"}, {'d', "dirty"}, {'l', "locked"}};

struct top {
	const char *mount;
	const char *measure;
	double interval;
	double looked; /* when the sample was taken; 0: there is none */
	struct top_sample sample, before;
};

/* Of a clock that only moves forward. */
static double now_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

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
}

/* Takes the sample over. */
static void top_take(struct top *top, const struct top_sample *sample)
{
	double now = now_seconds();

	sample_fini(&top->before);
	top->before = top->sample;
	top->sample = *sample;
	top->sample.seconds = now - top->looked;
	top->looked = now;
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
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct top_sample sample;
	size_t columns, rows;

	text_terminal(STDOUT_FILENO, &columns, &rows);
	rows = isatty(STDOUT_FILENO) ? MAX(rows, 8) - 7 : 20;
	if (client_open(top->mount, CLIENT_ROOT, &client) < 0 ||
	    asker_look(&client, top->measure, rows, &sample) < 0)
		return CTL_FAILED;
	top_take(top, &sample);
	for (size_t i = 0;; i++) {
		CLEANUP(free_pointer) char *text = top_line(top, i, columns);

		if (text == NULL)
			return CTL_DONE;
		puts(text);
	}
}

static void draw_lines(const struct top *top, int rows, int columns)
{
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
}

/* @waited: seconds that an answer is late by now; 0: none is. */
static void draw(const struct top *top, double waited)
{
	char line[96] = "sort: i/o m)apped r)esident d)irty l)ocked   q)uit", buffer[TEXT_SIZE];
	int rows, columns;

	getmaxyx(stdscr, rows, columns);
	if (waited > 0)
		snprintf(line, sizeof(line), "no answer from the daemon for %s   q)uit",
			 text_duration((uint64_t)waited, buffer));
	erase();
	if (top->looked > 0)
		draw_lines(top, rows, columns);
	mvaddnstr(rows - 1, 0, line, columns - 1);
	refresh();
}

enum reaction { REACTION_NONE, REACTION_LOOK, REACTION_QUIT };

static enum reaction react(struct top *top)
{
	enum reaction reaction = REACTION_NONE;
	int key;

	while ((key = getch()) != ERR) {
		if (key == 'q' || key == 'Q')
			return REACTION_QUIT;
		for (size_t i = 0; i < ARRAY_LENGTH(measures); i++) {
			if (measures[i].key == key)
				top->measure = measures[i].measure;
		}
		reaction = REACTION_LOOK;
	}
	return reaction;
}

/* Until there is a key, or part of an answer, or something else to be drawn. False: nobody types any more. */
static bool wait_for(int answers, double seconds)
{
	struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = answers, .events = POLLIN}};

	return poll(fds, ARRAY_LENGTH(fds), (int)(1000 * MIN(MAX(seconds, 0), 1)) + 1) <= 0 ||
	       !(fds[0].revents & (POLLHUP | POLLERR));
}

/* The screen is on. Returns when it is to go: 0, or -errno after having said why. */
static int watch(struct top *top, struct asker *asker)
{
	double due = now_seconds(), asked = 0;

	for (;;) {
		struct top_sample sample;
		double now = now_seconds();
		int result;

		if (asked == 0 && now >= due) {
			asker_ask(asker, top->measure,
				  (size_t)MAX(getmaxy(stdscr) - TOP_HEADER_LINES - 2, 1));
			asked = now;
			due = now + top->interval;
		}
		draw(top, asked > 0 && now - asked >= LATE_S ? now - asked : 0);
		if (!wait_for(asker->answers, asked > 0 ? 1 : due - now))
			return 0;
		result = asker_hear(asker, &sample);
		if (result < 0)
			return result;
		if (result > 0) {
			top_take(top, &sample);
			asked = 0;
		}
		switch (react(top)) {
		case REACTION_QUIT:
			return 0;
		case REACTION_LOOK:
			due = 0;
			break;
		case REACTION_NONE:
			break;
		}
	}
}

static enum ctl_status top_live(struct top *top)
{
	CLEANUP(asker_end) struct asker asker = ASKER_NONE;
	SCREEN *screen;
	int result;

	/* Before there is a screen: it is not the process's. */
	if (asker_start(top->mount, &asker) < 0)
		return CTL_FAILED;
	screen = newterm(NULL, stdout, stdin);
	/* A terminal that ncurses knows nothing of. */
	if (screen == NULL)
		return top_once(top);
	/* What fails is said once the screen is the shell's again. */
	ctl_hold();
	cbreak();
	noecho();
	curs_set(0);
	keypad(stdscr, TRUE);
	timeout(0);
	result = watch(top, &asker);
	endwin();
	delscreen(screen);
	ctl_release();
	return result < 0 ? CTL_FAILED : CTL_DONE;
}

enum ctl_status ctl_top(const char *const *options, char **operands, int count)
{
	CLEANUP(top_fini) struct top top = {.mount = operands[0], .interval = 2};
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
	return isatty(STDOUT_FILENO) && isatty(STDIN_FILENO) ? top_live(&top) : top_once(&top);
}
