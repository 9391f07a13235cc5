/* SPDX-License-Identifier: MIT */
/*
 * Happy path: a worker reads a request from the device, notes what the library would not tell the
 * handler (struct request), turns requests newer than the library into their older relatives, and lets
 * the library call the handler, which replies.
 *
 * The library's own answer to INIT is completed on its way out: the capabilities it does not know are
 * added there, if the kernel offered them.
 *
 * End: the device says ENODEV after an unmount. After a lazy unmount of a busy mount it does not, so
 * the workers are also told by a flag and a signal that interrupts their read(2).
 */
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>

#include "apart.h"
#include "creds.h"
#include "fs.h"
#include "fuse_ops/ops.h"
#include "layer/serve.h"
#include "log.h"
#include "protocol.h"
#include "request.h"
#include "ring.h"
#include "session_private.h"
#include "straight.h"

/* The protocol's header and argument structs in front of a write's data. */
#define HEADER_SIZE ((size_t)4096)
#define BUFFER_SIZE (HEADER_SIZE + MAX_WRITE)
#define MAX_BACKGROUND 64

static _Thread_local struct request current;

struct request *request_current(void)
{
	return &current;
}

/* Once the kernel is told of rings it waits for them: they have to be there before. */
static bool prepare_ring(struct session *session)
{
	struct ring *ring;
	int result;

	if (!session->fs->options.io_uring)
		return false;
	if (!(atomic_load(&session->protocol.offered) & PROTOCOL_OVER_IO_URING)) {
		log_warning("io_uring: requests come by /dev/fuse: this kernel does not offer it, or "
			    "/sys/module/fuse/parameters/enable_uring is off");
		return false;
	}
	result = ring_new(session, session->fs->options.max_threads, &ring);
	if (result < 0) {
		log_warning("io_uring: requests come by /dev/fuse: %s", strerror(-result));
		return false;
	}
	atomic_store(&session->ring, ring);
	return true;
}

static void complete_init(struct session *session, const struct iovec *iov, int count)
{
	struct fs *fs = session->fs;
	uint64_t wanted = 0, had;

	/* A rule may ask for it, of files that are not there yet. */
	if (fs->options.cache == CACHE_NONE || fs->policies.rules_path != NULL)
		wanted |= PROTOCOL_DIRECT_IO_ALLOW_MMAP;
	if (fs->options.io == IO_PASSTHROUGH)
		wanted |= PROTOCOL_PASSTHROUGH;
	if (count != 2)
		return;
	if (prepare_ring(session))
		wanted |= PROTOCOL_OVER_IO_URING;
	had = protocol_complete_init(&session->protocol, iov[1].iov_base, iov[1].iov_len, wanted);
	if ((wanted & ~had) & PROTOCOL_DIRECT_IO_ALLOW_MMAP)
		log_warning(
			"this kernel cannot map files under cache=none; mmap(MAP_SHARED) will fail there");
	if ((wanted & ~had) & PROTOCOL_PASSTHROUGH)
		log_warning("io=passthrough: windows serve all files: this kernel offers no passthrough");
	atomic_store(&fs->passthrough, (had & PROTOCOL_PASSTHROUGH) != 0);
}

static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct fs *fs = userdata;
	struct session *session = fs->session;
	ssize_t sent;

	if (current.opcode == FUSE_INIT)
		complete_init(session, iov, count);
	/* An error has no second part. */
	if ((current.backing > 0 || current.parallel) && count == 2)
		protocol_complete_open(iov[1].iov_base, iov[1].iov_len, current.backing, current.parallel);
	(void)fd; /* the library's own, which it closes before it has fusermount3 unmount */
	if (straight_held())
		return straight_send(session->fd, iov[0].iov_base);
	sent = ring_reply(atomic_load_explicit(&session->ring, memory_order_acquire), iov, count);
	if (sent >= 0 || errno != ENOENT)
		return sent;
	sent = writev(session->fd, iov, count);
	if (current.opcode == FUSE_INIT && sent >= 0 && atomic_load(&session->ring) != NULL)
		ring_start(atomic_load(&session->ring));
	return sent;
}

/* The library insists on it; the workers read for themselves. */
static ssize_t io_read(int fd, void *buffer, size_t length, void *userdata)
{
	(void)userdata;
	return read(fd, buffer, length);
}

