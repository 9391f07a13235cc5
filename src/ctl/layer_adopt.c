/* SPDX-License-Identifier: MIT */
/* memmapfsctl layer adopt. */
#include <stdio.h>
#include <string.h>

#include "ctl/ctl.h"
#include "layer/adopt.h"
#include "util.h"

enum ctl_status ctl_layer_adopt(const char *const *options, char **operands, int count)
{
	CLEANUP(free_pointer) char *error = NULL;
	struct adopted adopted;
	int result = adopt_layer(operands[0], operands[1], options[0] != NULL, &adopted, &error);

	(void)count;
	if (result < 0) {
		ctl_say("%s%s%s", error == NULL ? operands[0] : error, error == NULL ? ": " : "",
			error == NULL ? strerror(-result) : "");
		return CTL_FAILED;
	}
	printf("%llu objects found, %llu missing\n", (unsigned long long)adopted.found,
	       (unsigned long long)adopted.missing);
	return CTL_DONE;
}
