/* SPDX-License-Identifier: MIT */
#include "fuse_ops/lock_owner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "file.h"
#include "fuse_ops/ops.h"
#include "handle.h"
#include "inode.h"
#include "util.h"

static void owner_free(struct lock_owner *owner)
{
	close(owner->fd);
	free(owner);
}

/* For writing where possible, as a write lock needs that. */
int lock_owner_open(struct fs *fs, struct inode *inode)
{
	int fd = fs->read_only ? -EROFS : inode_open(fs, inode, O_RDWR);

	if (fd == -EACCES || fd == -EROFS || fd == -ETXTBSY || fd == -EPERM)
		fd = inode_open(fs, inode, O_RDONLY);
	if (fd == -EACCES)
		fd = inode_open(fs, inode, O_WRONLY);
	return fd;
}

static struct lock_owner *find_owner_locked(struct file *file, uint64_t id)
{
	struct lock_owner *owner = file->lock_owners;

	while (owner != NULL && owner->owner != id)
		owner = owner->next;
	return owner;
}

bool lock_owner_is_known(struct file *file, uint64_t id)
{
	LOCK_SCOPE(&file->lock);
	return find_owner_locked(file, id) != NULL;
}

static int owner_new(const struct open_file *open, uint64_t id, struct lock_owner **ret_owner)
{
	struct lock_owner *owner;
	int fd = lock_owner_open(open->fs, open->inode);

	if (fd < 0)
		return fd;
	owner = calloc(1, sizeof(*owner));
	if (owner == NULL) {
		close(fd);
		return -ENOMEM;
	}
	owner->owner = id;
	owner->fd = fd;
	*ret_owner = owner;
	return 0;
}

/* The owner's record, which is @fresh where the file has none, counted as waiting; NULL without either. */
static struct lock_owner *owner_use(const struct open_file *open, uint64_t id, uint32_t pid,
				    struct lock_owner *fresh)
{
	struct file *file = open->file;
	struct lock_owner *owner;

	LOCK_SCOPE(&file->lock);
	owner = find_owner_locked(file, id);
	if (owner == NULL) {
		if (fresh == NULL)
			return NULL;
		owner = fresh;
		owner->next = file->lock_owners;
		file->lock_owners = owner;
	}
	owner->pid = pid;
	owner->handle = open->handle->id;
	owner->silent = open->handle->silent;
	if (!handle_writes(open->handle))
		atomic_store(&file->readers_lock, true);
	owner->waiting++;
	return owner;
}

/* BACKING may take its time to open the file, which must hold up nobody else: no lock is held meanwhile. */
int lock_owner_get(const struct open_file *open, uint64_t id, uint32_t pid, struct lock_owner **ret_owner)
{
	struct lock_owner *fresh;
	int result;

	*ret_owner = owner_use(open, id, pid, NULL);
	if (*ret_owner != NULL)
		return 0;
	result = owner_new(open, id, &fresh);
	if (result < 0)
		return result;
	*ret_owner = owner_use(open, id, pid, fresh);
	if (*ret_owner != fresh)
		owner_free(fresh);
	return 0;
}

void lock_owner_put(struct file *file, struct lock_owner *owner)
{
	bool last;

	pthread_mutex_lock(&file->lock);
	last = --owner->waiting == 0 && owner->gone;
	pthread_mutex_unlock(&file->lock);
	if (last)
		owner_free(owner);
}

/* Takes the first owner with this id, or this handle, off the file's list and lets go of its locks. */
static bool release_one(struct file *file, const uint64_t *id, const uint64_t *handle)
{
	struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
	struct lock_owner **link, *owner;
	bool found, free_it = false;

	pthread_mutex_lock(&file->lock);
	link = &file->lock_owners;
	while (*link != NULL && (id == NULL || (*link)->owner != *id) &&
	       (handle == NULL || (*link)->handle != *handle))
		link = &(*link)->next;
	owner = *link;
	found = owner != NULL;
	/* While it is on the list: nobody must find a lock that no owner has. */
	if (found)
		fcntl(owner->fd, F_OFD_SETLK, &all);
	/* After a close while another thread of the process waits: what that waits for it gets later all the same. */
	if (found && (id == NULL || owner->waiting == 0)) {
		*link = owner->next;
		owner->gone = true;
		/* Or else the last waiter does. */
		free_it = owner->waiting == 0;
	}
	pthread_mutex_unlock(&file->lock);
	if (free_it)
		owner_free(owner);
	return found;
}

void op_locks_release(struct file *file, uint64_t id)
{
	release_one(file, &id, NULL);
}

void op_locks_release_handle(struct file *file, uint64_t id)
{
	while (release_one(file, NULL, &id))
		continue;
}

bool lock_owners_silent(struct file *file, const struct lock_owner *asking)
{
	LOCK_SCOPE(&file->lock);
	for (struct lock_owner *owner = file->lock_owners; owner != NULL; owner = owner->next) {
		if (owner != asking && owner->silent)
			return true;
	}
	return false;
}

pid_t lock_owner_holder(struct file *file, uint64_t asking, pid_t pid)
{
	struct lock_owner *other = NULL;

	if (pid > 0)
		return pid;
	LOCK_SCOPE(&file->lock);
	for (struct lock_owner *owner = file->lock_owners; owner != NULL; owner = owner->next) {
		if (owner->owner == asking)
			continue;
		if (other != NULL)
			return 0;
		other = owner;
	}
	return other == NULL ? 0 : (pid_t)other->pid;
}
