/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_SWEEP_H
#define MEMMAPFS_LAYER_SWEEP_H

/*
 * After a crash a kept layer may have page files that no record names: strays. They are looked for among all page
 * files, and removed, by a thread while the mount serves. A layer whose strays have not all been looked for when
 * it is closed is not closed cleanly, so that the next mount looks again.
 */

#include <stdint.h>

struct fs;
struct layer;

/**
 * sweep_run() - remove the strays of a layer that may have some; else nothing
 *
 * A failure is logged, and what is left is for the next mount.
 *
 * Locks:  those of serving and layer->lock, for a few files at a time; commit_lock as well where there are strays.
 * Blocks: for the disk, until all page files have been looked at or sweep_stop() is called.
 */
void sweep_run(struct fs *fs);

/** sweep_start() - have a thread do it; the mount serves. A failure is logged and nothing more. */
void sweep_start(struct fs *fs);

/** sweep_stop() - end the thread; also where it was never begun. None of the layer's locks may be held. */
void sweep_stop(struct fs *fs);

/** sweep_make_way_locked() - a record is about to get this id: a stray of the same goes first. Locks: layer->lock. */
void sweep_make_way_locked(struct layer *layer, uint64_t id);

#endif
