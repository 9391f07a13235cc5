/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_FILE_H
#define MEMMAPFS_FILE_H

/*
 * The content side of a regular file's inode, allocated by its first open: windows, who has it open,
 * what is dirty, which background errors nobody has heard of, and the locks its openers hold.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fds.h"
#include "mapping/cache.h"
#include "settled.h"

struct fs;
struct handle;
struct inode;
struct policy;

/* How many openers can be between being told of a change and opening again. */
#define FILE_TOLD 8

/* Who was given VERDICT_TELL, and when (CLOCK_MONOTONIC, wraps); pid 0 is free. */
struct file_told {
	pid_t pid;
	uint32_t ms;
};

/* What failed syncs may have lost and nobody was told yet. */
#define LOST_RANGES 8
struct lost_ranges {
	unsigned count; /* of ranges; the last one stands for all that followed it */
	struct lost_range {
		struct extent extent;
		int error; /* positive */
	} ranges[LOST_RANGES];
};

/* One fcntl(2) lock owner: an open file description whose OFD locks stand for the owner's. */
struct lock_owner {
	struct lock_owner *next;
	uint64_t owner;
	uint64_t handle; /* the last that it locked through */
	int fd;
	uint32_t pid;	  /* of who locked last, as the mount's clients see it */
	unsigned waiting; /* threads blocked on fd; protected by file->lock */
	bool gone;	  /* closed while somebody waited: the last waiter frees it */
	bool silent;	  /* what it locked through closes without FLUSH; protected by file->lock */
};

/*
 * What every file that was ever opened costs beside its windows: fields lie by size, and what few files need is
 * allocated when there is something to hold.
 */
struct file {
	struct mapping mapping;
	struct inode *inode;		       /* constant */
	struct settled settled;		       /* for reads */
	_Atomic(const struct policy *) policy; /* see file_policy() */
	struct file *work_next;		       /* protected by fs->work_lock while queued */
	_Atomic uint64_t locked_size;	       /* of the file, when its pages were last locked */
	pthread_mutex_t lock;
	_Atomic unsigned openers; /* written under lock */
	_Atomic unsigned writers; /* written under lock */
	/* What BACKING's file looked like when the kernel's cache of it was last known to be right. */
	int64_t seen_mtime_ns; /* protected by lock */
	int64_t seen_ctime_ns; /* protected by lock */
	off_t seen_size;       /* protected by lock */
	_Atomic int64_t
		foreign_ns;	/* written under lock; CLOCK_MONOTONIC of the last foreign change noticed */
	struct file_told *told; /* protected by lock; FILE_TOLD of them, or NULL: nobody ever was */
	struct lock_owner *lock_owners; /* protected by lock */
	struct lost_ranges *lost;	/* protected by lock; NULL when nothing is, or all was reported */
	/* Bytes asked for through handles, for the listing; see file_count_io(). */
	_Atomic uint64_t read_bytes;
	_Atomic uint64_t written_bytes;
	_Atomic uint64_t io_now;    /* bytes in the second io_second */
	_Atomic uint64_t io_before; /* bytes in the second before it */
	_Atomic uint32_t io_second; /* CLOCK_MONOTONIC */
	uint32_t checked;	    /* of the last round of revalidate_files(), which alone uses it */
	/* Errors of background syncs, as errseq_t counts them. */
	_Atomic uint64_t error_sequence; /* failures so far; written under lock */
	int error;			 /* protected by lock; errno of the last one */
	_Atomic unsigned syncing;	 /* syncs that have begun and not said yet how they ended */
	/* io=passthrough; see passthrough.h */
	int backing; /* protected by lock; the kernel's number of the backing file; 0: windows */
	_Atomic unsigned unseen_writers; /* handles that write without the daemon; written under lock */
	bool way_chosen;      /* protected by lock; how all opens are served, while there are any */
	_Atomic bool unseen;  /* something may have been written so and is not synced */
	_Atomic bool lingers; /* opens=skip: counted as a writer, and on fs->lingering or just taken off it */
	/* opens=skip; see unopened.h */
	_Atomic(struct handle *) shared; /* set once, by the first request; NULL while handles are opened */
	struct file *linger_next;	 /* protected by fs->linger_lock while it lingers */
	_Atomic uint64_t wrote_ms;	 /* CLOCK_MONOTONIC_COARSE of the last write */
	unsigned changes;		 /* protected by lock; by the mount, begun and not ended */
	bool error_unheard;		 /* protected by lock; no handle was open, or none consumed it yet */
	_Atomic bool kept;		 /* a reference on the inode is held until the error was consumed */
	_Atomic bool held_locked;	 /* see locked.h; written under its lock */
	_Atomic bool readers_lock;	 /* a fcntl lock was set through a handle for reading, ever */
	_Atomic bool work_queued;	 /* on fs->work, or taken off it and not looked at yet */
	_Atomic bool direct_access;	 /* DAX: a store is the write */
	bool seen;			 /* protected by lock */
	bool seen_racy; /* protected by lock; a later change may leave the same time stamps */
	bool foreign;	/* protected by lock; a change by others that the kernel was not told of */
	bool telling;	/* protected by lock; none of them has come back: the kernel may still not know */
	bool suspect;	/* protected by lock; found different by the last file_recheck() */
};

/**
 * file_get() - the file of a regular inode, made by the first caller
 *
 * Return: 0 or -ENOMEM. The file lives as long as the inode.
 */
int file_get(struct fs *fs, struct inode *inode, struct file **ret_file);

/** file_peek() - the file if there is one, else NULL */
struct file *file_peek(struct inode *inode);

