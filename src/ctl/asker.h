/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CTL_ASKER_H
#define MEMMAPFS_CTL_ASKER_H

/*
 * Looks at a mount by a process of its own. A daemon that was stopped, or whose disk hangs, answers nobody, and who
 * waits for it can often not even be killed: so who has keys to listen to does not do the asking.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "ctl/client.h"
#include "ctl/top_view.h"

struct asker {
	pid_t pid;
	int questions; /* to the process */
	int answers;   /* from it; for poll(2) */
	char *text;    /* what has arrived of an answer */
	size_t length, size;
};
#define ASKER_NONE ((struct asker){.questions = -1, .answers = -1})

/**
 * asker_look() - ask an open mount now, in this process
 * @measure:    what files are sorted by
 * @rows:       how many of them
 * @ret_sample: its seconds are left 0; the caller releases the objects
 *
 * Return: 0, or -errno after having said why.
 */
int asker_look(const struct client *client, const char *measure, size_t rows, struct top_sample *ret_sample);

/**
 * asker_start() - begin the process, which opens the mount
 * @mount: path; what is wrong with it the first answer says
 *
 * Return: 0, or -errno after having said why.
 */
int asker_start(const char *mount, struct asker *ret_asker);

/** asker_ask() - ask as asker_look(); one question at a time */
void asker_ask(struct asker *asker, const char *measure, size_t rows);

/**
 * asker_hear() - take what has arrived; does not wait
 * @ret_sample: set with 1 only
 *
 * Return: 1 for a sample; 0: not all of it is there; -errno after having said what was wrong: it was the last.
 */
int asker_hear(struct asker *asker, struct top_sample *ret_sample);

/** asker_end() - end the process, without waiting for it; accepts ASKER_NONE; also as CLEANUP() */
void asker_end(struct asker *asker);

#endif