void session_serve(struct session *session, unsigned char *buffer, size_t length, unsigned char *space,
		   bool ring)
{
	struct fuse_buf request = {.mem = buffer};

	STRAIGHT_REPLIED();
	current = (struct request){.space = space, .space_size = MAX_WRITE, .ring = ring};
	request.size = protocol_prepare(&session->protocol, buffer, length, &current);
	layer_serve_begin(session->fs);
	fuse_session_process_buf(session->fuse, &request);
	layer_serve_end(session->fs);
	current.opcode = 0;
	current.backing = 0;
	current.parallel = false;
}

/* One request. Returns false when the worker should end. */
static bool serve_one(struct session *session, unsigned char *buffer)
{
	ssize_t length;

	atomic_fetch_add(&session->fs->idle_workers, 1);
	length = read(session->fd, buffer, BUFFER_SIZE);
	atomic_fetch_sub(&session->fs->idle_workers, 1);

	if (length < 0) {
		/* ENOENT: the request was interrupted before we read it. */
		if (errno == EINTR || errno == EAGAIN || errno == ENOENT)
			return true;
		/* Unmounted, or the connection was aborted: by umount -f, or in /sys/fs/fuse/connections. */
		if (errno != ENODEV && errno != ECONNABORTED) {
			int error = errno;

			atomic_store(&session->error, error);
			log_error("read '/dev/fuse': %s", strerror(error));
		}
		return false;
	}
	if ((size_t)length >= sizeof(struct protocol_header))
		session_serve(session, buffer, (size_t)length, buffer + HEADER_SIZE, false);
	return true;
}

struct worker_start {
	struct session *session;
	unsigned number;
};

static void *worker_run(void *argument)
{
	struct worker_start start = *(struct worker_start *)argument;
	struct session *session = start.session;
	unsigned char *buffer;

	free(argument);
	buffer = mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buffer == MAP_FAILED || creds_thread_init() < 0) {
		atomic_store(&session->error, ENOMEM);
		log_error("cannot set up a worker thread");
	} else {
		while (!atomic_load_explicit(&session->stopping, memory_order_relaxed) &&
		       serve_one(session, buffer))
			continue;
	}
	if (buffer != MAP_FAILED)
		munmap(buffer, BUFFER_SIZE);
	straight_thread_end();
	LOCK_SCOPE(&session->workers_lock);
	session->ended[start.number] = true;
	return NULL;
}

static void on_wake(int number)
{
	(void)number;
}

int session_new(struct fs *fs, const char *program, struct session **ret_session)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct session *session = calloc(1, sizeof(*session));
	int result = session == NULL ? -ENOMEM : 0;

	if (result == 0 && (fuse_opt_add_arg(&args, program) < 0 || fuse_opt_add_arg(&args, "-o") < 0 ||
			    fuse_opt_add_arg(&args, fs->options.mount_words) < 0 ||
			    (fs->read_only && fuse_opt_add_arg(&args, "-oro") < 0) ||
			    /* What BACKING's mount forbids, this one must not allow. */
			    ((fs->mount_flags & ST_NOSUID) && fuse_opt_add_arg(&args, "-onosuid") < 0) ||
			    ((fs->mount_flags & ST_NODEV) && fuse_opt_add_arg(&args, "-onodev") < 0) ||
			    ((fs->mount_flags & ST_NOEXEC) && fuse_opt_add_arg(&args, "-onoexec") < 0) ||
			    (fs->options.debug && fuse_opt_add_arg(&args, "-d") < 0)))
		result = -ENOMEM;
	if (result == 0) {
		session->fs = fs;
		session->fd = -1;
		pthread_mutex_init(&session->forget_lock, NULL);
		pthread_mutex_init(&session->queue_lock, NULL);
		pthread_cond_init(&session->queue_filled, NULL);
		pthread_mutex_init(&session->workers_lock, NULL);
		session->fuse = fuse_session_new(&args, fs->layer != NULL ? cow_ops_table() : ops_table(),
						 sizeof(struct fuse_lowlevel_ops), fs);
		if (session->fuse == NULL)
			result = -EINVAL;
	}
	fuse_opt_free_args(&args);
	if (result < 0) {
		free(session);
		return result;
	}
	fs->session = session;
	*ret_session = session;
	return 0;
}

