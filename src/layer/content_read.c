/* SPDX-License-Identifier: MIT */
/*
 * Reading: run by run, each from where it is; or, where runs are short, all of a range from below and the layer's pages
 * over that.
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "fs.h"
#include "layer/content_private.h"
#include "layer/layer.h"
#include "layer/stack.h"
#include "util.h"

/* Ranges of at least so many runs, of so many pages each on the average, are not read run by run. */
#define FINE_RUNS 4
#define FINE_PAGES 2
/* Data and gaps that are read at once. */
#define FINE_PARTS 64

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

/* Are the runs of a range so short that asking for each costs more than copying everything twice? */
static bool is_fine(const struct node *node, uint64_t at, uint64_t end)
{
	uint64_t limit = end > at ? (end - at) / LAYER_PAGE / FINE_PAGES : 0, runs = 0;
	enum page_kind kind;

	for (; limit >= FINE_RUNS && at < end && runs < limit; runs++)
		at = pages_run(&node->pages, at, end, &kind);
	return runs >= FINE_RUNS && runs == limit;
}

/* Data that lies close together in the page file, with what is between, which goes nowhere. */
struct batch {
	struct iovec parts[FINE_PARTS];
	int count;
	uint64_t start;	 /* in the file */
	uint64_t length; /* of the parts */
	bool gap;	 /* the last part is one */
	unsigned char nowhere[LAYER_PAGE];
};

static int batch_read(struct batch *batch, int fd)
{
	ssize_t got = 0;

	/* Past its last data the page file may have ended. */
	if (batch->gap)
		batch->length -= batch->parts[--batch->count].iov_len;
	if (batch->count > 0)
		got = preadv(fd, batch->parts, batch->count, (off_t)batch->start);
	if (got != (ssize_t)batch->length)
		return got < 0 ? -errno : -EIO;
	batch->count = 0;
	batch->length = 0;
	batch->gap = false;
	return 0;
}

static void batch_add(struct batch *batch, unsigned char *to, uint64_t at, size_t length)
{
	batch->start = batch->count == 0 ? at : batch->start;
	batch->gap = to == batch->nowhere;
	batch->parts[batch->count++] = (struct iovec){to, length};
	batch->length += length;
}

/* All of a range as what is below has it, and over that what the layer has. */
static int read_fine(struct access *access, unsigned char *to, uint64_t from, uint64_t end,
		     content_reader *reader, void *context)
{
	struct batch batch = {.count = 0};
	ssize_t got =
		read_lower(access, access->node->lower, to, (size_t)(end - from), from, reader, context);
	int result = got < 0 ? (int)got : access_pages(access);

	if (result < 0)
		return result;
	memset(to + got, 0, (size_t)(end - from) - (size_t)got);
	for (uint64_t at = from, next; at < end && result == 0; at = next) {
		enum page_kind kind;

		next = pages_run(&access->node->pages, at, end, &kind);
		if (kind == PAGES_ZERO)
			memset(to + (at - from), 0, (size_t)(next - at));
		if (kind == PAGES_DATA)
			batch_add(&batch, to + (at - from), at, (size_t)(next - at));
		else if (batch.count > 0 && next - at <= LAYER_PAGE)
			batch_add(&batch, batch.nowhere, at, (size_t)(next - at));
		else
			result = batch_read(&batch, access->pages.fd);
		if (result == 0 && batch.count == FINE_PARTS)
			result = batch_read(&batch, access->pages.fd);
	}
	return result < 0 ? result : batch_read(&batch, access->pages.fd);
}

ssize_t content_read(struct fs *fs, struct inode *inode, struct node *node, unsigned char *to, size_t length,
		     uint64_t offset, content_reader *reader, void *context)
{
	CLEANUP(access_end)
	struct access access = {fs, inode, node, FD_USE_NONE, FD_USE_NONE};
	uint64_t at = offset, end;
	int result = 0;

	pthread_rwlock_rdlock(&node->lock);
	end = MIN(offset + length, node->stx.stx_size);
	/* What fails is looked at run by run: it may be bytes that nobody asks for. */
	if (is_fine(node, at, end) && read_fine(&access, to, at, end, reader, context) == 0)
		at = end;
	while (at < end && result == 0) {
		enum page_kind kind;
		uint64_t next = pages_run(&node->pages, at, end, &kind);
		size_t run = (size_t)(next - at);
		ssize_t got = (ssize_t)run;

		if (kind == PAGES_DATA)
			result = access_read_data(&access, to + (at - offset), run, at);
		else if (kind == PAGES_CLEAN)
			got = read_lower(&access, node->lower, to + (at - offset), run, at, reader, context);
		else
			got = 0;
		result = got < 0 ? (int)got : result;
		if (result == 0 && (size_t)got < run)
			memset(to + (at - offset) + got, 0, run - (size_t)got);
		at = result == 0 ? next : at;
	}
	pthread_rwlock_unlock(&node->lock);
	return at > offset || result == 0 ? (ssize_t)(at - MIN(offset, at)) : result;
}
