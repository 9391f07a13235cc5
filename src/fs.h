/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_FS_H
#define MEMMAPFS_FS_H

/*
 * One mounted file system: everything a request, a background thread or a successor process needs is
 * reached from struct fs.
 *
 * Lock order, outermost first:
 *   layer->serving (see layer/serve.h)
 *   fs->linger_lock
 *   layer->maintain_lock
 *   layer->commit_lock
 *   layer->lock
 *   node->lock (of a layer)
 *   file->lock
 *   inode_shard.lock of by_key, then of by_id
 *   mounts->lock
 *   fd_cache->lock
 *   fs->dirty_lock
 *   fs->sync_lock
 *   mapping->lock
 *   window_cache->lock
 *   locked_files.lock
 *   watch->marks.lock
 *   layer->place_lock, store->lock, policy_table->lock, handle_table->lock, fs->wait_lock, fs->work_lock, farewell->lock: leaves
 * No lock is held across a reply, msync(2), or a touch of mapped bytes.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "farewell.h"
#include "fds.h"
#include "handle.h"
#include "inode.h"
#include "locked.h"
#include "mapping/cache.h"
#include "options.h"
#include "policy.h"
#include "reserve.h"
#include "util.h"
#include "warm.h"
#include "watch.h"

enum io_counter {
	IO_READS,
	IO_READ_BYTES,
	IO_WRITES,
	IO_WRITE_BYTES,
	IO_READ_FALLBACKS,
	IO_WRITE_FALLBACKS,
	FAULTS_TRUNCATED,
	FAULTS_NOSPACE,
	FAULTS_IO,
	SYNC_TICKS,
	SYNC_MSYNCS,
	SYNC_BYTES,
	SYNC_ERRORS,
	SYNC_LOST_BYTES,
	FS_COUNTERS,
};
_Static_assert(FS_COUNTERS <= TALLY_COUNTERS, "a tally holds them all");

struct active_sync;
struct layer;
struct lock_wait;
struct session;

/* The mounts that backing objects lie on: handles are opened, and file systems synced, by a descriptor of theirs. */
#define MOUNTS_MAX 64
struct mounts {
	pthread_mutex_t lock;
	int count; /* protected by lock; entries never change once counted */
	struct {
		uint64_t id;  /* statx(2)'s stx_mnt_id */
		int fd;	      /* open for reading; -1: it may not be opened */
		bool handles; /* open_by_handle_at(2) works there; otherwise objects are kept by descriptor */
	} mount[MOUNTS_MAX];
};

/* Which part of its policy a backing file system decides. */
enum backing_medium {
	MEDIUM_DISK,
	MEDIUM_MEMORY,	   /* what is read in a hole is allocated there */
	MEDIUM_HUGE_PAGES, /* as MEDIUM_MEMORY; no write(2), and files of whole huge pages (hugetlbfs) */
	MEDIUM_REMOTE,
};

struct fs {
	struct options options;	    /* constant while serving */
	bool read_only;		    /* mode=ro, or ro; constant */
	bool privileged;	    /* may act as other users; constant */
	bool handles;		    /* BACKING has file handles and the daemon may open them; constant */
	unsigned long mount_flags;  /* ST_NOSUID, ST_NODEV, ST_NOEXEC of BACKING's mount; constant */
	bool atime;		    /* a read moves BACKING's access times; constant */
	enum backing_medium medium; /* constant */
	unsigned statx_flags;	    /* AT_STATX_DONT_SYNC where asking is not needed; constant */
	uint64_t root_dev;	    /* constant */
	/* The kernel reads and writes BACKING itself; set by INIT, constant from then on. */
	_Atomic bool passthrough;
	_Atomic bool passthrough_said;	  /* why some file is served by windows all the same */
	_Atomic size_t passthrough_files; /* open so */
	/* The kernel is to tell of no open, of a file's or of a directory's; likewise. */
	_Atomic bool skips_opens;
	_Atomic bool skips_opendirs;
	_Atomic uint64_t own_dev; /* the mount's own device, once mounted; 0 before */
	int proc_fd;		  /* O_PATH, /proc/self/fd; constant */
	int covered_fd;		  /* O_PATH, the directory the mount covers; constant */
	struct inode *root;	  /* constant */
	struct layer *layer;	  /* mode=cow, else NULL; constant */
	bool offline;		  /* nothing is mounted: a kept layer is being looked at; constant */
	char *backing_path;	  /* canonical; constant */
	char *mount_path;	  /* canonical; constant */
	struct timespec started;  /* CLOCK_MONOTONIC; constant */

