/* SPDX-License-Identifier: MIT */
/*
 * The kernel hands over what waits in a queue whenever a request has been answered, but not when an entry is
 * registered: what came while all others were taken would stay there. So there is a request that nobody waits for, a
 * retrieval of no bytes from a file: whoever takes it goes on with the next that waits. Where nobody is free to take it,
 * all are serving, and their threads do the same afterwards.
 *
 * No request of the daemon's own as a client does that: its thread could be kept waiting behind what it is to help,
 * and such a thread keeps a process that is killed from ending.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "fs.h"
#include "inode.h"
#include "log.h"
#include "ring_private.h"
#include "session_private.h"
#include "util.h"

/* The kernel counts its own requests up from zero. */
#define KICK_UNIQUE (UINT64_C(1) << 62)
#define TRIES 100
#define PAUSE_NS 1000000

/*
 * Return: 0, also where the connection has ended and nothing waits any more; -EINVAL where it is no regular file; -ENOENT
 * where the kernel does not know it; another -errno
 */
static int retrieve_nothing(struct ring *ring, uint64_t nodeid)
{
	struct fuse_notify_retrieve_out nothing = {
		.notify_unique = KICK_UNIQUE + 2 * atomic_fetch_add(&ring->kicks, 1),
		.nodeid = nodeid,
	};
	struct fuse_out_header header = {.len = sizeof(header) + sizeof(nothing),
					 .error = FUSE_NOTIFY_RETRIEVE};
	struct iovec iov[] = {{&header, sizeof(header)}, {&nothing, sizeof(nothing)}};
	int result = 0;

	for (int i = 0; i < TRIES && !atomic_load(&ring->session->stopping); i++) {
		result = writev(ring->session->fd, iov, ARRAY_LENGTH(iov)) < 0 ? -errno : 0;
		if (result == -ENOTCONN)
			return 0;
		if (result == 0 || result == -EINVAL || result == -ENOENT)
			break;
		nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
	}
	return result;
}

/* Any file that has been opened: where there is none nobody has pages that a request could wait for. */
static int retrieve_from_any(struct ring *ring)
{
	struct fs *fs = ring->session->fs;
	int result = -ENOENT;

	for (size_t i = 0; i < INODE_SHARDS && result < 0; i++) {
		struct inode **inodes;
		size_t count = inode_hold_files(&fs->inodes.by_id[i], &inodes);

		for (size_t k = 0; k < count; k++) {
			if (result < 0 && S_ISREG(inodes[k]->type))
				result = retrieve_nothing(ring, atomic_load(&inodes[k]->nodeid));
			inode_unref(fs, inodes[k]);
		}
		free(inodes);
	}
	return result;
}

void ring_kick(struct ring *ring, unsigned queue, uint64_t nodeid)
{
	int result = retrieve_nothing(ring, nodeid);

	if (result == -EINVAL || result == -ENOENT)
		result = retrieve_from_any(ring);
	if (result < 0 && result != -ENOENT)
		log_error("requests of CPU %u may have to wait for others: %s", queue, strerror(-result));
}
