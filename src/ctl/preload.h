/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CTL_PRELOAD_H
#define MEMMAPFS_CTL_PRELOAD_H

#include <stdint.h>

#include "ctl/client.h"
#include "ctl/progress.h"

/**
 * preload_range() - have the daemon read a range of a file into memory, piece by piece
 *
 * Pieces, so that there is progress to show, that it can be interrupted, and that the daemon is not busy with one
 * request for long.
 *
 * Return: 0, or -errno after having said why; -ENODATA quietly where the file has become shorter.
 */
int preload_range(const struct client *client, uint64_t offset, uint64_t length, struct progress *progress);

#endif
