/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_SERVE_H
#define MEMMAPFS_LAYER_SERVE_H

/*
 * Committing and discarding change what is constant otherwise: which object an inode stands for, and that a file's
 * content is the layer's. Everybody who uses inodes of a mount with a layer does so between layer_serve_begin() and
 * layer_serve_end(): workers for the length of a request, other threads for a call. While that is stopped nobody
 * does.
 *
 * The outermost of all locks. Without a layer nothing happens here.
 */

struct fs;

/** layer_serve_begin() - use inodes; may be nested. Blocks: while they are stopped. */
void layer_serve_begin(struct fs *fs);

/** layer_serve_end() - no longer */
void layer_serve_end(struct fs *fs);

/** layer_stop_begin() - wait until nobody uses inodes; the caller may. Not between begin and end of serving. */
void layer_stop_begin(struct fs *fs);

/** layer_stop_end() - others may again */
void layer_stop_end(struct fs *fs);

/* Use inodes until the end of the enclosing block. */
static inline void layer_serve_leave(struct fs **fs)
{
	layer_serve_end(*fs);
}

static inline struct fs *layer_serve_enter(struct fs *fs)
{
	layer_serve_begin(fs);
	return fs;
}

#define LAYER_SERVE_SCOPE(served)                                                                            \
	__attribute__((cleanup(layer_serve_leave), unused)) struct fs *layer_serve_scope =                   \
		layer_serve_enter(served)

#endif