/** file_may_be_open() - by a handle, or by who needs none */
static inline bool file_may_be_open(const struct file *file)
{
	return atomic_load(&file->openers) > 0 || atomic_load(&file->shared) != NULL;
}

/** file_policy() - what holds for the file now; lives as long as the mount. Takes no lock. */
const struct policy *file_policy(const struct file *file);

/** file_free() - with its inode; accepts NULL */
void file_free(struct fs *fs, struct file *file);

/**
 * file_open() - count one more opener and note from where on errors concern it
 * @handle: its flags tell whether it writes
 */
void file_open(struct file *file, struct handle *handle);

/**
 * file_close() - count an opener out
 *
 * With the last writer everything that would make executing the backing file fail (ETXTBSY) goes: windows
 * mapped from a writable descriptor and that descriptor itself.
 *
 * Locks:  layer_serve_begin(), then file->lock; the same for file_drop_writing() and file_remove_writer().
 */
void file_close(struct fs *fs, struct inode *inode, struct file *file, struct handle *handle);

/**
 * file_drop_writing() - let the descriptor and windows for writing go, if nobody has the file open for it
 *
 * After an operation that needed them without an opener, such as truncate(2).
 */
void file_drop_writing(struct fs *fs, struct inode *inode, struct file *file);

/** file_add_writer() - the file is written by somebody who has no handle. Locks: file->lock. */
void file_add_writer(struct file *file);

/** file_remove_writer() - no longer; the last writer takes along what file_close() says */
void file_remove_writer(struct fs *fs, struct inode *inode, struct file *file);

/* What an open has to do about the kernel's cache of the file; see file_cache_judge(). */
enum cache_verdict {
	VERDICT_KEEP, /* what the kernel has cached is right */
	VERDICT_DROP, /* its pages may be old */
	VERDICT_TELL, /* its pages and its idea of the file's size are old */
};

/**
 * file_cache_judge() - is what the kernel cached of this file still right?
 * @fd:     open backing file, borrowed; what it looks like now is what the kernel knows from here on
 * @writes: the handle being opened is counted among the writers already
 * @caller: thread that opens it
 *
 * VERDICT_TELL is given once a caller and change, to every caller that comes before the first that was told
 * has come back, and with it the attributes; never more often than callers can be remembered.
 *
 * The cache goes for changes of others only. The kernel copies a write into its cache before it sends it:
 * were the page dropped in between, the next read would fetch the bytes of before the write and keep them.
 */
enum cache_verdict file_cache_judge(struct file *file, int fd, bool writes, pid_t caller);

/**
 * file_cache_suspect() - may somebody else have changed a file that nobody opens, since the kernel cached of it?
 * @size:  what the file looked like just now
 * @reads: the kernel is about to cache of it
 * @sure:  an event would have told of a change that left no trace in the time stamps
 *
 * Locks:  file->lock.
 * Return: true: ask file_cache_settle().
 */
bool file_cache_suspect(struct file *file, off_t size, const struct timespec *mtime, bool reads, bool sure);

/** file_is_seen() - has file_cache_settle(), or an open, taken note of the file? Locks: file->lock. */
bool file_is_seen(struct file *file);

/**
 * file_cache_settle() - has somebody? What the file looks like now is what the kernel knows from here on
 * @fd: open backing file, borrowed
 *
 * Return: true once for each change: the kernel has to drop the file's pages.
 */
bool file_cache_settle(struct file *file, int fd, bool sure);

/** file_note_event() - others changed the file, and the kernel is about to be told. Locks: file->lock. */
void file_note_event(struct fs *fs, struct inode *inode, struct file *file);

/** file_is_contended() - have others been noticed to change the file just now? Takes no lock. */
bool file_is_contended(const struct file *file);

/** file_note_foreign() - others were noticed to change the file, by a sign that the caller saw */
void file_note_foreign(struct file *file);

/**
 * file_recheck() - has somebody else changed the file, and did no open take notice of it?
 * @fd: open backing file, borrowed
 *
 * True in the second call that finds the same difference: an open that comes between them has dealt with
 * it already, and need not be disturbed.
 */
bool file_recheck(struct file *file, int fd);

/**
 * file_change_begin() - the mount is about to change the file or its attributes
 * @fd: open backing file, borrowed; -1 where there is none
 *
 * A change of somebody else since the last look is noticed now. Ends with file_change_end().
 *
 * Return: the look that this took, in *@ret_info; or NULL where none was needed.
 */
const struct stat *file_change_begin(struct file *file, int fd, struct stat *ret_info);

/** file_change_end() - it has; what the file looks like now is what the kernel knows */
void file_change_end(struct file *file, int fd);

/** file_count_io() - note that so many bytes were read or written; takes no lock */
void file_count_io(struct file *file, uint64_t bytes, bool written);

/** file_io_rate() - bytes a second, as counted in the last whole second */
uint64_t file_io_rate(struct file *file);

/**
 * file_error_record() - a sync failed with @error (positive)
 * @extent: what may be lost; empty where nothing is known to have been written
 */
void file_error_record(struct file *file, int error, const struct extent *extent);

/** file_lost() - the ranges that nobody was told of yet: a copy, with count 0 when there are none */
void file_lost(struct file *file, struct lost_ranges *ret_lost);

/**
 * file_error_check() - has a background sync failed that this handle has not consumed?
 * @consume: true for fsync and synchronous writes; false for close, which only reports
 *
 * Return: 0 or the failure's -errno.
 */
int file_error_check(struct file *file, struct handle *handle, bool consume);

#endif
