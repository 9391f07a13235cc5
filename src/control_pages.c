/* SPDX-License-Identifier: MIT */
#include "control_pages.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "control_value.h"
#include "file.h"
#include "fs.h"
#include "mapping/errnos.h"
#include "mapping/lock.h"
#include "mapping/paging.h"
#include "mapping/residency.h"
#include "pager.h"
#include "session.h"
#include "sync.h"

/* A reader may have a window pinned for a moment, which keeps its pages: so often is evicting tried. */
#define EVICT_TRIES 4
#define EVICT_PAUSE_NS 20000000

/* A call that has found its file and its range. */
struct page_call {
	struct control_call *call;
	struct file *file;
	struct fd_use use;
	struct window_source source;
	struct control_value value;
	uint64_t offset; /* the range, or all of the file */
	uint64_t length;
	struct mapping_stop stop;
};

static void page_call_end(struct page_call *pages)
{
	pager_source_end(pages->call->fs, pages->call->inode, pages->file, &pages->use);
}

static int read_value(struct control_call *call, struct control_value *ret_value)
{
	const char *why;
	int result = control_value_read(call->value, ret_value, &why);

	return result < 0 ? control_refuse(call, result, "'%s': %s", call->value, why) : 0;
}

static int expect_now(struct control_call *call, const struct control_value *value)
{
	if (*value->word == '\0' || strcmp(value->word, "now") == 0)
		return 0;
	return control_refuse(call, -EINVAL, "'%s' is not possible: now, optionally with :OFFSET:LENGTH",
			      value->word);
}

static int find_file(struct page_call *pages)
{
	struct control_call *call = pages->call;
	int result = file_get(call->fs, call->inode, &pages->file);

	if (result < 0)
		return result;
	pager_apply(call->fs, call->inode, pages->file);
	pages->use = FD_USE_NONE;
	result = pager_source(call->fs, call->inode, pages->file, &pages->use, &pages->source);
	if (result < 0)
		return control_refuse(call, result, "cannot open the file: %s", strerror(-result));
	return 0;
}

/* Ends with page_call_end(), also after a failure. */
static int page_call_begin(struct control_call *call, struct page_call *pages)
{
	int result;

	*pages = (struct page_call){.call = call, .use = FD_USE_NONE};
	pages->stop = (struct mapping_stop){call->caller->gave_up, call->caller->context};
	result = find_file(pages);
	if (result == 0)
		result = read_value(call, &pages->value);
	if (result < 0)
		return result;
	pages->offset = pages->value.ranged ? pages->value.offset : 0;
	pages->length = pages->value.ranged ? pages->value.length : pages->source.size;
	if (pages->value.ranged && pages->offset + pages->length > pages->source.size)
		return control_refuse(call, -EINVAL,
				      "the range lies outside of the file, which has %" PRIu64 " bytes",
				      pages->source.size);
	return 0;
}

/* The same for a command that takes no word but "now". */
static int page_command_begin(struct control_call *call, struct page_call *pages)
{
	int result = page_call_begin(call, pages);

	return result < 0 ? result : expect_now(call, &pages->value);
}

__attribute__((format(printf, 2, 3))) static int reply(struct control_call *call, const char *format, ...)
{
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vasprintf(&call->reply, format, arguments);
	va_end(arguments);
	if (length < 0)
		call->reply = NULL;
	return length < 0 ? -ENOMEM : 0;
}

static int refused_by_kernel(struct control_call *call, enum mapping_call which, const char *what, int error)
{
	if (error == -EINTR)
		return control_refuse(call, error, "ended before it was done");
	return control_refuse(call, error, "%s: %s", what, mapping_errno_find(which, -error)->message);
}

/* What a page that cannot appear means to somebody who wants it: the file was truncated, or the disk errs. */
static int missing_page(struct control_call *call, int error)
{
	if (error == -EFAULT)
		return control_refuse(call, -EIO, "a page of the file cannot be read");
	return refused_by_kernel(call, CALL_MADVISE, "preload", error);
}