/*
 * Puts a descriptor that reports an error, a pipe that nobody reads, in the place of the device. That closes the
 * device; and it keeps the library from unmounting, which it does unless its descriptor reports an error: by
 * then something else may be mounted there.
 */
void session_abort(struct session *session)
{
	int fd = fuse_session_fd(session->fuse), pipes[2];

	if (session->fd < 0 || fd < 0 || pipe2(pipes, O_CLOEXEC) < 0)
		return;
	close(pipes[0]);
	fuse_session_exit(session->fuse); /* nothing that cannot be answered is worth a word */
	dup3(pipes[1], fd, O_CLOEXEC);
	dup3(pipes[1], session->fd, O_CLOEXEC);
	close(pipes[1]);
}

/* The library keeps an INTERRUPT that came after its request was answered, until the next request: this is that one. */
static void flush_interrupt(struct session *session)
{
	struct {
		struct fuse_in_header header;
		struct fuse_forget_in forget;
	} nothing = {.header = {.len = sizeof(nothing), .opcode = FUSE_FORGET}};
	struct fuse_buf request = {.size = sizeof(nothing), .mem = &nothing};

	if (session->fd >= 0)
		fuse_session_process_buf(session->fuse, &request);
}

void session_free(struct session *session)
{
	if (session == NULL)
		return;
	/* Lets the library free what it keeps of the mount. */
	session_abort(session);
	flush_interrupt(session);
	session->fs->session = NULL;
	if (session->fd >= 0)
		fuse_session_unmount(session->fuse);
	close_fd(&session->fd);
	ring_free(atomic_load(&session->ring));
	fuse_session_destroy(session->fuse);
	pthread_mutex_destroy(&session->forget_lock);
	pthread_mutex_destroy(&session->queue_lock);
	pthread_cond_destroy(&session->queue_filled);
	pthread_mutex_destroy(&session->workers_lock);
	free(session->workers);
	free(session->ended);
	free(session);
}

/* One figure of the mount's device, as the kernel sees it. It is a hint, so failure is not told. */
static void set_device(uint64_t dev, const char *name, unsigned long long value)
{
	char path[80];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/%s", major(dev), minor(dev), name);
	file = fopen(path, "we");
	if (file == NULL)
		return;
	fprintf(file, "%llu\n", value);
	fclose(file);
}

static void set_limits(const struct fs *fs, uint64_t dev)
{
	/* The kernel's default is 128 KiB. */
	set_device(dev, "read_ahead_kb", straight_readahead(fs->options.readahead) >> 10);
	/* It lets a FUSE mount have a hundredth of what may be dirty, and no more however much there is: stores
	 * through mappings crawl. What they become is dirty in BACKING, which has limits of its own. */
	set_device(dev, "strict_limit", 0);
	set_device(dev, "max_ratio", 100);
}

static int mounted_device(const struct fs *fs, uint64_t *ret_dev)
{
	struct statx stx;

	/* Without asking the mount, which nobody may be serving. */
	if (statx(AT_FDCWD, fs->mount_path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_INO, &stx) < 0)
		return -errno;
	*ret_dev = makedev(stx.stx_dev_major, stx.stx_dev_minor);
	return 0;
}

int session_mount(struct session *session)
{
	static const struct fuse_custom_io io = {.writev = io_writev, .read = io_read};
	struct fs *fs = session->fs;
	uint64_t dev;

	if (fuse_session_mount(session->fuse, fs->mount_path) < 0)
		return -EIO;
	session->fd = dup(fuse_session_fd(session->fuse));
	if (session->fd < 0 ||
	    fuse_session_custom_io(session->fuse, &io, fuse_session_fd(session->fuse)) < 0 ||
	    mounted_device(fs, &dev) < 0) {
		fuse_session_unmount(session->fuse);
		return -EIO;
	}
	fcntl(session->fd, F_SETFD, FD_CLOEXEC);
	atomic_store(&fs->own_dev, dev);
	set_limits(fs, dev);
	return 0;
}

static unsigned default_workers(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	/* More than CPUs, as a worker that waits for the disk serves nobody meanwhile. */
	return cpus < 2 ? 4 : cpus > 8 ? 16 : (unsigned)cpus * 2;
}

