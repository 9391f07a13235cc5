/* SPDX-License-Identifier: MIT */
#include "json_name.h"

#include "util.h"

json_t *json_name(const char *name)
{
	json_t *string = json_string(name);

	/* Names are bytes and JSON is UTF-8. */
	if (string == NULL) {
		CLEANUP(free_pointer) char *copy = strdup(name);

		for (char *c = copy; c != NULL && *c != '\0'; c++)
			*c = (unsigned char)*c < 0x80 ? *c : '?';
		string = json_string(copy == NULL ? "" : copy);
	}
	return string;
}
