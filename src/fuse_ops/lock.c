/* SPDX-License-Identifier: MIT */
/*
 * Locks, forwarded so that processes on BACKING see them. A flock(2) lock belongs to a handle, a fcntl(2) lock
 * to an owner (a process) of an inode: each gets an open file description of its own, and a fcntl lock
 * becomes an OFD lock on it. Closing the description releases whatever was not unlocked.
 *
 * A lock that cannot be had at once is waited for in a thread of its own, so that no worker is held up.
 * The wait ends when the lock is there, when the client is interrupted, or when the mount ends: then the
 * wait is flagged and a timer signals the thread until it has noticed, as a single signal may come
 * just before the system call that it should interrupt.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <time.h>

#include "caller.h"
#include "file.h"
#include "fuse_ops/ops.h"
#include "handle.h"
#include "request.h"
#include "session.h"

#define WAITS_MAX 4096
#define WAIT_STACK ((size_t)128 << 10)
#define NUDGE_NS 2000000
/* RELEASE was sent before the lock was asked for: it is being served, or another worker is about to. */
#define RELEASE_TRIES 300
#define RELEASE_PAUSE_NS 1000000

struct lock_wait {
	struct lock_wait *next; /* protected by fs->wait_lock */
	struct fs *fs;
	struct inode *inode; /* holds a reference */
	struct file *file;
	struct lock_owner *owner; /* NULL for flock */
	fuse_req_t req;
	pid_t impatient; /* who asks, where the kernel may not have told of an interrupt; or 0 */
	bool brief;	 /* only until what others have closed is released */
	int fd;
	int operation;	   /* of flock(2), where owner is NULL */
	struct flock lock; /* of fcntl(2), otherwise */
	timer_t nudge;	   /* set once ready */
	bool ready;	   /* protected by fs->wait_lock; the timer exists */
	bool cancelled;	   /* protected by fs->wait_lock */
};

static void owner_free(struct lock_owner *owner)
{
	close(owner->fd);
	free(owner);
}

/* Opens a description to lock with: for writing where possible, as a write lock needs that. */
static int open_for_locks(struct fs *fs, struct inode *inode)
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

