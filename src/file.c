/* SPDX-License-Identifier: MIT */
#include "file.h"

#include <errno.h>
#include <fcntl.h>

#include "fs.h"
#include "handle.h"
#include "inode.h"
#include "layer/serve.h"
#include "mapping/paging.h"
#include "mapping/sync.h"
#include "util.h"

/* A time stamp this fresh may stand for a later change as well, where the kernel's clock is coarse. */
#define RACY_NS INT64_C(20000000)
/* So long after a change by others was noticed every open drops the kernel's cache. */
#define FOREIGN_NS INT64_C(2000000000)
/* Nobody takes so long from an ESTALE to the second try. */
#define TOLD_MS 10000

struct file *file_peek(struct inode *inode)
{
	return atomic_load_explicit(&inode->file, memory_order_acquire);
}

int file_get(struct fs *fs, struct inode *inode, struct file **ret_file)
{
	struct file *file = file_peek(inode), *fresh;

	if (file == NULL) {
		fresh = calloc(1, sizeof(*fresh));
		if (fresh == NULL)
			return -ENOMEM;
		mapping_init(&fresh->mapping, &fs->windows);
		mapping_set_paging(&fresh->mapping, &fs->policies.mount.paging);
		fresh->inode = inode;
		atomic_init(&fresh->policy, &fs->policies.mount);
		pthread_mutex_init(&fresh->lock, NULL);
		if (atomic_compare_exchange_strong(&inode->file, &file, fresh))
			file = fresh;
		else
			file_free(fs, fresh);
	}
	*ret_file = file;
	return 0;
}

const struct policy *file_policy(const struct file *file)
{
	return atomic_load_explicit(&file->policy, memory_order_acquire);
}

void file_free(struct fs *fs, struct file *file)
{
	if (file == NULL)
		return;
	/* What could not be synced and is out of reach now. */
	atomic_fetch_sub(&fs->dirty_bytes, (int64_t)mapping_dirty_bytes(&file->mapping));
	for (struct lock_owner *owner = file->lock_owners, *next; owner != NULL; owner = next) {
		next = owner->next;
		close(owner->fd);
		free(owner);
	}
	mapping_fini(&file->mapping);
	free(atomic_load(&file->shared));
	free(file->lost);
	free(file->told);
	pthread_mutex_destroy(&file->lock);
	free(file);
}

void file_open(struct file *file, struct handle *handle)
{
	LOCK_SCOPE(&file->lock);
	atomic_fetch_add(&file->openers, 1);
	if (handle_writes(handle))
		atomic_fetch_add(&file->writers, 1);
	/* An error that nobody has heard of yet concerns this handle too. */
	atomic_store(&handle->error_seen, atomic_load(&file->error_sequence) - (file->error_unheard ? 1 : 0));
}

/* In a LAYER_SERVE_SCOPE() that began before file->lock was taken: opening the inode asks for it. */
static void drop_writing_locked(struct fs *fs, struct inode *inode, struct file *file)
{
	if (atomic_load(&file->writers) > 0)
		return;
	mapping_drop(&file->mapping, true);
	/* Whoever still reads was served by the descriptor that goes; BACKING may have removed the name. */
	if (file_may_be_open(file))
		inode_hold(fs, inode);
	fd_slot_close(&fs->fds, &inode->slots[FD_WRITE]);
}

void file_drop_writing(struct fs *fs, struct inode *inode, struct file *file)
{
	LAYER_SERVE_SCOPE(fs);
	LOCK_SCOPE(&file->lock);
	drop_writing_locked(fs, inode, file);
}

void file_close(struct fs *fs, struct inode *inode, struct file *file, struct handle *handle)
{
	LAYER_SERVE_SCOPE(fs);
	LOCK_SCOPE(&file->lock);
	atomic_fetch_sub(&file->openers, 1);
	if (!handle_writes(handle))
		return;
	atomic_fetch_sub(&file->writers, 1);
	drop_writing_locked(fs, inode, file);
}

void file_add_writer(struct file *file)
{
	LOCK_SCOPE(&file->lock);
	atomic_fetch_add(&file->writers, 1);
}

void file_remove_writer(struct fs *fs, struct inode *inode, struct file *file)
{
	LAYER_SERVE_SCOPE(fs);
	LOCK_SCOPE(&file->lock);
	atomic_fetch_sub(&file->writers, 1);
	drop_writing_locked(fs, inode, file);
}

/* From @before to @after, which may lie on two sides of a wrap. */
static int64_t elapsed_ns(int64_t before, int64_t after)
{
	return (int64_t)((uint64_t)after - (uint64_t)before);
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return timespec_ns(&now);
}

static void remember_locked(struct file *file, const struct stat *now)
{
	file->seen = true;
	file->suspect = false;
	file->seen_size = now->st_size;
	file->seen_mtime_ns = timespec_ns(&now->st_mtim);
	file->seen_ctime_ns = timespec_ns(&now->st_ctim);
	file->seen_racy = elapsed_ns(file->seen_mtime_ns, clock_ns(CLOCK_REALTIME_COARSE)) < RACY_NS;
}

