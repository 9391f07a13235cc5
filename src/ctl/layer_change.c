/* SPDX-License-Identifier: MIT */
/* memmapfsctl layer: commands that change a layer. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"
#include "ctl/layer_target.h"
#include "ctl/text.h"
#include "util.h"

/* A path as it is below the mount's root: one that begins there loses that. NULL after having said why. */
static const char *path_below(const struct layer_target *target, const char *path)
{
	size_t length = strlen(target->path);

	if (*path != '/')
		return path;
	if (target->fs == NULL && strncmp(path, target->path, length) == 0 &&
	    (path[length] == '/' || path[length] == '\0'))
		return path + length;
	ctl_say("'%s': paths are relative to the mount's root, or begin with '%s'", path, target->path);
	return NULL;
}

/* Paths as layer/command.h has them, behind @head; malloc'ed, or NULL after having said why. */
static char *join_paths(const struct layer_target *target, const char *head, char **paths, int count)
{
	size_t size = strlen(head) + 1;
	char *words, *to;

	for (int i = 0; i < count; i++)
		size += 2 * strlen(paths[i]) + 1;
	words = malloc(size);
	if (words == NULL)
		return NULL;
	to = stpcpy(words, head);
	for (int i = 0; i < count; i++) {
		const char *path = path_below(target, paths[i]);

		if (path == NULL) {
			free(words);
			return NULL;
		}
		if (i > 0)
			*to++ = '\n';
		/* The root is no empty word. */
		path = *path == '\0' ? "." : path;
		for (; *path != '\0'; path++) {
			if (*path == '\n' || *path == '\\')
				*to++ = '\\';
			*to++ = *path == '\n' ? 'n' : *path;
		}
	}
	*to = '\0';
	return words;
}

enum ctl_status ctl_layer_discard(const char *const *options, char **operands, int count)
{
	CLEANUP(layer_target_close) struct layer_target target = LAYER_TARGET_NONE;
	CLEANUP(free_pointer) char *words = NULL;
	char bytes[TEXT_SIZE];
	json_t *answer;

	(void)options;
	if (layer_target_open(operands[0], &target) < 0 ||
	    (words = join_paths(&target, "", operands + 1, count - 1)) == NULL ||
	    layer_target_ask(&target, "discard", words, &answer) < 0)
		return CTL_FAILED;
	printf("%llu objects, %s discarded\n", (unsigned long long)ctl_number(answer, "objects"),
	       text_bytes(ctl_number(answer, "bytes"), bytes));
	json_decref(answer);
	return CTL_DONE;
}
