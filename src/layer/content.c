/* SPDX-License-Identifier: MIT */
/*
 * The order of a write: pages are counted in, bytes go into the page file, the pages become data. What fails in
 * between leaves bytes that nobody reads. A page that becomes data is written whole, so that nothing older in
 * the page file ever shows; in data pages all bytes past the end of the file are zeros.
 */
#include "layer/content.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs.h"
#include "layer/content_private.h"
#include "layer/layer.h"
#include "layer/origin.h"
#include "layer/xattrs.h"
#include "util.h"

bool content_is_own(struct inode *inode)
{
	const struct node *node = layer_peek(inode);

	return node != NULL && (atomic_load_explicit(&node->own, memory_order_acquire) & OWN_CONTENT);
}

/* A base's content needs a record in this layer, which then is of content from the start. */
static bool is_ready(const struct node *node)
{
	return (atomic_load_explicit(&node->own, memory_order_acquire) & OWN_CONTENT) &&
	       atomic_load(&node->id) != 0;
}

static int own_locked(struct fs *fs, struct inode *inode, struct node *node)
{
	struct statx now, backing;
	bool known;
	int result = layer_record_locked(fs, inode, node);

	if (result < 0 || is_ready(node))
		return result;
	result = layer_statx(fs, inode, &now);
	if (result < 0)
		return result;
	if (now.stx_size > LAYER_FILE_MAX)
		return -EFBIG;
	known = node->has_origin && layer_backing_statx(fs, inode, &backing) == 0;
	pthread_rwlock_wrlock(&node->lock);
	node->stx = node_stat_of(&now);
	/* From here on, what is copied is of this state. */
	if (known)
		node->before = origin_state(&backing);
	node->pages.clean = now.stx_size;
	node->capability = true;
	node->unsaved = true;
	atomic_fetch_or(&node->own, OWN_ATTRIBUTES | OWN_MTIME | OWN_CONTENT);
	pthread_rwlock_unlock(&node->lock);
	return layer_save(fs, inode, node);
}

int content_own(struct fs *fs, struct inode *inode, struct node **ret_node)
{
	int result = layer_node(fs, inode, ret_node);

	if (result < 0 || is_ready(*ret_node))
		return result;
	LOCK_SCOPE(&fs->layer->lock);
	return is_ready(*ret_node) ? 0 : own_locked(fs, inode, *ret_node);
}

static int write_fully(int fd, const void *from, size_t length, uint64_t offset)
{
	size_t done = 0;

	while (done < length) {
		ssize_t put = pwrite(fd, (const char *)from + done, length - done, (off_t)(offset + done));

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		done += (size_t)put;
	}
	return 0;
}

void access_end(struct access *access)
{
	fd_use_end(&access->pages);
	fd_use_end(&access->backing);
}

int access_pages(struct access *access)
{
	return access->pages.fd >= 0
		       ? 0
		       : layer_page_file(access->fs, access->inode, access->node, true, &access->pages);
}

/* A page as it reads now. */
static int compose(struct access *access, uint64_t page, unsigned char *to)
{
	uint64_t start = page * LAYER_PAGE, at = start, end = start + LAYER_PAGE;
	int result = 0;

	while (at < end && result == 0) {
		enum page_kind kind;
		uint64_t next = pages_run(&access->node->pages, at, end, &kind);

		if (kind == PAGES_DATA)
			result = access_read_data(access, to + (at - start), (size_t)(next - at), at);
		else if (kind == PAGES_CLEAN)
			result = access_read_clean(access, to + (at - start), (size_t)(next - at), at);
		else
			memset(to + (at - start), 0, (size_t)(next - at));
		at = next;
	}
	return result;
}

static bool is_data(const struct node *node, uint64_t page)
{
	return pages_missing(&node->pages, page, page + 1) == 0;
}

/* A part of one page: in place where the page is data, else with the rest of the page around it. */
int access_put_part(struct access *access, const void *data, size_t size, uint64_t offset)
{
	uint64_t page = offset / LAYER_PAGE;
	unsigned char whole[LAYER_PAGE];
	int result = access_pages(access);

	if (result < 0 || size == 0)
		return result;
	if (is_data(access->node, page))
		return write_fully(access->pages.fd, data, size, offset);
	result = compose(access, page, whole);
	if (result < 0)
		return result;
	memcpy(whole + offset % LAYER_PAGE, data, size);
	return write_fully(access->pages.fd, whole, LAYER_PAGE, page * LAYER_PAGE);
}

static int put(struct access *access, const char *data, size_t size, uint64_t offset)
{
	size_t head = (size_t)MIN((LAYER_PAGE - offset % LAYER_PAGE) % LAYER_PAGE, size);
	size_t tail = (size_t)((offset + size) % LAYER_PAGE), middle;
	int result = access_put_part(access, data, head, offset);

	tail = head == size ? 0 : tail;
	middle = size - head - tail;
	if (result == 0 && middle > 0)
		result = write_fully(access->pages.fd, data + head, middle, offset + head);
	if (result == 0)
		result = access_put_part(access, data + head + middle, tail, offset + head + middle);
	return result;
}

