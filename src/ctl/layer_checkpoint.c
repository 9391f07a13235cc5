/* SPDX-License-Identifier: MIT */
/* memmapfsctl layer checkpoint. */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/layer_target.h"
#include "util.h"

/* The daemon has another working directory. The last component need not be there; malloc'ed or NULL. */
static char *absolute(const char *path)
{
	CLEANUP(free_pointer) char *copy = strdup(path), *other = strdup(path), *parent = NULL;
	const char *name;
	char *result;

	if (copy == NULL || other == NULL)
		return NULL;
	name = basename(other);
	if (strcmp(name, "/") == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		errno = EEXIST;
		return NULL;
	}
	parent = realpath(dirname(copy), NULL);
	if (parent == NULL || asprintf(&result, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, name) < 0)
		return NULL;
	return result;
}

enum ctl_status ctl_layer_checkpoint(const char *const *options, char **operands, int count)
{
	CLEANUP(layer_target_close) struct layer_target target = LAYER_TARGET_NONE;
	CLEANUP(free_pointer) char *path = absolute(operands[1]);
	const char *warning;
	json_t *answer;

	(void)options;
	(void)count;
	if (path == NULL) {
		ctl_say("'%s': %s", operands[1], strerror(errno));
		return CTL_FAILED;
	}
	if (layer_target_open(operands[0], &target) < 0)
		return CTL_FAILED;
	/* What programs have stored through mappings so far belongs to it. */
	if (target.fs == NULL)
		syncfs(target.client.fd);
	if (layer_target_ask(&target, "checkpoint", path, &answer) < 0)
		return CTL_FAILED;
	warning = json_string_value(json_object_get(answer, "warning"));
	if (warning != NULL)
		ctl_say("%s", warning);
	json_decref(answer);
	return warning == NULL ? CTL_DONE : CTL_FAILED;
}
