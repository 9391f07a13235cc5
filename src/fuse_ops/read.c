/* SPDX-License-Identifier: MIT */
/*
 * Happy path: ask the size, take hold of the pages of a window (of a large read) or copy the bytes out of
 * windows (of a small one, or where it spans windows), ask the size again, and answer with what lay inside
 * the file both times. Asking twice is what makes a read that races a truncation right:
 * bytes past the end in the file's last page read as zeros, and only the smaller of both sizes tells
 * which of the copied bytes were the file's all along.
 *
 * A file that nothing has changed for a while is asked once, afterwards: where it has still the size and the ctime
 * that an earlier read found, nothing has changed it since then (see settled.h). Not asking at all would not do, even
 * where events tell of changes: they come after the change.
 *
 * Failure modes: a window cannot be mapped, or a page of it cannot appear. pread(2) answers instead,
 * with the bytes, the short count or the errno.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "file.h"
#include "fuse_ops/ops.h"
#include "log.h"
#include "mapping/guard.h"
#include "session.h"
#include "straight.h"

/* relatime: see mount(8) */
#define RELATIME_S (24 * 60 * 60)

static bool is_later(const struct timespec *one, const struct timespec *other)
{
	return one->tv_sec != other->tv_sec ? one->tv_sec > other->tv_sec : one->tv_nsec > other->tv_nsec;
}

/* A read through a mapping moves no access time; one byte by pread(2) does, as BACKING's mount says. */
static void touch_access_time(const struct open_file *open, int fd, const struct stat *info, int flags,
			      uint64_t offset)
{
	unsigned char byte;
	struct timespec now;

	if (!open->fs->atime || (flags & O_NOATIME))
		return;
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	if (is_later(&info->st_atim, &info->st_mtim) && is_later(&info->st_atim, &info->st_ctim) &&
	    now.tv_sec - info->st_atim.tv_sec < RELATIME_S)
		return;
	/* A byte of what is wanted anyway. */
	if (pread(fd, &byte, 1, (off_t)offset) < 0) {
		/* The read itself will say. */
	}
}