/* Counts in the pages that a write takes. @size becomes as much of it as the layer has room for, 0 on failure. */
static int reserve(struct access *access, uint64_t offset, size_t *size)
{
	uint64_t first = offset / LAYER_PAGE, end = (offset + *size + LAYER_PAGE - 1) / LAYER_PAGE, page;
	struct pages *pages = &access->node->pages;
	uint64_t missing = pages_missing(pages, first, end);
	int result = missing == 0 ? 0 : pages_reserve(pages, first, end);

	if (result == 0 && layer_charge(access->fs, missing) == 0)
		return 0;
	for (page = first; page < end && result == 0; page++) {
		if (layer_charge(access->fs, pages_missing(pages, page, page + 1)) < 0)
			break;
	}
	*size = page * LAYER_PAGE <= offset ? 0 : (size_t)MIN(page * LAYER_PAGE - offset, *size);
	return result < 0 ? result : *size == 0 ? -ENOSPC : 0;
}

void access_unreserve(struct access *access, uint64_t offset, size_t size)
{
	uint64_t first = offset / LAYER_PAGE, end = (offset + size + LAYER_PAGE - 1) / LAYER_PAGE;

	layer_discharge(access->fs->layer, pages_missing(&access->node->pages, first, end));
}

/* The file was changed: times, and what that takes away. Returns whether a capability has to go as well. */
bool content_touch_locked(struct node *node, const struct content_writer *writer)
{
	bool capability = node->capability && !writer->stores;

	node->stx.stx_mtime = node->stx.stx_ctime = packed_time(layer_now());
	if (writer->kill_setid)
		node->stx.stx_mode = (uint16_t)mode_after_write(node->stx.stx_mode, writer->keeps_setgid);
	node->capability = node->capability && !capability;
	node->unsaved = true;
	atomic_fetch_add(&node->version, 1);
	return capability;
}

/* Not under node->lock. That there is none is the rule. */
void content_drop_capability(struct fs *fs, struct inode *inode)
{
	CLEANUP(free_pointer) void *value = NULL;

	if (layer_xattr_get(fs, inode, "security.capability", &value) >= 0)
		layer_xattr_set(fs, inode, "security.capability", NULL, 0, 0, false);
}

ssize_t content_write(struct fs *fs, struct inode *inode, struct node *node, const char *data, size_t size,
		      bool append, const struct content_writer *writer, uint64_t *offset)
{
	CLEANUP(access_end)
	struct access access = {fs, inode, node, FD_USE_NONE, FD_USE_NONE};
	bool capability = false;
	uint64_t at;
	int result = 0;

	pthread_rwlock_wrlock(&node->lock);
	if (append)
		*offset = node->stx.stx_size;
	at = *offset;
	if (at >= LAYER_FILE_MAX)
		result = -EFBIG;
	else
		size = (size_t)MIN(size, LAYER_FILE_MAX - at);
	if (result == 0 && size > 0) {
		result = reserve(&access, at, &size);
		if (result == 0)
			result = access_pages(&access);
		if (result == 0)
			result = put(&access, data, size, at);
		if (result < 0 && size > 0)
			access_unreserve(&access, at, size);
	}
	if (result == 0 && size > 0) {
		pages_set_data(&node->pages, at / LAYER_PAGE, (at + size + LAYER_PAGE - 1) / LAYER_PAGE);
		node->stx.stx_size = MAX(node->stx.stx_size, at + size);
		capability = content_touch_locked(node, writer);
	}
	pthread_rwlock_unlock(&node->lock);
	if (capability)
		content_drop_capability(fs, inode);
	return result < 0 ? result : (ssize_t)size;
}

/* Zeros from @offset to the end of its page, if that is data. */
static int clear_rest(struct access *access, uint64_t offset)
{
	static const unsigned char zeros[LAYER_PAGE];
	int result;

	if (offset % LAYER_PAGE == 0 || !is_data(access->node, offset / LAYER_PAGE))
		return 0;
	result = access_pages(access);
	return result < 0 ? result
			  : write_fully(access->pages.fd, zeros, LAYER_PAGE - offset % LAYER_PAGE, offset);
}

static int resize_locked(struct access *access, uint64_t size)
{
	uint64_t end = (size + LAYER_PAGE - 1) / LAYER_PAGE * LAYER_PAGE;
	struct node *node = access->node;
	uint64_t went;
	bool shrinks;
	int result;

	/* Of what goes only the first pages need any. */
	result = pages_reserve(&node->pages, size / LAYER_PAGE, size / LAYER_PAGE + 1);
	if (result == 0 && size < node->stx.stx_size)
		result = clear_rest(access, size);
	if (result < 0)
		return result;
	/* Pages may lie past the end of the file, where fallocate(2) put them. */
	went = pages_cut(&node->pages, size);
	layer_discharge(access->fs->layer, went);
	/* Gives the memory back; a failure leaves bytes that nobody reads. */
	shrinks = size < node->stx.stx_size || went > 0;
	node->loose = node->loose || shrinks;
	if (shrinks && !access->fs->layer->kept &&
	    (access->pages.fd >= 0 ||
	     layer_page_file(access->fs, access->inode, node, false, &access->pages) == 0))
		result = ftruncate(access->pages.fd, (off_t)end) < 0 ? -errno : 0;
	node->stx.stx_size = size;
	return result;
}

int content_resize(struct fs *fs, struct inode *inode, struct node *node, uint64_t size,
		   const struct content_writer *writer)
{
	CLEANUP(access_end)
	struct access access = {fs, inode, node, FD_USE_NONE, FD_USE_NONE};
	bool capability = false;
	int result;

	if (size > LAYER_FILE_MAX)
		return -EFBIG;
	pthread_rwlock_wrlock(&node->lock);
	result = resize_locked(&access, size);
	if (result == 0)
		capability = content_touch_locked(node, writer);
	pthread_rwlock_unlock(&node->lock);
	if (capability)
		content_drop_capability(fs, inode);
	return result;
}
