/* SPDX-License-Identifier: MIT */
#include "pager.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "file.h"
#include "fs.h"
#include "log.h"
#include "mapping/errnos.h"
#include "mapping/lock.h"
#include "mapping/paging.h"
#include "policy.h"
#include "sync.h"
#include "util.h"

/* The idle timer runs some times within an idle=, so that it is not much late, within these bounds. */
#define IDLE_PARTS 4
#define IDLE_MIN_MS 50
#define IDLE_MAX_MS 30000

static struct fs *fs_of(const struct mapping *mapping)
{
	return CONTAINER_OF(mapping->cache, struct fs, windows);
}

static struct file *file_of(struct mapping *mapping)
{
	return CONTAINER_OF(mapping, struct file, mapping);
}

static bool ending(void *context)
{
	struct fs *fs = context;

	LOCK_SCOPE(&fs->wait_lock);
	return fs->waits_cancelled;
}

/* Called where somebody holds the inode. */
static void on_due(struct mapping *mapping)
{
	struct file *file = file_of(mapping);
	struct fs *fs = fs_of(mapping);

	if (atomic_exchange(&file->work_queued, true))
		return;
	inode_ref(file->inode);
	pthread_mutex_lock(&fs->work_lock);
	file->work_next = fs->work;
	fs->work = file;
	pthread_mutex_unlock(&fs->work_lock);
	if (fs->work_waits != NULL)
		fs->work_waits(fs->ask_context);
}

void pager_written(struct file *file, uint64_t end)
{
	if (mapping_wants_locks(&file->mapping) &&
	    end > atomic_load_explicit(&file->locked_size, memory_order_relaxed))
		on_due(&file->mapping);
}

struct inode *pager_take(struct fs *fs)
{
	struct file *file;

	LOCK_SCOPE(&fs->work_lock);
	file = fs->work;
	if (file == NULL)
		return NULL;
	fs->work = file->work_next;
	return file->inode;
}

static uint64_t size_of(struct fs *fs, struct inode *inode)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct stat info;

	return inode_fd(fs, inode, FD_PATH, &use) < 0 || fstat(use.fd, &info) < 0 ? 0
										  : (uint64_t)info.st_size;
}

static void say_lock_refused(struct fs *fs, const char *name, const struct mapping_errno *row, uint64_t size,
			     uint64_t mine)
{
	uint64_t locked = (uint64_t)MAX(atomic_load(&fs->windows.locked), 0);
	struct rlimit limit = {0};

	getrlimit(RLIMIT_MEMLOCK, &limit);
	log_warning("mlock '%s': %s; the limit (RLIMIT_MEMLOCK) is %llu bytes, %llu would do for what is "
		    "to be locked now",
		    name, row->message, (unsigned long long)limit.rlim_cur,
		    (unsigned long long)(locked - MIN(locked, mine) + page_round_up(size)));
}

static void on_refused(struct mapping *mapping, enum mapping_call call, int error)
{
	const struct mapping_errno *row = mapping_errno_find(call, error);
	struct inode *inode = file_of(mapping)->inode;
	struct fs *fs = fs_of(mapping);
	CLEANUP(free_pointer) char *name = NULL;

	if (!mapping_errno_first(&fs->windows.said, row))
		return;
	name = inode_name(fs, inode);
	if (call == CALL_MLOCK)
		say_lock_refused(fs, name == NULL ? "?" : name, row, size_of(fs, inode),
				 mapping_locked(mapping));
	else if (call == CALL_MMAP)
		log_info("mmap '%s': %s: its stores are synced by msync", name == NULL ? "?" : name,
			 row->message);
	else
		log_warning("madvise '%s': %s; the hint is not taken", name == NULL ? "?" : name,
			    row->message);
}

void pager_init(struct fs *fs)
{
	fs->windows.hooks = (struct window_hooks){.due = on_due, .refused = on_refused};
}

void pager_descriptor(struct inode *inode, int fd)
{
	struct file *file = file_peek(inode);
	enum advice advice = file == NULL ? ADVICE_NORMAL : advice_in_force(&file->mapping);

	if (advice != ADVICE_NORMAL)
		advice_give_descriptor(fd, advice);
}

void pager_descriptors(struct fs *fs, struct inode *inode, const struct file *file)
{
	enum advice advice = advice_in_force(&file->mapping);

	for (int kind = 0; kind < FD_KINDS; kind++) {
		CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;

		if (kind != FD_PATH && fd_slot_use(&fs->fds, &inode->slots[kind], &use))
			advice_give_descriptor(use.fd, advice == ADVICE_WILLNEED ? ADVICE_NORMAL : advice);
	}
}

void pager_apply(struct fs *fs, struct inode *inode, struct file *file)
{
	const struct policy *policy, *before = file_policy(file);
	bool known;

	if (fs->policies.rules_path == NULL)
		return;
	policy = policy_of_inode(fs, inode, &known);
	if (!known || policy == before)
		return;
	atomic_store_explicit(&file->policy, policy, memory_order_release);
	/* What the kernel refused has been told by on_refused(). */
	mapping_set_paging(&file->mapping, &policy->paging);
	locked_settle(fs, inode, file);
	/* It may be synced another way from here on. */
	if (atomic_load(&file->unseen_writers) > 0)
		sync_unseen(fs, inode, file);
	pager_descriptors(fs, inode, file);
}