char *control_get_advice(struct fs *fs, struct inode *inode)
{
	struct file *file;
	char *text;

	if (file_get(fs, inode, &file) < 0)
		return NULL;
	pager_apply(fs, inode, file);
	if (asprintf(&text, "%s%s", advice_name(advice_in_force(&file->mapping)),
		     advice_wants_huge(&file->mapping) > 0    ? " hugepage"
		     : advice_wants_huge(&file->mapping) == 0 ? " nohugepage"
							      : "") < 0)
		return NULL;
	return text;
}

int control_advice(struct control_call *call)
{
	CLEANUP(page_call_end) struct page_call pages;
	enum advice advice = ADVICE_NORMAL;
	const char *why;
	int result = page_call_begin(call, &pages);

	if (result < 0)
		return result;
	result = advice_find(pages.value.word, &advice, &why);
	if (result < 0)
		return control_refuse(call, result, "'%s' is not possible: %s", pages.value.word, why);
	if (pages.value.ranged)
		result = mapping_advise_range(&pages.file->mapping, &pages.source, advice, pages.offset,
					      pages.length, &pages.stop);
	else
		result = mapping_advise_file(&pages.file->mapping, &pages.source, advice, &pages.stop);
	if (result < 0)
		return refused_by_kernel(call, CALL_MADVISE, advice_name(advice), result);
	if (!pages.value.ranged && advice_stands(advice))
		pager_descriptors(call->fs, call->inode, pages.file);
	return 0;
}

/*
 * What clients stored through mappings of the mount's file comes first. Not by fsync(2) of that file: whoever
 * sets an attribute of it has it locked in the kernel meanwhile. Dropping its pages hands them over too.
 */
static void fetch_from_clients(struct control_call *call)
{
	if (call->fs->session != NULL)
		session_forget_content(call->fs->session, atomic_load(&call->inode->nodeid));
}

static int sync_mount(struct control_call *call)
{
	struct control_value value;
	int result = read_value(call, &value), handed_over = 0;

	if (result == 0)
		result = expect_now(call, &value);
	if (result == 0 && value.ranged)
		result = control_refuse(call, -EINVAL, "a range is for a file, not for the whole mount");
	if (result < 0)
		return result;
	if (call->fs->session != NULL)
		handed_over = session_fsync_clients(call->fs->session);
	result = sync_all(call->fs, true);
	if (result == 0)
		result = handed_over;
	return result < 0
		       ? control_refuse(call, result, "sync: %s; the log says which files", strerror(-result))
		       : 0;
}

int control_sync(struct control_call *call)
{
	CLEANUP(page_call_end) struct page_call pages = {.call = call, .use = FD_USE_NONE};
	bool failed;
	int result;

	if (call->inode == call->fs->root)
		return sync_mount(call);
	result = page_command_begin(call, &pages);
	if (result < 0)
		return result;
	/* Only who may write a file can have stored into a mapping of it. */
	if (atomic_load(&pages.file->writers) > 0)
		fetch_from_clients(call);
	/* The whole file, also for a range: a failure is then told to whom it concerns, as by fsync(2). */
	result = sync_file(call->fs, call->inode, pages.file, true, &failed);
	return result < 0 ? control_refuse(call, result, "sync: %s", strerror(-result)) : 0;
}

/* In memory of the range; false where the kernel does not tell, as of a file that this daemon may only read. */
static bool count_resident(const struct page_call *pages, uint64_t *ret_resident)
{
	struct residency residency;

	if (residency_count(pages->source.fd, pages->offset, pages->length, &residency) < 0)
		return false;
	*ret_resident = residency.cached;
	return true;
}

static int reply_resident(struct page_call *pages)
{
	uint64_t resident;

	if (!count_resident(pages, &resident))
		return reply(pages->call, "{\"bytes\": %" PRIu64 ", \"resident\": null}", pages->length);
	return reply(pages->call, "{\"bytes\": %" PRIu64 ", \"resident\": %" PRIu64 "}", pages->length,
		     resident);
}

