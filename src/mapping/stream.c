/* SPDX-License-Identifier: MIT */
#include "mapping/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#include "mapping/windows.h"

/* What is mapped at a time. */
#define STEP ((uint64_t)8 << 20)
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

void stream_begin(int fd, uint64_t offset, uint64_t end, uint64_t size, struct stream *ret_stream)
{
	int own = end >= size || end - offset >= LONG ? own_description(fd) : -1;

	*ret_stream = (struct stream){.fd = own < 0 ? fd : own, .own = own >= 0, .at = offset};
}

void stream_end(struct stream *stream)
{
	if (stream->own)
		close_fd(&stream->fd);
	*stream = STREAM_NONE;
}

static int read_step(int fd, uint64_t at, uint64_t end, const struct mapping_stop *stop)
{
	size_t length = (size_t)(end - at);
	unsigned char *bytes = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, (off_t)at);
	int result;

	if (bytes == MAP_FAILED)
		return -errno;
	(void)madvise(bytes, length, MADV_SEQUENTIAL);
	result = populate(bytes, length, stop);
	munmap(bytes, length);
	return result;
}

int stream_on(struct stream *stream, uint64_t until, const struct mapping_stop *stop)
{
	int result = 0;

	if (!stream->own && stream->at < until) {
		result = read_ahead(stream->fd, stream->at, until - stream->at, stop);
		stream->at = until;
	}
	while (result != -EINTR && (stream->at = past_hole(stream->fd, stream->at, until)) < until) {
		uint64_t end = MIN(page_round_down(stream->at) + STEP, until);

		if (stop_asked(stop))
			return -EINTR;
		result = read_step(stream->fd, page_round_down(stream->at), end, stop);
		stream->at = end;
	}
	return result == -EINTR ? result : 0;
}