static bool differs_locked(const struct file *file, const struct stat *now)
{
	return file->seen && file->changes == 0 &&
	       (file->seen_size != now->st_size || file->seen_mtime_ns != timespec_ns(&now->st_mtim));
}

static bool changed_by_others_locked(struct file *file, const struct stat *now)
{
	bool changed = differs_locked(file, now);

	if (changed) {
		file->foreign = true;
		file->foreign_ns = clock_ns(CLOCK_MONOTONIC);
	}
	/* What others write while the mount writes too cannot be told from the mount's own: once they
	 * have been noticed, they are taken to go on for a while. */
	return changed || file_is_contended(file);
}

/* Was the caller told of a change just before? Then this is its second try. */
static bool was_told_locked(struct file *file, pid_t caller)
{
	for (int i = 0; file->told != NULL && i < FILE_TOLD; i++) {
		if (file->told[i].pid == caller) {
			file->told[i].pid = 0;
			return true;
		}
	}
	return false;
}

/* Makes a note that the caller is being told; false where there is no room for one. */
static bool note_told_locked(struct file *file, pid_t caller)
{
	uint32_t now = (uint32_t)(clock_ns(CLOCK_MONOTONIC) / 1000000);

	if (file->told == NULL)
		file->told = calloc(FILE_TOLD, sizeof(*file->told));
	if (file->told == NULL)
		return false;
	for (int i = 0; i < FILE_TOLD; i++) {
		/* Whoever does not come back for so long was ended in between. */
		if (file->told[i].pid == 0 || now - file->told[i].ms > TOLD_MS) {
			file->told[i].pid = caller;
			file->told[i].ms = now;
			return true;
		}
	}
	return false;
}

enum cache_verdict file_cache_judge(struct file *file, int fd, bool writes, pid_t caller)
{
	bool others_write, told, tell, valid;
	struct stat now;

	/* Looked at under the lock: a change of the mount's own that ended in between would pass for one
	 * of somebody else. */
	LOCK_SCOPE(&file->lock);
	told = was_told_locked(file, caller);
	if (fstat(fd, &now) < 0)
		return VERDICT_DROP;
	others_write = atomic_load(&file->writers) > (writes ? 1 : 0) || file->changes > 0;
	valid = !changed_by_others_locked(file, &now) && !file->foreign;
	if (told)
		file->telling = file->foreign;
	tell = (file->foreign || file->telling) && !told && note_told_locked(file, caller);
	file->telling |= tell;
	file->foreign = false;
	/* Not a sure sign of a change, or none of its bytes: heeded where dropping is without danger. */
	if (valid && !others_write)
		valid = file->seen && !file->seen_racy && file->seen_ctime_ns == timespec_ns(&now.st_ctim);
	if (file->changes == 0)
		remember_locked(file, &now);
	return tell ? VERDICT_TELL : valid ? VERDICT_KEEP : VERDICT_DROP;
}

/* Time stamps that could have stood for a later change as well, and have become old enough to tell. */
static bool is_unsettled_locked(const struct file *file, const struct timespec *mtime, bool sure)
{
	return !sure && file->seen_racy &&
	       elapsed_ns(timespec_ns(mtime), clock_ns(CLOCK_REALTIME_COARSE)) >= RACY_NS;
}

bool file_cache_suspect(struct file *file, off_t size, const struct timespec *mtime, bool reads, bool sure)
{
	LOCK_SCOPE(&file->lock);
	/* A change of the mount's own says what the file is like when it ends. */
	if (file->changes > 0 || (!file->seen && !reads))
		return false;
	return !file->seen || file->foreign || file->seen_size != size ||
	       file->seen_mtime_ns != timespec_ns(mtime) || is_unsettled_locked(file, mtime, sure);
}

bool file_is_seen(struct file *file)
{
	LOCK_SCOPE(&file->lock);
	return file->seen;
}

bool file_cache_settle(struct file *file, int fd, bool sure)
{
	struct stat now;
	bool changed;

	/* Under the lock: what was seen before may be older than a change of the mount's own. */
	LOCK_SCOPE(&file->lock);
	if (file->changes > 0 || fstat(fd, &now) < 0)
		return false;
	changed = differs_locked(file, &now);
	if (changed)
		changed_by_others_locked(file, &now);
	changed |= file->seen && (file->foreign || is_unsettled_locked(file, &now.st_mtim, sure));
	file->foreign = false;
	remember_locked(file, &now);
	return changed;
}

void file_note_event(struct fs *fs, struct inode *inode, struct file *file)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct stat now;

	if (inode_fd(fs, inode, FD_PATH, &use) < 0)
		return;
	LOCK_SCOPE(&file->lock);
	file->foreign_ns = clock_ns(CLOCK_MONOTONIC);
	/* What is read from here on is at least as new as this. */
	if (file->seen && file->changes == 0 && fstat(use.fd, &now) == 0)
		remember_locked(file, &now);
}