static void apply_one(struct fs *fs, struct inode *inode)
{
	pager_apply(fs, inode, file_peek(inode));
}

void pager_apply_all(struct fs *fs)
{
	inode_each_file(fs, apply_one);
}

int pager_source(struct fs *fs, struct inode *inode, struct file *file, struct fd_use *use,
		 struct window_source *ret_source)
{
	struct stat info;
	int result = inode_fd(fs, inode, FD_READ, use);

	if (result < 0)
		return result;
	if (fstat(use->fd, &info) < 0)
		return -errno;
	*ret_source = (struct window_source){
		.fd = use->fd,
		.writable = use->slot == &inode->slots[FD_WRITE],
		.growing = atomic_load(&file->writers) > 0,
		.size = (uint64_t)info.st_size,
	};
	return 0;
}

void pager_source_end(struct fs *fs, struct inode *inode, struct file *file, struct fd_use *use)
{
	bool writable = use->slot == &inode->slots[FD_WRITE];

	fd_use_end(use);
	if (writable && atomic_load(&file->writers) == 0)
		file_drop_writing(fs, inode, file);
}

static bool is_wanted(const struct paging *paging)
{
	return paging->advice != ADVICE_NORMAL || paging->preload != PAGING_OFF || paging->huge_pages ||
	       paging->lock;
}

void pager_map(struct fs *fs, struct inode *inode, struct file *file)
{
	struct fd_use use = FD_USE_NONE;
	struct window_source source;

	if (!is_wanted(&file_policy(file)->paging))
		return;
	if (pager_source(fs, inode, file, &use, &source) == 0) {
		for (uint64_t at = 0; at < source.size;) {
			struct window_pin pin = {0};
			size_t rest = (size_t)MIN(source.size - at, SIZE_MAX / 2);

			if (mapping_pin(&file->mapping, &source, at, rest, &pin) < 0)
				break;
			at += pin.length;
			window_unpin(&pin);
		}
	}
	pager_source_end(fs, inode, file, &use);
}

/* Says once, after the first file was touched, whether huge pages came of it. */
static void say_huge(struct fs *fs, struct inode *inode, struct file *file,
		     const struct window_source *source)
{
	struct window_pin pin = {0};
	struct window_source quiet = *source;
	uint64_t huge = 0, inside;
	size_t windows;

	if (advice_wants_huge(&file->mapping) <= 0 || source->size < fs->windows.huge_size ||
	    fs->windows.huge_size == 0 || atomic_exchange(&fs->huge_said, true))
		return;
	/* The kernel maps a huge page when one is touched. */
	quiet.quiet = true;
	if (mapping_pin(&file->mapping, &quiet, 0, fs->windows.huge_size, &pin) == 0) {
		mapping_touch(&pin);
		window_unpin(&pin);
	}
	mapping_usage(&file->mapping, &windows, &inside);
	if (mapping_huge_bytes(&file->mapping, &huge) == 0) {
		CLEANUP(free_pointer) char *name = inode_name(fs, inode);

		log_info("hugepages: '%s' has %llu of %llu bytes mapped by huge pages of %zu%s",
			 name == NULL ? "?" : name, (unsigned long long)huge, (unsigned long long)inside,
			 fs->windows.huge_size,
			 huge > 0 ? "" : "; the file system or the kernel offers none for this file");
	}
}

void pager_work(struct fs *fs, struct inode *inode)
{
	struct mapping_stop stop = {.asked = ending, .context = fs};
	struct file *file = file_peek(inode);
	struct fd_use use = FD_USE_NONE;
	struct window_source source;

	/* First: what becomes due meanwhile is for the next time. */
	atomic_store(&file->work_queued, false);
	if (pager_source(fs, inode, file, &use, &source) == 0) {
		atomic_store(&file->locked_size, source.size);
		mapping_work(&file->mapping, &source, &stop);
		say_huge(fs, inode, file, &source);
	}
	pager_source_end(fs, inode, file, &use);
	inode_unref(fs, inode);
}

void pager_work_off(struct fs *fs)
{
	struct inode *inode;

	while ((inode = pager_take(fs)) != NULL)
		pager_work(fs, inode);
}

void pager_idle(struct fs *fs)
{
	const struct mapping_errno *row;
	struct timespec now;
	int refused = 0;

	clock_gettime(CLOCK_MONOTONIC, &now);
	window_cache_idle(&fs->windows, (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000,
			  &refused);
	if (refused == 0)
		return;
	row = mapping_errno_find(CALL_MADVISE, refused);
	if (mapping_errno_first(&fs->windows.said, row))
		log_warning("idle: madvise of an untouched window: %s", row->message);
}

uint64_t pager_idle_interval_ms(struct fs *fs)
{
	uint64_t shortest = policy_idle_ms(fs);

	return shortest == 0 ? 0 : MIN(MAX(shortest / IDLE_PARTS, IDLE_MIN_MS), IDLE_MAX_MS);
}

void pager_reload(struct fs *fs)
{
	char *error = NULL;
	size_t count;
	int result = policy_reload(fs, &count, &error);

	if (result < 0) {
		log_error("%s; the rules stay as they were", error == NULL ? strerror(-result) : error);
		free(error);
		return;
	}
	pager_apply_all(fs);
	log_info("'%s': %zu rules are in force", fs->policies.rules_path, count);
}
