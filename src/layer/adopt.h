/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_ADOPT_H
#define MEMMAPFS_LAYER_ADOPT_H

#include <stdbool.h>
#include <stdint.h>

struct adopted {
	uint64_t found;	  /* records that stand for objects of the new BACKING now */
	uint64_t missing; /* that have none there */
};

/**
 * adopt_layer() - make a kept layer, which nobody has open, one of another BACKING, as after that was moved, copied or
 * restored
 * @path:        the layer's directory
 * @backing:     what it is to belong to
 * @force:       also where files that it has pages of are missing there, or are others by size or time
 * @ret_adopted: set on success only
 * @ret_error:   one line for the user on failure, or NULL; the caller frees it
 *
 * What a record stands for is looked for where it was in the old BACKING, by its path. What is missing, the layer has
 * as it has what was removed from BACKING behind a mount's back. All of it is one change of the layer.
 *
 * Return: 0, or
 *   -ENOTDIR  there is no layer, or no directory
 *   -EINVAL   the layer lies in the new BACKING
 *   -EBUSY    a commit was interrupted, which only the old BACKING can end; or as home_open()
 *   -ENOTSUP  the layer lies over others, which know the same objects
 *   -ESTALE   without @force: files are missing or are others
 *   or as home_open(), -ENOMEM, or -errno of looking
 */
int adopt_layer(const char *path, const char *backing, bool force, struct adopted *ret_adopted,
		char **ret_error);

#endif
