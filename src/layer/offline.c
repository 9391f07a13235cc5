/* SPDX-License-Identifier: MIT */
#include "layer/offline.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "fs.h"
#include "layer/keep.h"
#include "util.h"

/*
 * The options that a mount would have. The layer's own directory stands for the mount point: it lies outside of
 * BACKING, so that nothing there is taken for the directory that a mount covers.
 */
static int make_options(const char *backing, const char *layer, struct options *ret_options, char **ret_error)
{
	char words[] = "mode=cow",
	     *given[] = {(char *)"memmapfsctl", (char *)"-o", words, (char *)backing, (char *)layer, NULL};
	int result = options_parse(ARRAY_LENGTH(given) - 1, given, ret_options, ret_error);

	if (result < 0)
		return result;
	/* Not as a word, in which commas and backslashes would mean something. */
	ret_options->layer = strdup(layer);
	return ret_options->layer == NULL ? -ENOMEM : 0;
}

int offline_open(const char *path, struct fs **ret_fs, char **ret_error)
{
	CLEANUP(free_pointer) char *directory = realpath(path, NULL);
	CLEANUP(free_pointer) char *backing = NULL;
	struct options options = {0};
	struct fs *fs;
	bool ignored;
	int result;

	*ret_error = NULL;
	if (directory == NULL)
		return -errno;
	result = keep_backing(directory, &backing, ret_error);
	if (result == 0)
		result = make_options(backing, directory, &options, ret_error);
	if (result < 0)
		return result;
	fs = calloc(1, sizeof(*fs));
	if (fs == NULL) {
		options_fini(&options);
		return -ENOMEM;
	}
	fs->offline = true;
	result = fs_open(fs, &options, NULL, ret_error, &ignored);
	if (result < 0) {
		offline_close(fs);
		return result;
	}
	*ret_fs = fs;
	return 0;
}

void offline_close(struct fs *fs)
{
	if (fs == NULL)
		return;
	fs_close(fs);
	free(fs);
}