/* pread(2) until @length bytes, the end of the file or an error; an error after some bytes is theirs. */
static ssize_t read_by_call(const struct open_file *open, int fd, unsigned char *to, size_t length,
			    uint64_t offset)
{
	size_t done = 0;

	fs_count(open->fs, IO_READ_FALLBACKS, 1);
	while (done < length) {
		ssize_t got = pread(fd, to + done, length - done, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && done == 0)
			return -errno;
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

static struct window_source source_of(const struct open_file *open, int fd, bool writable, uint64_t size)
{
	return (struct window_source){
		.fd = fd,
		.writable = writable,
		.growing = atomic_load_explicit(&open->file->writers, memory_order_relaxed) > 0,
		.size = size,
	};
}

static void say_unmapped(const struct open_file *open, int error)
{
	const struct mapping_errno *row = mapping_errno_find(CALL_MMAP, error);

	if (mapping_errno_first(&open->fs->windows.said, row)) {
		CLEANUP(free_pointer) char *name = inode_name(open->fs, open->inode);

		log_info("map '%s': %s; served by pread and pwrite", name == NULL ? "?" : name, row->message);
	}
}

/*
 * Copies [offset, offset + length) out of the windows; returns how many bytes arrived before one could
 * not: whoever called goes on with pread(2).
 */
static size_t read_by_windows(const struct open_file *open, int fd, bool writable, uint64_t size,
			      unsigned char *to, size_t length, uint64_t offset)
{
	struct window_source source = source_of(open, fd, writable, size);
	size_t done = 0;

	while (done < length) {
		struct window_pin pin = {0};
		int result = mapping_pin(&open->file->mapping, &source, offset + done, length - done, &pin);

		if (result < 0) {
			say_unmapped(open, -result);
			break;
		}
		result = guarded_copy(to + done, pin.bytes, pin.length);
		if (result == 0)
			done += pin.length;
		window_unpin(&pin);
		if (result < 0)
			break;
	}
	return done;
}

/* Holds the pages of one window, all inside the file, for the reply. If not, a copy serves, or says why. */
static bool hold_window(const struct open_file *open, int fd, bool writable, uint64_t size, size_t length,
			uint64_t offset)
{
	struct window_source source = source_of(open, fd, writable, size);
	struct window_pin pin = {0};
	struct stat after;
	bool held;

	if (!straight_wanted(length) || mapping_pin(&open->file->mapping, &source, offset, length, &pin) < 0)
		return false;
	held = pin.length == length && straight_hold(pin.bytes, length);
	window_unpin(&pin);
	if (held && (fstat(fd, &after) < 0 || offset + length > (uint64_t)after.st_size)) {
		straight_drop();
		held = false;
	}
	return held;
}

/* On tmpfs and hugetlbfs a page that a mapping reads in a hole is allocated; pread(2) leaves it a hole. */
static bool would_fill_holes(const struct open_file *open, const struct stat *info)
{
	return (open->fs->medium == MEDIUM_MEMORY || open->fs->medium == MEDIUM_HUGE_PAGES) &&
	       (uint64_t)info->st_blocks * 512 < (uint64_t)info->st_size;
}

/* Reads the bytes of a file that has not changed since some earlier look; false where it may have. */
static bool read_settled(const struct open_file *open, int fd, bool writable, int flags, unsigned char *to,
			 size_t length, uint64_t offset, size_t *ret_got)
{
	struct settled_look look;
	struct stat now;

	/* Where opens are skipped the file's state has to be noted before the bytes are read. In memory a hole has to
	 * be told from data before it is read. */
	if (open->fs->medium != MEDIUM_DISK ||
	    atomic_load_explicit(&open->fs->skips_opens, memory_order_relaxed) ||
	    !settled_last(&open->file->settled, &look) || offset >= look.size)
		return false;
	length = MIN(length, look.size - offset);
	if (straight_wanted(length) ||
	    read_by_windows(open, fd, writable, look.size, to, length, offset) < length)
		return false;
	if (fstat(fd, &now) < 0 || !settled_since(&look, &now)) {
		settled_drop(&open->file->settled);
		return false;
	}
	touch_access_time(open, fd, &now, flags, offset);
	*ret_got = length;
	return true;
}

static ssize_t read_file(const struct open_file *open, int fd, bool writable, int flags, unsigned char *to,
			 size_t length, uint64_t offset)
{
	struct stat before, after;
	size_t done = 0;
	ssize_t rest;

	if (read_settled(open, fd, writable, flags, to, length, offset, &done))
		return (ssize_t)done;
	if (fstat(fd, &before) < 0)
		return -errno;
	if (op_cache_is_old(open->fs, open->inode, fd, before.st_size, &before.st_mtim, true))
		session_forget_later(open->fs->session, open->inode->nodeid);
	if (offset >= (uint64_t)before.st_size)
		return 0;
	length = MIN(length, (uint64_t)before.st_size - offset);
	touch_access_time(open, fd, &before, flags, offset);
	if (!would_fill_holes(open, &before)) {
		if (hold_window(open, fd, writable, (uint64_t)before.st_size, length, offset))
			return (ssize_t)length;
		done = read_by_windows(open, fd, writable, (uint64_t)before.st_size, to, length, offset);
	}
	if (fstat(fd, &after) < 0)
		return -errno;
	settled_note(&open->file->settled, &after);
	if (offset + done > (uint64_t)after.st_size) {
		fs_count(open->fs, FAULTS_TRUNCATED, 1);
		return after.st_size > (off_t)offset ? (ssize_t)((uint64_t)after.st_size - offset) : 0;
	}
	if (done == length)
		return (ssize_t)done;
	rest = read_by_call(open, fd, to + done, length - done, offset + done);
	if (rest < 0 && done == 0) {
		fs_count(open->fs, FAULTS_IO, 1);
		return rest;
	}
	if (rest >= 0 && (size_t)rest < length - done)
		fs_count(open->fs, FAULTS_TRUNCATED, 1);
	return (ssize_t)done + MAX(rest, 0);
}

int op_clean_begin(struct clean_source *source, const struct open_file *open)
{
	struct stat info;
	int result;

	*source = (struct clean_source){.open = open, .use = FD_USE_NONE};
	result = inode_fd(open->fs, open->inode, FD_READ, &source->use);
	if (result == 0 && fstat(source->use.fd, &info) < 0)
		result = -errno;
	if (result < 0)
		return result;
	source->size = (uint64_t)info.st_size;
	source->by_call = would_fill_holes(open, &info);
	return 0;
}

ssize_t op_clean_read(void *context, unsigned char *to, size_t length, uint64_t offset)
{
	const struct clean_source *source = context;
	size_t done = 0;
	ssize_t rest;

	if (offset >= source->size)
		return 0;
	length = MIN(length, source->size - offset);
	if (!source->by_call)
		done = read_by_windows(source->open, source->use.fd, false, source->size, to, length, offset);
	if (done == length)
		return (ssize_t)done;
	rest = read_by_call(source->open, source->use.fd, to + done, length - done, offset + done);
	return rest < 0 ? rest : (ssize_t)done + rest;
}

void op_clean_end(struct clean_source *source)
{
	fd_use_end(&source->use);
}

void op_read(fuse_req_t req, fuse_ino_t nodeid, size_t size, off_t offset, struct fuse_file_info *fi)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct request *request = request_current();
	struct open_file open;
	bool writable;
	ssize_t got;

	if (!op_begin_open(req, nodeid, fi, &open))
		return;
	got = inode_fd(open.fs, open.inode, FD_READ, &use);
	writable = use.slot == &open.inode->slots[FD_WRITE];
	if (got == 0)
		got = read_file(&open, use.fd, writable, fi->flags, request->space,
				MIN(size, request->space_size), (uint64_t)offset);
	fd_use_end(&use);
	/* The last writer may have closed meanwhile; a window mapped since must not outlive it. */
	if (writable && atomic_load(&open.file->writers) == 0)
		file_drop_writing(open.fs, open.inode, open.file);
	if (got < 0) {
		fuse_reply_err(req, (int)-got);
		return;
	}
	fs_count(open.fs, IO_READS, 1);
	fs_count(open.fs, IO_READ_BYTES, (uint64_t)got);
	file_count_io(open.file, (uint64_t)got, false);
	/* Where pages are held they are sent in the place of these bytes. */
	fuse_reply_buf(req, (const char *)request->space, (size_t)got);
}
