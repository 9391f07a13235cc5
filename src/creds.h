/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CREDS_H
#define MEMMAPFS_CREDS_H

/*
 * Acting as the caller. Linux keeps file system ids, groups and capabilities per thread at the system
 * call level; libc's wrappers would change them for the whole process, so they are not used here.
 */

#include <stdbool.h>
#include <sys/types.h>

struct fs;
struct request;

/* What creds_become() changed; restore with creds_restore(), also as CLEANUP(). */
struct creds {
	bool changed;
	uid_t uid;
	gid_t gid;
};

/**
 * creds_drop() - give up, for good, every capability that serving a file system does not need
 *
 * Before threads are started. What stays is listed in memmapfs-fuse(8), SECURITY.
 *
 * Return: 0 or -errno. See: capabilities(7)
 */
int creds_drop(void);

/**
 * creds_thread_init() - give the calling thread a umask of its own, and CAP_FSETID, which its starter may have dropped
 *
 * Return: 0 or the -errno of unshare(2).
 */
int creds_thread_init(void);

/**
 * creds_become() - let the thread create objects as @uid and @gid, under @umask
 *
 * Without the privilege (a daemon of an ordinary user) only the umask is set: everything belongs to
 * that user.
 *
 * Return: 0 or -errno; on failure nothing has changed.
 * See: setfsuid(2), setgroups(2)
 */
int creds_become(struct fs *fs, uid_t uid, gid_t gid, mode_t umask, const struct request *request,
		 struct creds *ret_creds);

/**
 * creds_override() - may the thread that became somebody pass over permissions? (CAP_DAC_OVERRIDE)
 *
 * Nothing where nobody was become. creds_restore() undoes it.
 */
void creds_override(const struct creds *creds, bool override);

/** creds_restore() - back to the daemon's own ids */
void creds_restore(struct creds *creds);

/**
 * creds_keep_setid() - may what this thread does next keep set-id bits? (CAP_FSETID)
 * @keep: false where the caller may not: the kernel then clears them as it would for the caller
 *
 * Remembered per thread, so that it costs nothing while the answer stays the same.
 */
void creds_keep_setid(struct fs *fs, bool keep);

#endif
