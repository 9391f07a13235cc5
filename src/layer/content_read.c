/* SPDX-License-Identifier: MIT */
/* Reading: run by run, each from where it is. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fs.h"
#include "layer/content_private.h"
#include "layer/layer.h"
#include "layer/stack.h"
#include "mapping/guard.h"
#include "util.h"

static int read_fully(int fd, unsigned char *to, size_t length, uint64_t offset, size_t *ret_got)
{
	*ret_got = 0;
	while (*ret_got < length) {
		ssize_t got = pread(fd, to + *ret_got, length - *ret_got, (off_t)(offset + *ret_got));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		*ret_got += (size_t)got;
	}
	return 0;
}

static ssize_t read_lower(struct access *access, struct lower *lower, unsigned char *to, size_t length,
			  uint64_t offset, content_reader *reader, void *context);

/* Bytes of a run of one kind that a base has. */
static ssize_t read_run(struct access *access, struct lower *lower, enum page_kind kind, unsigned char *to,
			size_t length, uint64_t offset, content_reader *reader, void *context)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	size_t got = 0;
	int result;

	if (kind == PAGES_CLEAN)
		return read_lower(access, lower->next, to, length, offset, reader, context);
	if (kind == PAGES_ZERO)
		return 0;
	result = lower_page_file(access->fs, access->inode, lower, &use);
	if (result == 0)
		result = read_fully(use.fd, to, length, offset, &got);
	/* What its record calls data is there. */
	if (result == 0 && got < length)
		result = -EIO;
	return result < 0 ? result : (ssize_t)got;
}

/*
 * Clean bytes, as the bases have them from this one down, and at last BACKING by @reader; zeros where there are
 * none any more.
 */
static ssize_t read_lower(struct access *access, struct lower *lower, unsigned char *to, size_t length,
			  uint64_t offset, content_reader *reader, void *context)
{
	uint64_t at = offset, end = offset + length;

	lower = lower_content(lower);
	if (lower == NULL)
		return reader(context, to, length, offset);
	while (at < end) {
		enum page_kind kind;
		uint64_t next = pages_run(&lower->pages, at, end, &kind);
		ssize_t got = read_run(access, lower, kind, to + (at - offset), (size_t)(next - at), at,
				       reader, context);

		if (got < 0)
			return got;
		memset(to + (at - offset) + got, 0, (size_t)(next - at) - (size_t)got);
		at = next;
	}
	return (ssize_t)length;
}

/* As a content_reader of an access. */
static ssize_t read_backing(void *context, unsigned char *to, size_t length, uint64_t offset)
{
	struct access *access = context;
	size_t got = 0;
	int result = access->backing.fd >= 0 ? 0
					     : inode_fd(access->fs, access->inode, FD_READ, &access->backing);

	if (result == 0)
		result = read_fully(access->backing.fd, to, length, offset, &got);
	return result < 0 && result != -ESTALE ? result : (ssize_t)got;
}

int access_read_clean(struct access *access, unsigned char *to, size_t length, uint64_t offset)
{
	ssize_t got = read_lower(access, access->node->lower, to, length, offset, read_backing, access);

	if (got >= 0)
		memset(to + got, 0, length - (size_t)got);
	return (int)MIN(got, 0);
}

int access_read_data(struct access *access, unsigned char *to, size_t length, uint64_t offset)
{
	size_t got;
	int result = access_pages(access);

	if (result == 0)
		result = read_fully(access->pages.fd, to, length, offset, &got);
	if (result == 0 && got < length)
		result = -EIO;
	return result;
}

/* Data of a request that has several runs is copied out of windows: a call for each would cost more. */
struct mapped {
	bool begun;
	struct mapping *windows; /* NULL: calls have to do */
	struct window_source source;
	struct window_pin pin;
	uint64_t start; /* of what is pinned, in the file */
};

static void mapped_begin(struct access *access, struct mapped *ret_mapped)
{
	struct stat info;

	*ret_mapped = (struct mapped){.begun = true};
	if (access_pages(access) < 0 || fstat(access->pages.fd, &info) < 0)
		return;
	ret_mapped->windows = layer_page_windows(access->fs, access->node);
	ret_mapped->source =
		(struct window_source){.fd = access->pages.fd, .size = (uint64_t)info.st_size, .quiet = true};
}

/* Bytes of data pages, of a request that goes on to @end. Returns false where a call has to get them. */
static bool mapped_copy(struct mapped *mapped, unsigned char *to, size_t length, uint64_t offset,
			uint64_t end)
{
	uint64_t have = mapped->pin.window == NULL ? 0 : mapped->start + mapped->pin.length;

	if (mapped->windows == NULL || offset + length > mapped->source.size)
		return false;
	if (offset + length > have) {
		window_unpin(&mapped->pin);
		mapped->start = offset;
		if (mapping_pin(mapped->windows, &mapped->source, offset, (size_t)(end - offset),
				&mapped->pin) < 0) {
			mapped->windows = NULL;
			return false;
		}
	}
	return offset + length <= mapped->start + mapped->pin.length &&
	       guarded_copy(to, mapped->pin.bytes + (offset - mapped->start), length) == 0;
}

ssize_t content_read(struct fs *fs, struct inode *inode, struct node *node, unsigned char *to, size_t length,
		     uint64_t offset, content_reader *reader, void *context)
{
	CLEANUP(access_end)
	struct access access = {fs, inode, node, FD_USE_NONE, FD_USE_NONE};
	struct mapped mapped = {0};
	uint64_t at = offset, end;
	int result = 0;

	pthread_rwlock_rdlock(&node->lock);
	end = MIN(offset + length, node->stx.stx_size);
	while (at < end && result == 0) {
		enum page_kind kind;
		uint64_t next = pages_run(&node->pages, at, end, &kind);
		unsigned char *there = to + (at - offset);
		size_t run = (size_t)(next - at);
		ssize_t got = 0;

		if (kind == PAGES_DATA) {
			if (!mapped.begun && run < end - offset)
				mapped_begin(&access, &mapped);
			result = mapped_copy(&mapped, there, run, at, end)
					 ? 0
					 : access_read_data(&access, there, run, at);
			got = (ssize_t)run;
		} else if (kind == PAGES_CLEAN) {
			got = read_lower(&access, node->lower, there, run, at, reader, context);
		}
		result = got < 0 ? (int)got : result;
		if (result == 0 && (size_t)got < run)
			memset(there + got, 0, run - (size_t)got);
		at = result == 0 ? next : at;
	}
	pthread_rwlock_unlock(&node->lock);
	window_unpin(&mapped.pin);
	return at > offset || result == 0 ? (ssize_t)(at - MIN(offset, at)) : result;
}
