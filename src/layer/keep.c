/* SPDX-License-Identifier: MIT */
/*
 * Happy path of a sync: the page set of the node is taken, its page file is synced, the set goes into the record,
 * the database commits into its log, the log is synced. A crash at any point leaves a database that names only
 * pages that are there: those of the last commit, as what they may be overwritten with since is never given
 * back before the next.
 *
 * Failure modes: the disk is full or fails while the database commits. Its changes stay to be committed later,
 * and the caller hears of it; unless SQLite had to give the transaction up, or the log cannot be synced: what would
 * be committed after that could not be read behind a part that is missing. Then the layer is as of its last commit on
 * the disk, and nothing is committed any more, as it would be half of what was promised.
 */
#include "layer/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "fs.h"
#include "layer/layer.h"
#include "layer/stack.h"
#include "log.h"
#include "util.h"

/* Bytes of the disk that pages leave to the database, or a sixteenth of a small disk. */
#define DATABASE_ROOM (UINT64_C(16) << 20)

struct layer_removal {
	struct layer_removal *next;
	uint64_t id;
};

uint64_t keep_device(const struct fs *fs, uint64_t dev)
{
	return dev == 0 ? fs->root_dev : dev == fs->root_dev ? 0 : dev;
}

/* Is the layer as a daemon has closed it? */
static bool was_closed(struct layer_db *db)
{
	CLEANUP(free_pointer) void *clean = NULL;

	return db_fact_get(db, FACT_CLEAN, &clean) == 1 && *(char *)clean == '1';
}

/* Whoever opens it next looks for strays unless this says that there are none. */
static int put_clean_locked(struct layer *layer, bool closed)
{
	return db_fact_put(layer->db, FACT_CLEAN, closed && !layer->strays ? "1" : "0", 1);
}

/* Nodes that had lost their last name and were open. */
static int clear_nameless(struct layer *layer)
{
	uint64_t id;
	int result;

	while ((result = db_nameless(layer->db, &id)) == 0 && id != 0) {
		result = db_node_delete(layer->db, id);
		if (result < 0)
			return result;
		store_remove(&layer->store, id);
	}
	return result;
}

/* Looked at before anything is made there. */
static int lies_in_backing(struct fs *fs, const char *path, char **ret_error)
{
	CLEANUP(free_pointer) char *copy = strdup(path);
	CLEANUP(close_fd) int fd = -1;

	if (copy == NULL)
		return -ENOMEM;
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		fd = open(dirname(copy), O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || !fs_walk_contains(fs, fd))
		return 0;
	return home_refuse(ret_error, -EINVAL, "layer '%s' lies in BACKING, which a layer must not change",
			   path);
}

char *keep_holder(const struct fs *fs)
{
	char *holder;
	int length =
		fs->offline ? asprintf(&holder, "process %d", (int)getpid())
			    : asprintf(&holder, "process %d, mounted on '%s'", (int)getpid(), fs->mount_path);

	return length < 0 ? NULL : holder;
}

int keep_open(struct fs *fs, const char *path, char **ret_error)
{
	struct layer *layer = fs->layer;
	struct home *home = &layer->home;
	CLEANUP(free_pointer) char *holder = keep_holder(fs);
	struct db_totals totals;
	int result;

	layer->kept = true;
	if (holder == NULL)
		return -ENOMEM;
	result = lies_in_backing(fs, path, ret_error);
	if (result == 0)
		result = home_open(path, holder, home, ret_error);
	if (result == 0)
		result = stack_check_backing(fs, home, true, ret_error);
	if (result == 0)
		result = stack_open(fs, home, ret_error);
	layer->db = home->db;
	home->db = NULL;
	if (result < 0)
		return result;
	store_open_directory(&layer->store, home->pages);
	home->pages = -1;
	layer->strays = !was_closed(layer->db);
	result = clear_nameless(layer);
	if (result == 0)
		result = db_totals(layer->db, home->first, HOME_IDS, &totals);
	if (result == 0)
		result = put_clean_locked(layer, false);
	if (result < 0)
		return result;
	layer->next_id = totals.last_id + 1;
	layer->generation = home->generation;
	atomic_store(&layer->origins, totals.origins);
	atomic_store(&layer->page_count, totals.pages);
	layer->opened = true;
	return 0;
}

