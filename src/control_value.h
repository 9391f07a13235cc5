/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CONTROL_VALUE_H
#define MEMMAPFS_CONTROL_VALUE_H

/* What commands are given: WORD[:OFFSET:LENGTH]. Knows text only. */

#include <stdbool.h>
#include <stdint.h>

struct control_value {
	char word[32];
	bool ranged;	 /* the rest is set */
	uint64_t offset; /* bytes */
	uint64_t length; /* > 0; the sum does not overflow */
};

/**
 * control_value_read() - read the value of a command
 * @text:      "now:4K:1M"
 * @ret_value: set on success only
 * @ret_why:   set on failure only: what would be right; static
 *
 * Return: 0 or -EINVAL.
 */
int control_value_read(const char *text, struct control_value *ret_value, const char **ret_why);

#endif
