/* SPDX-License-Identifier: MIT */
/*
 * Locks, forwarded so that processes on BACKING see them; see lock_owner.h for whose they are.
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
#include "fuse_ops/lock_owner.h"
#include "fuse_ops/ops.h"
#include "handle.h"
#include "request.h"
#include "session.h"
#include "threads.h"

#define WAITS_MAX 4096
#define WAIT_STACK ((size_t)128 << 10)
#define NUDGE_NS 2000000
/* RELEASE was sent before the lock was asked for: it is being served, or another worker is about to. */
#define RELEASE_TRIES 300
#define RELEASE_PAUSE_NS 1000000
/* The same where a worker that may have it has not got a CPU since. */
#define STALLED_TRIES 2000
#define STALLED_PAUSE_NS 5000000
#define WORKERS_LOOKED_AT 64

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

/* After a pause, once more. -EAGAIN: it may still be that the lock is released. */
static int try_again(struct lock_wait *wait, long pause_ns, bool *ret_over)
{
	int result;

	nanosleep(&(struct timespec){.tv_nsec = pause_ns}, NULL);
	*ret_over = !lock_owners_silent(wait->file, wait->owner);
	result = try_lock(wait, false);
	if (result == -EAGAIN && is_cancelled(wait))
		result = -EINTR;
	*ret_over |= result != -EAGAIN;
	return result;
}

/*
 * Tries again what another owner's lock forbade: close(2) of a silent handle returns before its RELEASE has been
 * served, and who was told of that close must find the lock gone.
 */
static int try_until_released(struct lock_wait *wait)
{
	struct thread_look workers[WORKERS_LOOKED_AT];
	size_t count;
	bool over = false;
	int result = -EAGAIN;

	for (int i = 0; i < RELEASE_TRIES && !over; i++)
		result = try_again(wait, RELEASE_PAUSE_NS, &over);
	if (over)
		return result;
	count = threads_runnable(workers, ARRAY_LENGTH(workers));
	for (int i = 0; i < STALLED_TRIES && count > 0 && !over; i++) {
		result = try_again(wait, STALLED_PAUSE_NS, &over);
		count = threads_starved(workers, count);
	}
	return over ? result : try_lock(wait, false);
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
		lock_owner_put(wait->file, wait->owner);
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
	wait->brief = !sleep && wait->owner != NULL && lock_owners_silent(wait->file, wait->owner);
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
	bool waiting = false;
	int result;

	if (!op_begin_open(req, nodeid, fi, &open))
		return;
	if (lock->l_type == F_UNLCK && !lock_owner_is_known(open.file, fi->lock_owner)) {
		fuse_reply_err(req, 0);
		return;
	}
	wait = (struct lock_wait){
		.fs = open.fs, .inode = open.inode, .file = open.file, .req = req, .lock = *lock};
	result = lock_owner_get(&open, fi->lock_owner, (uint32_t)lock->l_pid, &wait.owner);
	if (result == 0) {
		wait.fd = wait.owner->fd;
		result = lock_or_wait(&wait, sleep, &waiting);
		if (waiting)
			return;
		lock_owner_put(open.file, wait.owner);
	}
	fuse_reply_err(req, -result);
}

void op_getlk(fuse_req_t req, fuse_ino_t nodeid, struct fuse_file_info *fi, struct flock *lock)
{
	struct open_file open;
	struct lock_owner *owner;
	int result;

	if (!op_begin_open(req, nodeid, fi, &open))
		return;
	result = lock_owner_get(&open, fi->lock_owner, (uint32_t)lock->l_pid, &owner);
	if (result == 0) {
		lock->l_pid = 0;
		if (fcntl(owner->fd, F_OFD_GETLK, lock) < 0)
			result = -errno;
		lock_owner_put(open.file, owner);
	}
	if (result < 0) {
		fuse_reply_err(req, -result);
		return;
	}
	if (lock->l_type != F_UNLCK)
		lock->l_pid = lock_owner_holder(open.file, fi->lock_owner, lock->l_pid);
	fuse_reply_lock(req, lock);
}

/* The handle's own description, opened by its first flock(2). */
static int flock_descriptor(const struct open_file *open)
{
	int none = -1, fd = atomic_load(&open->handle->flock_fd);

	if (fd >= 0)
		return fd;
	fd = lock_owner_open(open->fs, open->inode);
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
