/* SPDX-License-Identifier: MIT */
#include "layer/origin.h"

#include <errno.h>
#include <fcntl.h>

#include "fs.h"
#include "layer/content.h"
#include "layer/layer.h"
#include "log.h"
#include "util.h"

const char *origin_change_name(enum origin_change change)
{
	static const char *const names[] = {
		[ORIGIN_SAME] = "same",		[ORIGIN_UNKNOWN] = "unknown", [ORIGIN_CHANGED] = "changed",
		[ORIGIN_REPLACED] = "replaced", [ORIGIN_GONE] = "gone",
	};

	return names[change];
}

struct origin_state origin_state(const struct statx *stx)
{
	return (struct origin_state){.size = stx->stx_size,
				     .mtime = packed_time(stx->stx_mtime),
				     .ctime = packed_time(stx->stx_ctime),
				     .known = true};
}

enum origin_change origin_compare(const struct origin_state *before, const struct statx *now)
{
	if (now->stx_nlink == 0)
		return ORIGIN_GONE;
	if (!before->known)
		return ORIGIN_UNKNOWN;
	return before->size == now->stx_size && packed_time_is(before->mtime, now->stx_mtime) &&
			       packed_time_is(before->ctime, now->stx_ctime)
		       ? ORIGIN_SAME
		       : ORIGIN_CHANGED;
}

int origin_statx_name(struct fs *fs, struct inode *directory, const char *name, struct statx *ret_stx)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	int result;

	if (!layer_peek(directory)->has_origin || atomic_load(&directory->covered))
		return -ENOENT;
	result = inode_fd(fs, directory, FD_PATH, &use);
	if (result < 0)
		return result == -ESTALE ? -ENOENT : result;
	return statx(use.fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC,
		     STATX_BASIC_STATS | STATX_BTIME, ret_stx) < 0
		       ? -errno
		       : 0;
}

void origin_watch(struct fs *fs, struct inode *inode, struct node *node, int result, const struct statx *now)
{
	struct origin_state before;
	enum origin_change change;

	/* A commit writes there itself; what others change meanwhile is seen once it has ended. */
	if (!content_is_own(inode) || atomic_load_explicit(&node->told, memory_order_relaxed) ||
	    atomic_load(&fs->layer->progress.running))
		return;
	pthread_rwlock_rdlock(&node->lock);
	before = node->before;
	pthread_rwlock_unlock(&node->lock);
	change = result < 0 ? ORIGIN_GONE : origin_compare(&before, now);
	if (change >= ORIGIN_CHANGED && !atomic_exchange(&node->told, true)) {
		CLEANUP(free_pointer) char *name = inode_name(fs, inode);

		log_warning("'%s' was %s in BACKING since the layer has pages of it",
			    name == NULL ? "?" : name, change == ORIGIN_GONE ? "removed" : "changed");
	}
}