static int owner_new(const struct open_file *open, uint64_t id, struct lock_owner **ret_owner)
{
	struct lock_owner *owner;
	int fd = open_for_locks(open->fs, open->inode);

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

/*
 * The owner's record, made if there is none; counted as waiting, so that it stays until owner_put(). BACKING
 * may take its time to open the file, which must hold up nobody else: no lock is held meanwhile.
 */
static int owner_get(const struct open_file *open, uint64_t id, uint32_t pid, struct lock_owner **ret_owner)
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

static void owner_put(struct file *file, struct lock_owner *owner)
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
	struct lock_owner **link, *owner;
	bool found;

	pthread_mutex_lock(&file->lock);
	link = &file->lock_owners;
	while (*link != NULL && (id == NULL || (*link)->owner != *id) &&
	       (handle == NULL || (*link)->handle != *handle))
		link = &(*link)->next;
	owner = *link;
	found = owner != NULL;
	if (found && id != NULL && owner->waiting > 0) {
		/* A close while another thread of the process waits: what it holds goes, and what it
		 * waits for it gets later all the same. */
		struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

		fcntl(owner->fd, F_OFD_SETLK, &all);
		owner = NULL;
	} else if (found) {
		*link = owner->next;
		owner->gone = true;
		if (owner->waiting > 0)
			owner = NULL; /* the last waiter frees it */
	}
	pthread_mutex_unlock(&file->lock);
	if (owner != NULL)
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

static int try_lock(const struct lock_wait *wait, bool blocking)
{
	struct flock lock = wait->lock;

	if (wait->owner == NULL)
		return flock(wait->fd, wait->operation | (blocking ? 0 : LOCK_NB)) < 0 ? -errno : 0;
	lock.l_pid = 0; /* OFD locks insist */
	if (fcntl(wait->fd, blocking ? F_OFD_SETLKW : F_OFD_SETLK, &lock) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno; /* both mean "held by another", fcntl(2) */
}

/* Flags a wait and starts to nudge its thread. */
static void cancel_locked(struct lock_wait *wait)
{
	struct itimerspec often = {.it_value.tv_nsec = NUDGE_NS, .it_interval.tv_nsec = NUDGE_NS};

	wait->cancelled = true;
	if (wait->ready)
		timer_settime(wait->nudge, 0, &often, NULL);
}

static void on_interrupt(fuse_req_t req, void *data)
{
	struct lock_wait *wanted = data;
	struct fs *fs = op_fs(req);

	LOCK_SCOPE(&fs->wait_lock);
	/* It may have ended, and the memory be another's, by the time the interrupt comes. */
	for (struct lock_wait *wait = fs->waits; wait != NULL; wait = wait->next) {
		if (wait == wanted && wait->req == req)
			cancel_locked(wait);
	}
}

static void unlink_wait(struct lock_wait *wait)
{
	struct fs *fs = wait->fs;
	struct lock_wait **link = &fs->waits;

	LOCK_SCOPE(&fs->wait_lock);
	while (*link != wait)
		link = &(*link)->next;
	*link = wait->next;
	if (wait->ready)
		timer_delete(wait->nudge);
}

/* Lets the wait be cancelled from here on. False: it has been already. */
static bool make_ready(struct lock_wait *wait)
{
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};

	event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
	LOCK_SCOPE(&wait->fs->wait_lock);
	if (wait->cancelled || wait->fs->waits_cancelled ||
	    timer_create(CLOCK_MONOTONIC, &event, &wait->nudge) < 0)
		return false;
	wait->ready = true;
	return true;
}

static bool is_cancelled(struct lock_wait *wait)
{
	LOCK_SCOPE(&wait->fs->wait_lock);
	return wait->cancelled;
}

/* Does another owner hold locks through a handle whose close(2) the daemon hears of only by RELEASE? */
static bool may_be_released(struct file *file, const struct lock_owner *asking)
{
	LOCK_SCOPE(&file->lock);
	for (struct lock_owner *owner = file->lock_owners; owner != NULL; owner = owner->next) {
		if (owner != asking && owner->silent)
			return true;
	}
	return false;
}

/*
 * Tries again what another owner's lock forbade: close(2) of a silent handle returns before its RELEASE has been
 * served, and who was told of that close must find the lock gone.
 */
static int try_until_released(struct lock_wait *wait)
{
	for (int i = 0; i < RELEASE_TRIES && may_be_released(wait->file, wait->owner); i++) {
		int result = try_lock(wait, false);

		if (result != -EAGAIN)
			return result;
		if (is_cancelled(wait))
			return -EINTR;
		nanosleep(&(struct timespec){.tv_nsec = RELEASE_PAUSE_NS}, NULL);
	}
	return try_lock(wait, false);
}

static void *wait_run(void *argument)
{
	struct lock_wait *wait = argument;
	struct fs *fs = wait->fs;
	int result = -EINTR;

	/* Through io_uring no INTERRUPT comes for a signal that was there before the request had been taken. */
	if (make_ready(wait) && !caller_signalled(wait->impatient)) {
		do {
			result = wait->brief ? try_until_released(wait) : try_lock(wait, true);
		} while (result == -EINTR && !is_cancelled(wait));
	}
	fuse_req_interrupt_func(wait->req, NULL, NULL);
	unlink_wait(wait);
	fuse_reply_err(wait->req, -result);
	if (wait->owner != NULL)
		owner_put(wait->file, wait->owner);
	inode_unref(fs, wait->inode);
	free(wait);
	LOCK_SCOPE(&fs->wait_lock);
	fs->wait_count--;
	pthread_cond_broadcast(&fs->wait_ended);
	return NULL;
}

/* Starts the thread that waits; @like is copied. On failure nothing was consumed. */
static int wait_start(const struct lock_wait *like)
{
	struct fs *fs = like->fs;
	struct lock_wait *wait;
	pthread_attr_t attributes;
	pthread_t thread;
	int result;

	if (!session_leave(fs->session, atomic_load(&like->inode->nodeid)))
		return -ENOLCK;
	wait = malloc(sizeof(*wait));
	if (wait == NULL)
		return -ENOMEM;
	*wait = *like;
	wait->impatient = request_current()->ring ? fuse_req_ctx(wait->req)->pid : 0;
	pthread_mutex_lock(&fs->wait_lock);
	if (fs->wait_count >= WAITS_MAX || fs->waits_cancelled) {
		result = fs->waits_cancelled ? -EINTR : -ENOLCK;
		pthread_mutex_unlock(&fs->wait_lock);
		free(wait);
		return result;
	}
	fs->wait_count++;
	wait->next = fs->waits;
	fs->waits = wait;
	pthread_mutex_unlock(&fs->wait_lock);
	inode_ref(wait->inode);
	fuse_req_interrupt_func(wait->req, on_interrupt, wait);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, WAIT_STACK);
	result = -pthread_create(&thread, &attributes, wait_run, wait);
	pthread_attr_destroy(&attributes);
	if (result < 0) {
		fuse_req_interrupt_func(wait->req, NULL, NULL);
		unlink_wait(wait);
		inode_unref(fs, wait->inode);
		free(wait);
		LOCK_SCOPE(&fs->wait_lock);
		fs->wait_count--;
	}
	return result;
}

