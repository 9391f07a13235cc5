/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>
#include <unistd.h>

#include "util.h"

static enum log_level threshold = LEVEL_INFO;
static bool syslogging;

void log_open(enum log_level level)
{
	threshold = level;
}

void log_to_syslog(void)
{
	openlog("memmapfs-fuse", LOG_PID, LOG_DAEMON);
	syslogging = true;
}

void log_line(enum log_level level, const char *format, ...)
{
	static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
	static const char *const names[] = {"error: ", "warning: ", "", "debug: "};
	int saved = errno;
	char line[1024];
	int length, prefix;
	va_list arguments;

	if (level > threshold)
		return;
	prefix = snprintf(line, sizeof(line), "memmapfs-fuse: %s", names[level]);
	va_start(arguments, format);
	errno = saved; /* for %m */
	length = vsnprintf(line + prefix, sizeof(line) - (size_t)prefix - 1, format, arguments);
	va_end(arguments);
	if (syslogging) {
		syslog(priorities[level], "%s", line + prefix);
	} else if (length >= 0) {
		/* One write(2), so that lines of several threads do not mix. */
		size_t end = MIN((size_t)(prefix + length), sizeof(line) - 2);

		line[end] = '\n';
		if (write(STDERR_FILENO, line, end + 1) < 0) {
			/* Nowhere left to say so. */
		}
	}
	errno = saved;
}