	struct mounts mounts;
	struct inode_table inodes;
	struct handle_table handle_table;
	struct fd_cache fds;
	struct window_cache windows;
	struct policy_table policies;
	struct tally tally; /* enum io_counter */
	struct reserve reserve;

	pthread_mutex_t dirty_lock;
	struct inode *dirty;	       /* protected by dirty_lock; each holds a reference */
	struct inode *batch;	       /* of the loop's: taken off dirty, and about to be synced together */
	_Atomic int64_t dirty_bytes;   /* in dirty extents */
	_Atomic int64_t syncing_bytes; /* taken from them, and not on disk yet */
	_Atomic bool sync_asked;       /* sync_bytes= was passed, and no round has begun since */
	_Atomic unsigned writers;      /* open handles that write */
	uint32_t look_round;	       /* of revalidate_files(), which alone uses it */
	_Atomic bool sync_failed;      /* some sync, ever: the exit status tells */
	_Atomic bool attributes_dirty; /* changed by the mount, and left to the kernel */
	_Atomic size_t unsynced;       /* inodes that the last sync has not come to */

	pthread_mutex_t sync_lock;
	pthread_cond_t sync_ended;
	struct active_sync *active_syncs; /* protected by sync_lock */
	uint64_t sync_ticket;		  /* protected by sync_lock; the last one given out */

	pthread_mutex_t work_lock;
	struct file *work; /* protected by work_lock; files with pages to read or lock; inodes referenced */
	_Atomic bool huge_said;	  /* what came of hugepages */
	_Atomic bool extend_said; /* that a write extends no file of hugetlbfs */

	struct locked_files locked;

	pthread_mutex_t linger_lock;
	struct file *lingering; /* protected by linger_lock; written just now; inodes referenced */

	struct watch *watch; /* constant while serving; NULL: changes in BACKING are not heard of */
	struct trust
		trust[2]; /* of what is not heard of, and of what is; set by INIT, constant from then on */

	struct session *session; /* constant once set */

	pthread_mutex_t wait_lock;
	pthread_cond_t wait_ended;
	struct lock_wait *waits; /* protected by wait_lock; blocked requests for locks */
	size_t wait_count;	 /* protected by wait_lock; threads, some of which may be past their wait */
	bool waits_cancelled;	 /* protected by wait_lock */

	struct farewell farewell;
	struct warm warm; /* of the main thread's */

	_Atomic unsigned idle_workers; /* waiting for a request: somebody who can take forgets */
	/* Has the loop begin a round of syncs now; set by the loop. */
	void (*ask_to_sync)(void *context);
	/* There is something on fs->work; set by the loop. */
	void (*work_waits)(void *context);
	/* There is something on fs->lingering; set by the loop. */
	void (*file_lingers)(void *context);
	void *ask_context;
};

/**
 * fs_open() - open BACKING and set everything up that does not need the mount
 * @options:   consumed
 * @rules:     of options->rules, consumed; NULL without
 * @ret_error: one line for the user on failure; the caller frees it
 *
 * Return: 0, -EINVAL or another -errno for BACKING, -ENOTDIR ..., with @ret_mountpoint_bad telling
 * whether MOUNTPOINT is to blame.
 */
int fs_open(struct fs *fs, struct options *options, struct rules *rules, char **ret_error,
	    bool *ret_mountpoint_bad);

/** fs_close() - release everything; no thread uses @fs any more */
void fs_close(struct fs *fs);

/** fs_count() - bump a counter, without a lock */
static inline void fs_count(struct fs *fs, enum io_counter counter, uint64_t amount)
{
	tally_add(&fs->tally, counter, amount);
}

/**
 * fs_mount_index() - the index in fs->mounts of the mount an object lies on, which is entered there
 * @stx: with STATX_MNT_ID
 *
 * Return: an index, or -1 where its objects have to be kept by descriptor.
 */
int fs_mount_index(struct fs *fs, int directory_fd, const char *name, const struct statx *stx);

/**
 * fs_trim_memory() - give memory of forgotten inodes back to the system, once that is much
 * @before: inodes in the table before some were forgotten
 *
 * Locks: none may be held; the allocator's are taken for as long as it takes.
 *
 * See: malloc_trim(3)
 */
void fs_trim_memory(struct fs *fs, size_t before);

/**
 * fs_walk_contains() - does a directory lie in BACKING's tree?
 * @fd: the directory; borrowed
 */
bool fs_walk_contains(struct fs *fs, int fd);

#endif