int control_preload(struct control_call *call)
{
	CLEANUP(page_call_end) struct page_call pages;
	int result = page_command_begin(call, &pages);

	if (result < 0)
		return result;
	result =
		mapping_preload(&pages.file->mapping, &pages.source, pages.offset, pages.length, &pages.stop);
	return result < 0 ? missing_page(call, result) : reply_resident(&pages);
}

int control_evict(struct control_call *call)
{
	CLEANUP(page_call_end) struct page_call pages;
	struct timespec pause = {.tv_nsec = EVICT_PAUSE_NS};
	uint64_t resident = 1;
	bool failed;
	int result = page_command_begin(call, &pages);

	if (result < 0)
		return result;
	fetch_from_clients(call);
	result = sync_file(call->fs, call->inode, pages.file, true, &failed);
	if (result < 0)
		return control_refuse(call, result, "sync: %s; nothing was evicted", strerror(-result));
	mapping_unlock_all(&pages.file->mapping);
	locked_settle(call->fs, call->inode, pages.file);
	for (int i = 0; i < EVICT_TRIES && resident > 0; i++) {
		if (i > 0)
			nanosleep(&pause, NULL);
		mapping_drop(&pages.file->mapping, false);
		residency_drop(pages.source.fd, pages.offset, pages.length);
		if (!count_resident(&pages, &resident))
			break;
	}
	return reply_resident(&pages);
}

static int lock_refused(struct page_call *pages, int error)
{
	struct control_call *call = pages->call;
	uint64_t locked = (uint64_t)MAX(atomic_load(&call->fs->windows.locked), 0);
	uint64_t enough = locked + page_round_up(pages->length) + page_size();
	struct rlimit limit;

	if ((error != -ENOMEM && error != -EPERM && error != -EAGAIN) ||
	    getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		return refused_by_kernel(call, CALL_MLOCK, "mlock", error);
	return control_refuse(
		call, error,
		"mlock: %s; the daemon's limit (RLIMIT_MEMLOCK) is %" PRIu64 " bytes, %" PRIu64 " would do",
		mapping_errno_find(CALL_MLOCK, -error)->message, (uint64_t)limit.rlim_cur, enough);
}

static int hold_refused(struct control_call *call, int error)
{
	if (error != -ENOLCK)
		return control_refuse(call, error, "lock: %s", strerror(-error));
	return control_refuse(call, error,
			      "lock: %zu files are locked, which is as many as may be, a quarter of "
			      "vm.max_map_count: unlock some first",
			      call->fs->locked.max);
}

static int reply_locked(struct page_call *pages)
{
	return reply(pages->call, "{\"locked\": %" PRIu64 "}", mapping_locked(&pages->file->mapping));
}

int control_lock(struct control_call *call)
{
	CLEANUP(page_call_end) struct page_call pages;
	int result = page_command_begin(call, &pages);

	if (result < 0)
		return result;
	result = locked_hold(call->fs, call->inode, pages.file);
	if (result < 0)
		return hold_refused(call, result);
	result = mapping_lock(&pages.file->mapping, &pages.source, pages.offset, pages.length, &pages.stop);
	/* Once more, for an unlock that came in between. */
	if (locked_hold(call->fs, call->inode, pages.file) == 0)
		locked_settle(call->fs, call->inode, pages.file);
	if (result == -EFAULT)
		return missing_page(call, result);
	return result < 0 ? lock_refused(&pages, result) : reply_locked(&pages);
}

int control_unlock(struct control_call *call)
{
	CLEANUP(page_call_end) struct page_call pages;
	int result = page_command_begin(call, &pages);

	if (result < 0)
		return result;
	if (pages.value.ranged)
		result = mapping_unlock(&pages.file->mapping, pages.offset, pages.length);
	else
		mapping_unlock_all(&pages.file->mapping);
	locked_settle(call->fs, call->inode, pages.file);
	return result < 0 ? control_refuse(call, result, "%s", strerror(-result)) : reply_locked(&pages);
}