int session_start(struct session *session)
{
	struct sigaction wake = {.sa_handler = on_wake};
	sigset_t all, before;
	int result = 0;

	session->worker_count = session->fs->options.max_threads;
	if (session->worker_count == 0)
		session->worker_count = default_workers();
	session->workers = calloc(session->worker_count, sizeof(session->workers[0]));
	session->ended = calloc(session->worker_count, sizeof(session->ended[0]));
	if (session->workers == NULL || session->ended == NULL)
		return -ENOMEM;
	sigaction(SIGUSR1, &wake, NULL);
	/* Workers take no signal but the one that wakes them and those they cause. */
	sigfillset(&all);
	sigdelset(&all, SIGUSR1);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGABRT);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	result = notifier_start(session);
	for (unsigned i = 0; i < session->worker_count && result == 0; i++) {
		struct worker_start *start = malloc(sizeof(*start));

		if (start == NULL) {
			result = -ENOMEM;
		} else {
			*start = (struct worker_start){session, i};
			result = -pthread_create(&session->workers[i], NULL, worker_run, start);
			if (result < 0)
				free(start);
		}
		if (result < 0)
			session->worker_count = i;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	/* Fewer than wanted still serve. */
	return session->worker_count > 0 ? 0 : result;
}

bool session_leave(struct session *session, uint64_t nodeid)
{
	return session == NULL || ring_leave(atomic_load(&session->ring), nodeid);
}

unsigned session_rings(const struct session *session)
{
	return session == NULL ? 0 : ring_queues(atomic_load(&session->ring));
}

int session_probe(struct session *session)
{
	struct statx stx;

	if (statx(AT_FDCWD, session->fs->mount_path, AT_STATX_FORCE_SYNC | AT_NO_AUTOMOUNT, STATX_BASIC_STATS,
		  &stx) < 0)
		return -errno;
	return 0;
}

int session_wait(struct session *session)
{
	for (unsigned i = 0; i < session->worker_count; i++)
		pthread_join(session->workers[i], NULL);
	watch_stop(session->fs);
	notifier_stop(session);
	atomic_store(&session->stopping, true);
	ring_join(atomic_load(&session->ring));
	return -atomic_load(&session->error);
}

/* Signals the workers that have not ended. Returns how many those are. */
static unsigned wake_workers(struct session *session)
{
	unsigned running = 0;

	/* The lock keeps a worker from ending, and so from being joined, between the question and the signal. */
	LOCK_SCOPE(&session->workers_lock);
	for (unsigned i = 0; i < session->worker_count; i++) {
		if (!session->ended[i] && pthread_kill(session->workers[i], SIGUSR1) == 0)
			running++;
	}
	return running;
}

static void stop_workers(struct session *session)
{
	/* What they wait for has to be answered. */
	watch_stop(session->fs);
	notifier_stop(session);
	atomic_store(&session->stopping, true);
	/* A signal that comes just before read(2) interrupts nothing: repeat it. */
	while (wake_workers(session) + ring_wake(atomic_load(&session->ring)) > 0)
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

/* Somebody may have unmounted, and what is there now be another's. */
static bool is_mounted(const struct fs *fs)
{
	uint64_t dev;

	return mounted_device(fs, &dev) == 0 && dev == atomic_load(&fs->own_dev);
}

void session_detach(struct session *session)
{
	const struct fs *fs = session->fs;

	if (is_mounted(fs) && umount2(fs->mount_path, UMOUNT_NOFOLLOW | MNT_DETACH) < 0)
		log_error("cannot unmount '%s': %s", fs->mount_path, strerror(errno));
}

/* For apart_call(): it waits for what the kernel still hands over. */
static int unmount(void *argument)
{
	return umount2(argument, UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
}

void session_unmount(struct session *session)
{
	struct fs *fs = session->fs;
	int result;

	if (atomic_exchange(&session->unmounted, true))
		return;
	if (!is_mounted(fs)) {
		stop_workers(session);
		return;
	}
	result = apart_call(unmount, fs->mount_path);
	if (result < 0) {
		if (result == -EBUSY)
			log_info("'%s' is busy: detached, open files there end with ENOTCONN",
				 fs->mount_path);
		if (umount2(fs->mount_path, UMOUNT_NOFOLLOW | MNT_DETACH) < 0)
			fuse_session_unmount(session->fuse); /* fusermount3, for ordinary users */
	}
	stop_workers(session);
}
