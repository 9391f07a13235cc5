/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CTL_TEXT_H
#define MEMMAPFS_CTL_TEXT_H

/* Numbers and names as people read them. Knows no mount. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_SIZE 32

/** text_bytes() - "0 B", "1023 B", "1.0 KiB", "123 MiB": at most 8 columns. Return: @buffer. */
const char *text_bytes(uint64_t bytes, char buffer[TEXT_SIZE]);

/** text_duration() - "0:07", "12:34", "1:02:03", "3 d 04:05". Return: @buffer. */
const char *text_duration(uint64_t seconds, char buffer[TEXT_SIZE]);

/** text_percent() - "12.3 %"; "0 %" and "100 %" only for exactly that. Return: @buffer. */
const char *text_percent(uint64_t part, uint64_t whole, char buffer[TEXT_SIZE]);

/**
 * text_fit() - a name in at most @columns columns of the terminal
 *
 * Control characters and bytes that are no character become '?'; a name that is too long loses its
 * beginning, which tells less than its end, to "...".
 *
 * Return: malloc'ed, or NULL without memory.
 */
char *text_fit(const char *name, size_t columns);

/** text_clean() - have control characters become '?', those of 8 bits in UTF-8 too; in place, and no longer */
void text_clean(char *text);

/** text_seconds() - read "2", "0.5"; false for what is no number or outside of @min..@max */
bool text_seconds(const char *text, double min, double max, double *ret_seconds);

/** text_terminal() - the width and height of the terminal behind @fd; 80 and 24 where there is none */
void text_terminal(int fd, size_t *ret_columns, size_t *ret_rows);

#endif
