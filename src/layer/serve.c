/* SPDX-License-Identifier: MIT */
#include "layer/serve.h"

#include "fs.h"
#include "layer/layer.h"

/* How often this thread has begun: the lock lets no reader in twice while a writer waits. */
static _Thread_local unsigned depth;

void layer_serve_begin(struct fs *fs)
{
	if (fs->layer != NULL && depth++ == 0)
		pthread_rwlock_rdlock(&fs->layer->serving);
}

void layer_serve_end(struct fs *fs)
{
	if (fs->layer != NULL && --depth == 0)
		pthread_rwlock_unlock(&fs->layer->serving);
}

void layer_stop_begin(struct fs *fs)
{
	pthread_rwlock_wrlock(&fs->layer->serving);
	depth++;
}

void layer_stop_end(struct fs *fs)
{
	depth--;
	pthread_rwlock_unlock(&fs->layer->serving);
}