int keep_opened(struct fs *fs)
{
	struct layer *layer = fs->layer;
	int result = keep_commit(fs);

	/* Only what the mount changes from here on makes another layer of it. */
	LOCK_SCOPE(&layer->lock);
	layer->counting = layer->kept;
	return result;
}

int keep_backing(const char *path, char **ret_backing, char **ret_error)
{
	CLEANUP(home_close) struct home home = HOME_NONE;
	void *backing = NULL;
	char holder[32];
	int result;

	snprintf(holder, sizeof(holder), "process %d", (int)getpid());
	result = home_open_shared(path, holder, &home, ret_error);
	if (result == 0 && db_fact_get(home.db, FACT_PATH, &backing) < 0)
		result = home_refuse(ret_error, -EUCLEAN, "layer '%s' does not say which BACKING it is of",
				     path);
	*ret_backing = backing;
	return result;
}

static void free_removals(struct layer *layer, struct layer_removal *removals, bool remove)
{
	for (struct layer_removal *next; removals != NULL; removals = next) {
		next = removals->next;
		if (remove)
			store_remove(&layer->store, removals->id);
		free(removals);
	}
}

void keep_closing(struct fs *fs)
{
	struct layer *layer = fs->layer;

	if (layer->opened && !atomic_load(&layer->failed)) {
		/* That it is closed as it should be changes nothing that others could see. */
		layer->counting = layer->counting && db_has_changes(layer->db);
		put_clean_locked(layer, true);
		if (keep_commit(fs) < 0)
			log_error("close layer '%s': the last commit failed", fs->options.layer);
	}
	/* Strays for the next who opens it. */
	free_removals(layer, layer->removals, false);
	layer->removals = NULL;
}

bool keep_has_room(const struct fs *fs, uint64_t bytes)
{
	struct statvfs info;
	uint64_t left;

	if (!fs->layer->kept || bytes == 0 || fstatvfs(fs->layer->home.directory, &info) < 0)
		return true;
	left = MIN(DATABASE_ROOM, (uint64_t)info.f_blocks * info.f_frsize / 16);
	return (uint64_t)info.f_bavail * info.f_frsize >= bytes + left;
}

int keep_sync_pages(struct fs *fs, struct inode *inode, struct node *node)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	int result;

	if (!fs->layer->kept)
		return 0;
	result = layer_page_file(fs, inode, node, false, &use);
	if (result < 0)
		return result == -ENOENT ? 0 : result;
	if (fdatasync(use.fd) < 0)
		return -errno;
	return store_sync_names(&fs->layer->store);
}

void keep_remove_locked(struct fs *fs, uint64_t id)
{
	struct layer *layer = fs->layer;
	struct layer_removal *removal = layer->kept ? malloc(sizeof(*removal)) : NULL;

	if (!layer->kept) {
		store_remove(&layer->store, id);
	} else if (removal != NULL) {
		*removal = (struct layer_removal){layer->removals, id};
		layer->removals = removal;
	} else {
		/* Without memory it is a stray for the next mount, and must not be taken for one before. */
		layer->strays = true;
		atomic_store(&layer->sweep.stop, true);
	}
}

bool keep_is_going_locked(const struct layer *layer, uint64_t id)
{
	const struct layer_removal *removal = layer->removals;

	while (removal != NULL && removal->id != id)
		removal = removal->next;
	return removal != NULL;
}

/* Still to be removed, with the next. */
static void put_removals_back(struct layer *layer, struct layer_removal *removals)
{
	LOCK_SCOPE(&layer->lock);
	for (struct layer_removal *next; removals != NULL; removals = next) {
		next = removals->next;
		removals->next = layer->removals;
		layer->removals = removals;
	}
}

/* What was committed when nothing more can be. */
static int give_up(struct fs *fs, const char *why)
{
	if (!atomic_exchange(&fs->layer->failed, true))
		log_error("layer '%s': %s; changes since its last commit are lost when this mount ends",
			  fs->options.layer, why);
	return -EIO;
}

