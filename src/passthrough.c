/* SPDX-License-Identifier: MIT */
#include "passthrough.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "creds.h"
#include "file.h"
#include "fs.h"
#include "inode.h"
#include "log.h"
#include "session.h"
#include "sync.h"
#include "util.h"
#include "watch.h"

static const char *reason(int error)
{
	switch (error) {
	case EPERM:
		return "it needs CAP_SYS_ADMIN";
	case ELOOP:
		return "BACKING is itself a stacked file system";
	default:
		return strerror(error);
	}
}

static void say_refused(struct fs *fs, struct inode *inode, int error)
{
	CLEANUP(free_pointer) char *name = NULL;

	if (atomic_exchange(&fs->passthrough_said, true))
		return;
	name = inode_name(fs, inode);
	log_warning("io=passthrough: windows serve '%s': %s", name == NULL ? "?" : name, reason(error));
}

/*
 * Registers the backing file. The kernel acts with the rights that this thread has now: without the one to
 * keep set-id bits, so that a write clears them, whoever writes.
 */
static int register_backing(struct fs *fs, struct inode *inode)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct stat info;
	int result = inode_hold(fs, inode);

	/* No other kind: the kernel keeps what it is given, and one for writing would keep the file from being
	 * executed. */
	if (result < 0 || !fd_slot_use(&fs->fds, &inode->slots[FD_PATH], &use))
		return result;
	/* Who may keep the bits it has, the kernel cannot be told by the write. */
	if (fstat(use.fd, &info) < 0 || (info.st_mode & (S_ISUID | S_ISGID)))
		return 0;
	creds_keep_setid(fs, false);
	result = session_backing_open(fs->session, use.fd);
	creds_keep_setid(fs, true);
	if (result < 0)
		say_refused(fs, inode, -result);
	return result;
}

bool passthrough_open(struct fs *fs, struct inode *inode, struct file *file, bool writes, int *ret_backing)
{
	if (!atomic_load(&fs->passthrough))
		return false;
	pthread_mutex_lock(&file->lock);
	if (!file->way_chosen) {
		file->backing = MAX(register_backing(fs, inode), 0);
		file->way_chosen = true;
		atomic_fetch_add(&fs->passthrough_files, file->backing > 0);
	}
	*ret_backing = file->backing;
	if (file->backing > 0 && writes && atomic_fetch_add(&file->unseen_writers, 1) == 0)
		watch_ignore_writes(fs, inode, true);
	pthread_mutex_unlock(&file->lock);
	if (*ret_backing > 0 && writes)
		sync_unseen(fs, inode, file);
	return *ret_backing > 0;
}

void passthrough_close(struct fs *fs, struct inode *inode, struct file *file, bool writes)
{
	bool last = false;
	int backing = 0;

	if (!atomic_load(&fs->passthrough))
		return;
	if (writes) {
		pthread_mutex_lock(&file->lock);
		last = atomic_fetch_sub(&file->unseen_writers, 1) == 1;
		if (last)
			watch_ignore_writes(fs, inode, false);
		pthread_mutex_unlock(&file->lock);
	}
	if (last) {
		sync_unseen_end(fs, inode, file);
		/* Events were not heeded while it wrote. */
		session_forget_later(fs->session, inode->nodeid);
	}
	pthread_mutex_lock(&file->lock);
	if (atomic_load(&file->openers) == 0) {
		backing = file->backing;
		file->backing = 0;
		file->way_chosen = false;
	}
	pthread_mutex_unlock(&file->lock);
	if (backing > 0) {
		session_backing_close(fs->session, backing);
		atomic_fetch_sub(&fs->passthrough_files, 1);
	}
}
