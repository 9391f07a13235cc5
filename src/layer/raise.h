/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_RAISE_H
#define MEMMAPFS_LAYER_RAISE_H

struct fs;

/**
 * layer_raise() - give the layer that is written a record of each object, and each name, that the bases have and that
 * the mount shows
 *
 * No page is copied, and nothing that can be seen changes: what a layer records of an object is what those below say.
 * Without bases nothing is done.
 *
 * Locks:  serves, and layer->lock for a directory at a time.
 * Return: 0, or -errno of the databases or of looking at BACKING; then a part of them has records.
 */
int layer_raise(struct fs *fs);

#endif
