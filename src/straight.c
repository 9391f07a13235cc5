/* SPDX-License-Identifier: MIT */
#include "straight.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "request.h"
#include "util.h"

/* struct fuse_out_header: what stands before the bytes of a reply to a read. */
#define HEADER_LENGTH ((size_t)16)

static _Thread_local struct {
	int fd[2];
	size_t slots;	       /* pages that the pipe takes; 0: there is no pipe */
	unsigned char *header; /* a page that the pipe has by reference, filled when all is known */
	size_t held;	       /* bytes that wait in the pipe, the header's included */
	bool refused;	       /* the kernel gave no pipe: do not ask for every read */
} mine;

#ifdef THREAD_SANITIZER
char straight_order;
#endif

static void close_pipe(void)
{
	if (mine.slots > 0) {
		close(mine.fd[0]);
		close(mine.fd[1]);
	}
	mine.slots = 0;
	mine.held = 0;
}

static bool open_pipe(void)
{
	size_t page = page_size();
	int size;

	if (mine.slots > 0)
		return true;
	if (mine.refused)
		return false;
	mine.refused = true;
	/* Shared: after a fork the pipe and this thread must still mean the same page. */
	if (mine.header == NULL) {
		void *header = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

		if (header == MAP_FAILED)
			return false;
		mine.header = header;
	}
	if (pipe2(mine.fd, O_CLOEXEC) < 0)
		return false;
	/* The pages of the largest reply, one more where it is not aligned, and the header's. */
	if (fcntl(mine.fd[1], F_SETPIPE_SZ, (int)(MAX_WRITE + 2 * page)) < 0)
		(void)fcntl(mine.fd[1], F_SETPIPE_SZ, (int)MAX_WRITE);
	size = fcntl(mine.fd[1], F_GETPIPE_SZ);
	if (size <= 0) {
		close(mine.fd[0]);
		close(mine.fd[1]);
		return false;
	}
	mine.slots = (size_t)size / page;
	mine.refused = false;
	return true;
}

bool straight_wanted(size_t length)
{
	return length >= STRAIGHT_MIN && !request_current()->ring;
}

bool straight_hold(const void *bytes, size_t length)
{
	size_t page = page_size();
	struct iovec iov[2];
	ssize_t got;

	if (!open_pipe() || ((uintptr_t)bytes % page + length + page - 1) / page + 1 > mine.slots)
		return false;
	iov[0] = (struct iovec){mine.header, HEADER_LENGTH};
	iov[1] = (struct iovec){(void *)bytes, length};
	got = vmsplice(mine.fd[1], iov, 2, SPLICE_F_NONBLOCK);
	mine.held = got > 0 ? (size_t)got : 0;
	if (mine.held == HEADER_LENGTH + length)
		return true;
	straight_drop();
	return false;
}

void straight_drop(void)
{
	/* Rare, and there is no other way to empty it without a copy. */
	if (mine.held > 0)
		close_pipe();
}

bool straight_held(void)
{
	return mine.held > 0;
}

ssize_t straight_send(int fd, const void *header)
{
	ssize_t sent;
	int error;

	memcpy(mine.header, header, HEADER_LENGTH);
	STRAIGHT_REPLIES();
	sent = splice(mine.fd[0], NULL, fd, NULL, mine.held, 0);
	error = errno;
	/* The device takes a reply as a whole or refuses it. */
	if (sent == (ssize_t)mine.held)
		mine.held = 0;
	else
		close_pipe();
	errno = error;
	return sent;
}

uint64_t straight_readahead(uint64_t wanted)
{
	return wanted == MAX_WRITE ? wanted - page_size() : wanted;
}

void straight_thread_end(void)
{
	close_pipe();
	if (mine.header != NULL)
		munmap(mine.header, page_size());
	mine.header = NULL;
}