/* commit_lock is held. */
static int sync_log(struct fs *fs)
{
	struct layer *layer = fs->layer;
	CLEANUP(close_fd) int fd = -1;

	if (!layer->unsynced)
		return 0;
	fd = openat(layer->home.directory, HOME_DATABASE_LOG, O_RDONLY | O_CLOEXEC);
	/* There is none after all of it went into the database, which was synced then. */
	if (fd < 0 && errno != ENOENT)
		return -errno;
	/* The kernel tells once, and has nothing to write then. */
	if (fd >= 0 && fdatasync(fd) < 0) {
		LOCK_SCOPE(&layer->lock);
		db_give_up(layer->db);
		return give_up(fs, "its log cannot be synced");
	}
	layer->unsynced = false;
	return 0;
}

/* What lies over this layer must learn that it was changed. */
static int count_generation(struct layer *layer)
{
	int result;

	if (!layer->counting || !db_has_changes(layer->db))
		return 0;
	result = home_number_put(layer->db, FACT_GENERATION, layer->generation + 1);
	layer->counting = result < 0;
	layer->generation += result == 0;
	return result;
}

int keep_settle_locked(struct fs *fs)
{
	struct layer *layer = fs->layer;
	bool changed;
	int result = atomic_load(&layer->failed) ? -EIO : count_generation(layer);

	if (result == 0)
		result = put_clean_locked(layer, true);
	if (result == 0)
		result = db_commit(layer->db, &changed);
	if (result == 0) {
		result = db_settle(layer->db);
		layer->unsynced = result < 0;
	}
	if (result == 0) {
		free_removals(layer, layer->removals, true);
		layer->removals = NULL;
	}
	return db_is_lost(layer->db) ? give_up(fs, "the database failed") : result;
}

void keep_unsettle_locked(struct fs *fs)
{
	put_clean_locked(fs->layer, false);
}

int keep_commit(struct fs *fs)
{
	struct layer *layer = fs->layer;
	struct layer_removal *removals;
	bool changed = false;
	int result;

	if (!layer->kept)
		return 0;
	LOCK_SCOPE(&layer->commit_lock);
	if (atomic_load(&layer->failed))
		return -EIO;
	pthread_mutex_lock(&layer->lock);
	removals = layer->removals;
	layer->removals = NULL;
	result = count_generation(layer);
	if (result == 0)
		result = db_commit(layer->db, &changed);
	if (db_is_lost(layer->db))
		result = give_up(fs, "the database failed");
	pthread_mutex_unlock(&layer->lock);
	layer->unsynced = layer->unsynced || changed;
	if (result == 0)
		result = sync_log(fs);
	if (result == 0)
		free_removals(layer, removals, true);
	else
		put_removals_back(layer, removals);
	return result;
}

/* Gives back what of the page file is no data, neither now nor in the record, which is on the disk as of a version. */
static void tighten(struct fs *fs, struct inode *inode, struct node *node, uint64_t version)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	off_t at = 0, end;

	pthread_rwlock_wrlock(&node->lock);
	if (node->loose && !node->unsaved && atomic_load(&node->version) == version &&
	    layer_page_file(fs, inode, node, false, &use) == 0) {
		while ((at = lseek(use.fd, at, SEEK_DATA)) >= 0 &&
		       (end = lseek(use.fd, at, SEEK_HOLE)) > at) {
			while (at < end) {
				enum page_kind kind;
				off_t next =
					(off_t)pages_run(&node->pages, (uint64_t)at, (uint64_t)end, &kind);

				if (kind != PAGES_DATA &&
				    fallocate(use.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at,
					      next - at) < 0) {
					/* It stays where it is, and nobody reads it. */
				}
				at = next;
			}
		}
		node->loose = false;
	}
	pthread_rwlock_unlock(&node->lock);
}

int keep_sync(struct fs *fs, struct inode *inode)
{
	struct node *node = layer_peek(inode);
	uint64_t version = node == NULL ? 0 : atomic_load(&node->version);
	int result = 0;

	if (!fs->layer->kept)
		return 0;
	if (node != NULL)
		result = layer_save(fs, inode, node);
	if (result == 0)
		result = keep_commit(fs);
	if (result == 0 && node != NULL)
		tighten(fs, inode, node, version);
	return result;
}