bool file_is_contended(const struct file *file)
{
	int64_t noticed = atomic_load_explicit(&file->foreign_ns, memory_order_relaxed);

	return noticed != 0 && elapsed_ns(noticed, clock_ns(CLOCK_MONOTONIC)) < FOREIGN_NS;
}

void file_note_foreign(struct file *file)
{
	LOCK_SCOPE(&file->lock);
	file->foreign_ns = clock_ns(CLOCK_MONOTONIC);
}

bool file_recheck(struct file *file, int fd)
{
	struct stat now;
	bool overlapped;

	LOCK_SCOPE(&file->lock);
	if (!file->seen || file->changes > 0 || fstat(fd, &now) < 0)
		return false;
	/*
	 * A store by others through a mapping raises no event, and while the mount wrote its time stamp passed
	 * for the mount's own. Files that others never changed are spared the drop.
	 */
	overlapped = file->foreign_ns != 0 && is_unsettled_locked(file, &now.st_mtim, false);
	if (!differs_locked(file, &now) && !file->foreign && !overlapped) {
		file->suspect = false;
		return false;
	}
	file->suspect = !file->suspect;
	if (file->suspect)
		return false;
	changed_by_others_locked(file, &now);
	file->foreign = false;
	remember_locked(file, &now);
	return true;
}

const struct stat *file_change_begin(struct file *file, int fd, struct stat *ret_info)
{
	bool looked;

	LOCK_SCOPE(&file->lock);
	looked = file->changes == 0 && file->seen && fd >= 0 && fstat(fd, ret_info) == 0;
	if (looked)
		changed_by_others_locked(file, ret_info);
	file->changes++;
	return looked ? ret_info : NULL;
}

void file_change_end(struct file *file, int fd)
{
	struct stat now;

	LOCK_SCOPE(&file->lock);
	if (--file->changes == 0 && file->seen && fd >= 0 && fstat(fd, &now) == 0)
		remember_locked(file, &now);
}

/* Without memory the log line is all that tells the range. */
static void note_lost_locked(struct file *file, int error, const struct extent *extent)
{
	struct lost_ranges *lost = file->lost;
	struct lost_range *last;

	if (extent->end <= extent->start)
		return;
	if (lost == NULL)
		lost = file->lost = calloc(1, sizeof(*lost));
	if (lost == NULL)
		return;
	if (lost->count < LOST_RANGES) {
		lost->ranges[lost->count++] = (struct lost_range){*extent, error};
		return;
	}
	last = &lost->ranges[LOST_RANGES - 1];
	last->extent.start = MIN(last->extent.start, extent->start);
	last->extent.end = MAX(last->extent.end, extent->end);
	last->error = error;
}

void file_lost(struct file *file, struct lost_ranges *ret_lost)
{
	LOCK_SCOPE(&file->lock);
	if (file->lost != NULL)
		*ret_lost = *file->lost;
	else
		ret_lost->count = 0;
}

void file_error_record(struct file *file, int error, const struct extent *extent)
{
	LOCK_SCOPE(&file->lock);
	note_lost_locked(file, error, extent);
	file->error = error;
	file->error_unheard = true;
	atomic_fetch_add(&file->error_sequence, 1);
}

int file_error_check(struct file *file, struct handle *handle, bool consume)
{
	uint64_t sequence = atomic_load(&file->error_sequence);

	if (atomic_load(&handle->error_seen) == sequence)
		return 0;
	LOCK_SCOPE(&file->lock);
	if (consume) {
		atomic_store(&handle->error_seen, atomic_load(&file->error_sequence));
		file->error_unheard = false;
	}
	free(file->lost);
	file->lost = NULL;
	return -file->error;
}

static uint32_t current_second(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint32_t)now.tv_sec;
}

/*
 * Whoever finds that a new second has begun moves the counts on. What others count between its steps may
 * land in the neighbouring second: the rate is for people to look at.
 */
void file_count_io(struct file *file, uint64_t bytes, bool written)
{
	uint32_t now = current_second();
	uint32_t second = atomic_load_explicit(&file->io_second, memory_order_relaxed);

	atomic_fetch_add_explicit(written ? &file->written_bytes : &file->read_bytes, bytes,
				  memory_order_relaxed);
	if (second != now && atomic_compare_exchange_strong(&file->io_second, &second, now)) {
		uint64_t before = atomic_exchange_explicit(&file->io_now, 0, memory_order_relaxed);

		atomic_store_explicit(&file->io_before, second + 1 == now ? before : 0, memory_order_relaxed);
	}
	atomic_fetch_add_explicit(&file->io_now, bytes, memory_order_relaxed);
}

uint64_t file_io_rate(struct file *file)
{
	uint32_t age = current_second() - atomic_load(&file->io_second);

	if (age == 0)
		return atomic_load(&file->io_before);
	return age == 1 ? atomic_load(&file->io_now) : 0;
}
