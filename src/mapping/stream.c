/* SPDX-License-Identifier: MIT */
/*
 * Happy path: a description of the file of its own, with read-ahead for who reads from front to back, and a pipe to
 * /dev/null. What splice(2) puts into the pipe is in the page cache by then, and nothing of it was copied. It asks
 * for as much as the pipe takes, which the kernel reads at once, however small the disk's own read-ahead is.
 *
 * Failure modes: there is no descriptor left for one of these, or the file system cannot splice. MADV_WILLNEED
 * serves instead. What the disk cannot read is skipped.
 */
#include "mapping/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "mapping/windows.h"

/* What is read between two looks for holes and for being stopped. */
#define STEP ((uint64_t)8 << 20)
/* What is asked for at once; as much as anybody's pipe may take where nobody has changed that. */
#define PIPE_SIZE (1 << 20)
/* A part of a file has to be this long for what is read past its end to be little. */
#define LONG ((uint64_t)32 << 20)

static int own_description(int fd)
{
	char path[32];
	int own;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, O_RDONLY | O_CLOEXEC | O_NOATIME);
	/* Only the owner may leave the access time alone. */
	return own < 0 && errno == EPERM ? open(path, O_RDONLY | O_CLOEXEC) : own;
}

static void close_own(struct stream *stream)
{
	close_fd(&stream->own);
	close_fd(&stream->pipe[0]);
	close_fd(&stream->pipe[1]);
	close_fd(&stream->null);
}

/* All of it, or nothing. */
static void open_own(struct stream *stream)
{
	stream->own = own_description(stream->fd);
	stream->null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (stream->own < 0 || stream->null < 0 || pipe2(stream->pipe, O_CLOEXEC) < 0) {
		close_own(stream);
		return;
	}
	/* Both are for speed only: a smaller pipe, or less read-ahead, does as well. */
	(void)fcntl(stream->pipe[1], F_SETPIPE_SZ, PIPE_SIZE);
	(void)posix_fadvise(stream->own, 0, 0, POSIX_FADV_SEQUENTIAL);
}

void stream_begin(int fd, uint64_t offset, uint64_t end, uint64_t size, struct stream *ret_stream)
{
	*ret_stream = STREAM_NONE;
	ret_stream->fd = fd;
	ret_stream->at = offset;
	if (end >= size || end - offset >= LONG)
		open_own(ret_stream);
}

void stream_end(struct stream *stream)
{
	close_own(stream);
	*stream = STREAM_NONE;
}

static bool empty_pipe(const struct stream *stream, size_t length)
{
	while (length > 0) {
		ssize_t gone = splice(stream->pipe[0], NULL, stream->null, NULL, length, 0);

		if (gone < 0 && errno == EINTR)
			continue;
		if (gone <= 0)
			return false;
		length -= (size_t)gone;
	}
	return true;
}

/* Reads up to @end. False: this file, or this pipe, is not for it. */
static bool read_step(struct stream *stream, uint64_t end)
{
	while (stream->at < end) {
		off_t at = (off_t)stream->at;
		ssize_t got = splice(stream->own, &at, stream->pipe[1], NULL, (size_t)(end - stream->at), 0);

		if (got < 0 && errno == EINTR)
			continue;
		/* Cut meanwhile, or the disk errs. */
		if (got == 0 || (got < 0 && errno != EINVAL))
			stream->at = end;
		else if (got < 0 || !empty_pipe(stream, (size_t)got))
			return false;
		else
			stream->at += (uint64_t)got;
	}
	return true;
}

int stream_on(struct stream *stream, uint64_t until, const struct mapping_stop *stop)
{
	int result;

	while (stream_waits(stream) && (stream->at = past_hole(stream->own, stream->at, until)) < until) {
		if (stop_asked(stop))
			return -EINTR;
		if (!read_step(stream, MIN(page_round_down(stream->at) + STEP, until)))
			close_own(stream);
	}
	if (stream->at >= until)
		return 0;
	result = read_ahead(stream->fd, stream->at, until - stream->at, stop);
	stream->at = until;
	return result;
}
