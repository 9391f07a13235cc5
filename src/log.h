/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LOG_H
#define MEMMAPFS_LOG_H

/*
 * One line an event, to stderr in the foreground and to syslog (the journal, under systemd) otherwise.
 * The level and the destination are the process's, set once before threads start.
 */

#include <stdbool.h>

#include "options.h"

/** log_open() - set the level; lines go to stderr until log_to_syslog() */
void log_open(enum log_level level);

/** log_to_syslog() - from here on lines go to syslog(3) */
void log_to_syslog(void);

/**
 * log_line() - one line, without a newline at its end
 *
 * Safe from any thread; keeps errno.
 */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LEVEL_DEBUG, __VA_ARGS__)

#endif
