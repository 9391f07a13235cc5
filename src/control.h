/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CONTROL_H
#define MEMMAPFS_CONTROL_H

/*
 * What users may ask of a running mount, in one table by short name: figures, hints, syncs, preloading,
 * evicting, locking. The reserved attributes user.memmapfs.* and memmapfsctl's ioctl both come here; how the
 * words arrived, it does not know. Paths are checked by the kernel before it is asked.
 *
 *   name     on            get    run
 *   stats    mount root    JSON   "reset" (owner or root)
 *   file     regular file  JSON
 *   explain  regular file  JSON   the same, with any value
 *   advice   regular file  text   ADVICE[:OFFSET:LENGTH]; as in mapping/advice.h
 *   sync     file, root           "now[:OFFSET:LENGTH]"; a range on files only
 *   preload  regular file         "now[:OFFSET:LENGTH]"
 *   evict    regular file         "now[:OFFSET:LENGTH]" (owner or root)
 *   lock     regular file         "now[:OFFSET:LENGTH]" (owner or root)
 *   unlock   regular file         "now[:OFFSET:LENGTH]" (owner or root)
 *   files    mount root           MEASURE[:COUNT]; see listing.h
 *   residency, runs regular file  see listing.h
 *   farewell mount root           name of a socket; see farewell.h
 *   layer    mount root           words of layer/command.h (who mounted, or root)
 *
 * "" is "now". OFFSET and LENGTH are bytes, of any alignment, with K, M, G, T or P behind them in units of
 * 1024; a range has to lie inside the file.
 */

#include <stdbool.h>
#include <sys/types.h>

struct fs;
struct inode;

/* Who asks. */
struct control_caller {
	uid_t uid;
	/* May read the file: by the descriptor used, or the kernel has checked a right above that. */
	bool may_read;
	/* Has the caller given up? NULL where nobody can. Asked by commands that take long. */
	bool (*gave_up)(void *context);
	void *context;
};

/**
 * control_get() - the value of one name
 * @inode:    borrowed
 * @name:     as in the table
 * @ret_text: malloc'ed; set on success only
 *
 * Return: 0, or
 *   -ENODATA  there is no such value on this object
 *   -ENOMEM
 */
int control_get(struct fs *fs, struct inode *inode, const char *name, char **ret_text);

/**
 * control_run() - do what one name stands for
 * @inode:     borrowed
 * @name:      as in the table
 * @value:     what to do, and where
 * @ret_reply: malloc'ed, or NULL for nothing to say. On success one JSON object: preload
 *             {"bytes", "resident"}, evict {"bytes", "resident"} (what stayed: mapped, locked or dirty by
 *             others; null where the kernel does not tell this daemon), lock and unlock {"locked"} (of the file), explain its value. On failure one line
 *             that says what is wrong and what would be right
 *
 * A name without anything to do, but with a value, replies with that.
 *
 * Blocks: where control_waits() says so, for as long as the disk takes.
 * Locks:  none held across that.
 *
 * Return: 0, or
 *   -EOPNOTSUPP  no such name, or not on this object
 *   -EINVAL      the value makes no sense, a range lies outside of the file, or the kernel refused a hint
 *   -EPERM       not the caller's to ask; or it would destroy data
 *   -EINTR       the caller gave up, or the mount is ending; what was done stays done
 *   or the -errno of madvise(2), mlock(2), msync(2) or opening the file
 */
int control_run(struct fs *fs, struct inode *inode, const char *name, const char *value,
		const struct control_caller *caller, char **ret_reply);

/** control_waits() - may this command take long? Then it is not for a thread that serves requests. */
bool control_waits(const char *name);

#endif
