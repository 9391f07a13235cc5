/* SPDX-License-Identifier: MIT */
/* What the settable attributes are given. */
#include <stdlib.h>
#include <string.h>

#include "control_value.h"
#include "fuzz.h"
#include "mapping/advice.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = copy_text(data, size);
	struct control_value value;
	enum advice advice;
	const char *why = NULL;

	if (text == NULL)
		return 0;
	if (control_value_read(text, &value, &why) == 0) {
		if (strlen(value.word) >= sizeof(value.word) ||
		    (value.ranged && (value.length == 0 || value.offset + value.length < value.offset)))
			abort();
		if (advice_find(value.word, &advice, &why) == 0 &&
		    strcmp(advice_name(advice), value.word) != 0)
			abort();
	} else if (why == NULL) {
		abort();
	}
	free(text);
	return 0;
}