void ops_cancel_waits(struct fs *fs)
{
	LOCK_SCOPE(&fs->wait_lock);
	fs->waits_cancelled = true;
	for (struct lock_wait *wait = fs->waits; wait != NULL; wait = wait->next)
		cancel_locked(wait);
	while (fs->wait_count > 0)
		pthread_cond_wait(&fs->wait_ended, &fs->wait_lock);
}

/*
 * Takes the lock now, or leaves it to a thread: then @ret_waiting is true, the thread replies and puts the
 * owner.
 */
static int lock_or_wait(struct lock_wait *wait, bool sleep, bool *ret_waiting)
{
	int result = try_lock(wait, false), started;

	*ret_waiting = false;
	if (result != -EAGAIN)
		return result;
	wait->brief = !sleep && wait->owner != NULL && may_be_released(wait->file, wait->owner);
	/* It may have been, between the two looks. */
	if (!sleep && !wait->brief)
		return wait->owner == NULL ? result : try_lock(wait, false);
	started = wait_start(wait);
	*ret_waiting = started == 0;
	return wait->brief ? result : started;
}

void op_setlk(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi, struct flock *lock, int sleep)
{
	struct open_file open;
	struct lock_wait wait;
	bool waiting = false, known;
	int result;

	if (!op_begin_open(req, nodeid, fi, &open))
		return;
	pthread_mutex_lock(&open.file->lock);
	known = find_owner_locked(open.file, fi->lock_owner) != NULL;
	pthread_mutex_unlock(&open.file->lock);
	if (lock->l_type == F_UNLCK && !known) {
		fuse_reply_err(req, 0);
		return;
	}
	wait = (struct lock_wait){
		.fs = open.fs, .inode = open.inode, .file = open.file, .req = req, .lock = *lock};
	result = owner_get(&open, fi->lock_owner, (uint32_t)lock->l_pid, &wait.owner);
	if (result == 0) {
		wait.fd = wait.owner->fd;
		result = lock_or_wait(&wait, sleep, &waiting);
		if (waiting)
			return;
		owner_put(open.file, wait.owner);
	}
	fuse_reply_err(req, -result);
}

/* Whose lock is it? OFD locks do not say; with only one other owner on this mount, it is that one's. */
static pid_t holder_of(struct file *file, uint64_t asking, pid_t pid)
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

void op_getlk(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi, struct flock *lock)
{
	struct open_file open;
	struct lock_owner *owner;
	int result;

	if (!op_begin_open(req, nodeid, fi, &open))
		return;
	result = owner_get(&open, fi->lock_owner, (uint32_t)lock->l_pid, &owner);
	if (result == 0) {
		lock->l_pid = 0;
		if (fcntl(owner->fd, F_OFD_GETLK, lock) < 0)
			result = -errno;
		owner_put(open.file, owner);
	}
	if (result < 0) {
		fuse_reply_err(req, -result);
		return;
	}
	if (lock->l_type != F_UNLCK)
		lock->l_pid = holder_of(open.file, fi->lock_owner, lock->l_pid);
	fuse_reply_lock(req, lock);
}

/* The handle's own description, opened by its first flock(2). */
static int flock_descriptor(const struct open_file *open)
{
	int none = -1, fd = atomic_load(&open->handle->flock_fd);

	if (fd >= 0)
		return fd;
	fd = open_for_locks(open->fs, open->inode);
	if (fd < 0)
		return fd;
	if (atomic_compare_exchange_strong(&open->handle->flock_fd, &none, fd))
		return fd;
	close(fd);
	return none;
}

void op_flock(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi, int operation)
{
	struct open_file open;
	struct lock_wait wait;
	bool waiting = false;
	int result;

	if (!op_begin_open(req, nodeid, fi, &open))
		return;
	wait = (struct lock_wait){.fs = open.fs,
				  .inode = open.inode,
				  .file = open.file,
				  .req = req,
				  .operation = operation & ~LOCK_NB};
	wait.fd = flock_descriptor(&open);
	result = wait.fd < 0 ? wait.fd : lock_or_wait(&wait, !(operation & LOCK_NB), &waiting);
	if (!waiting)
		fuse_reply_err(req, -result);
}
