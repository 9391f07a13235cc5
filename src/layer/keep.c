/* SPDX-License-Identifier: MIT */
/*
 * Happy path of a sync: the page set of the node is taken, its page file is synced, the set goes into the record,
 * the database commits into its log, the log is synced. A crash at any point leaves a database that names only
 * pages that are there: those of the last commit, as what they may be overwritten with since is never given
 * back before the next.
 *
 * Failure modes: the disk is full or fails while the database commits. Its changes stay to be committed later,
 * and the caller hears of it; unless SQLite had to give the transaction up. Then the layer is as of its last
 * commit on the disk, and nothing is committed any more, as it would be half of what was promised.
 */
#include "layer/keep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "fs.h"
#include "layer/layer.h"
#include "log.h"
#include "util.h"

#define DATABASE "layer.db"
#define DATABASE_LOG "layer.db-wal"
#define PAGES "pages"
#define LOCK "lock"

/* Bytes of the disk that pages leave to the database, or a sixteenth of a small disk. */
#define DATABASE_ROOM (UINT64_C(16) << 20)

/* Facts */
#define FACT_BACKING "backing" /* struct backing_fact */
#define FACT_PATH "path"       /* of BACKING when the layer was last opened */
#define FACT_CLEAN "clean"     /* 1: the last daemon has closed it */

struct layer_removal {
	struct layer_removal *next;
	uint64_t id;
};

/* What BACKING's root is known by. */
struct backing_fact {
	uint64_t ino;
	int64_t birth_ns;
};

__attribute__((format(printf, 3, 4))) static int refuse(char **ret_error, int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(ret_error, format, arguments) < 0)
		*ret_error = NULL;
	va_end(arguments);
	return error;
}

uint64_t keep_device(const struct fs *fs, uint64_t dev)
{
	if (!fs->layer->kept)
		return dev;
	return dev == 0 ? fs->root_dev : dev == fs->root_dev ? 0 : dev;
}

/* Who holds the layer says so in the lock file. */
static int take_lock(struct layer *layer, const char *path, const char *mount_path, char **ret_error)
{
	char holder[PATH_MAX + 64] = "";
	ssize_t length;

	layer->lock_fd = openat(layer->directory, LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (layer->lock_fd < 0)
		return refuse(ret_error, -errno, "cannot open the lock of layer '%s': %s", path,
			      strerror(errno));
	if (flock(layer->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		length = pread(layer->lock_fd, holder, sizeof(holder) - 1, 0);
		holder[MAX(length, 0)] = '\0';
		return refuse(ret_error, -EBUSY, "layer '%s' is in use by %s", path,
			      *holder == '\0' ? "another process" : holder);
	}
	length = mount_path == NULL ? snprintf(holder, sizeof(holder), "process %d", (int)getpid())
				    : snprintf(holder, sizeof(holder), "process %d, mounted on '%s'",
					       (int)getpid(), mount_path);
	if (ftruncate(layer->lock_fd, 0) < 0 || pwrite(layer->lock_fd, holder, (size_t)length, 0) < 0)
		return refuse(ret_error, -errno, "cannot write the lock of layer '%s': %s", path,
			      strerror(errno));
	return 0;
}

static int open_directory(struct layer *layer, const char *path, char **ret_error)
{
	layer->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (layer->directory < 0)
		return refuse(ret_error, -errno, "cannot open layer '%s': %s", path, strerror(errno));
	return 0;
}

static int make_directory(struct fs *fs, const char *path, char **ret_error)
{
	struct layer *layer = fs->layer;
	int result;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return refuse(ret_error, -errno, "cannot make layer '%s': %s", path, strerror(errno));
	result = open_directory(layer, path, ret_error);
	if (result < 0)
		return result;
	if (fs_walk_contains(fs, layer->directory))
		return refuse(ret_error, -EINVAL, "layer '%s' lies in BACKING, which a layer must not change",
			      path);
	return 0;
}

/* A directory without a database has nothing in it, or only what a daemon made that died before it got far. */
static int check_empty(const struct layer *layer, const char *path, char **ret_error)
{
	DIR *directory = fdopendir(openat(layer->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	const struct dirent *entry;
	int result = 0;

	if (directory == NULL)
		return refuse(ret_error, -errno, "cannot read layer '%s': %s", path, strerror(errno));
	while (result == 0 && (entry = readdir(directory)) != NULL) {
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, LOCK) != 0 &&
		    strcmp(entry->d_name, PAGES) != 0)
			result = refuse(ret_error, -ENOTEMPTY,
					"'%s' is no layer: it has no %s, but '%s' is in it", path, DATABASE,
					entry->d_name);
	}
	closedir(directory);
	return result;
}

static int open_database(struct layer *layer, const char *path, char **ret_error)
{
	char name[PATH_MAX + 32];
	int result = 0;

	if (faccessat(layer->directory, DATABASE, F_OK, 0) < 0)
		result = check_empty(layer, path, ret_error);
	if (result < 0)
		return result;
	snprintf(name, sizeof(name), "/proc/self/fd/%d/%s", layer->directory, DATABASE);
	result = db_open(name, &layer->db);
	if (result == -EPROTO && db_format() != 0)
		return refuse(ret_error, result, "layer '%s' has format %d, and this program knows format %d",
			      path, db_format(), DB_FORMAT);
	if (result == -EPROTO || result == -EUCLEAN)
		return refuse(ret_error, result, "'%s/%s' is not a layer's database, or is damaged", path,
			      DATABASE);
	if (result < 0)
		return refuse(ret_error, result, "cannot open '%s/%s': %s", path, DATABASE,
			      strerror(-result));
	return 0;
}

static int open_pages(struct layer *layer, const char *path, char **ret_error)
{
	int fd;

	if (mkdirat(layer->directory, PAGES, 0700) < 0 && errno != EEXIST)
		return refuse(ret_error, -errno, "cannot make '%s/%s': %s", path, PAGES, strerror(errno));
	fd = openat(layer->directory, PAGES, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return refuse(ret_error, -errno, "cannot open '%s/%s': %s", path, PAGES, strerror(errno));
	store_open_directory(&layer->store, fd);
	return fsync(layer->directory) < 0 ? -errno : 0;
}

/* A layer is of one BACKING: over another its records would mean other objects. */
static int check_backing(struct fs *fs, const char *path, char **ret_error)
{
	struct backing_fact now = {fs->root->key.ino, fs->root->key.birth_ns};
	CLEANUP(free_pointer) void *before = NULL;
	CLEANUP(free_pointer) void *where = NULL;
	struct layer_db *db = fs->layer->db;
	ssize_t size = db_fact_get(db, FACT_BACKING, &before);
	int result;

	if (size < 0 && size != -ENODATA)
		return (int)size;
	if (size == -ENODATA || (size == sizeof(now) && memcmp(before, &now, sizeof(now)) == 0)) {
		result = db_fact_put(db, FACT_BACKING, &now, sizeof(now));
		return result < 0 ? result
				  : db_fact_put(db, FACT_PATH, fs->backing_path, strlen(fs->backing_path));
	}
	return refuse(ret_error, -EXDEV, "layer '%s' belongs to another directory, which was '%s'", path,
		      db_fact_get(db, FACT_PATH, &where) < 0 ? "?" : (const char *)where);
}

static int remove_stray(void *context, uint64_t id)
{
	struct layer *layer = context;

	if (db_node_exists(layer->db, id) == -ENOENT)
		store_remove(&layer->store, id);
	return 0;
}

/* Nodes that had lost their last name and were open, and page files without a record. */
static int clear_strays(struct layer *layer)
{
	CLEANUP(free_pointer) void *clean = NULL;
	uint64_t id;
	int result;

	while ((result = db_nameless(layer->db, &id)) == 0 && id != 0) {
		result = db_node_delete(layer->db, id);
		if (result < 0)
			return result;
		store_remove(&layer->store, id);
	}
	if (result < 0 || (db_fact_get(layer->db, FACT_CLEAN, &clean) == 1 && *(char *)clean == '1'))
		return result;
	return store_each(&layer->store, remove_stray, layer);
}

int keep_open(struct fs *fs, const char *path, char **ret_error)
{
	struct layer *layer = fs->layer;
	struct db_totals totals;
	int result = make_directory(fs, path, ret_error);

	layer->kept = true;
	if (result == 0)
		result = take_lock(layer, path, fs->offline ? NULL : fs->mount_path, ret_error);
	if (result == 0)
		result = open_database(layer, path, ret_error);
	if (result == 0)
		result = open_pages(layer, path, ret_error);
	if (result == 0)
		result = check_backing(fs, path, ret_error);
	if (result == 0)
		result = clear_strays(layer);
	if (result == 0)
		result = db_totals(layer->db, &totals);
	if (result == 0)
		result = db_fact_put(layer->db, FACT_CLEAN, "0", 1);
	if (result < 0)
		return result;
	layer->next_id = totals.last_id + 1;
	atomic_store(&layer->origins, totals.origins);
	atomic_store(&layer->page_count, totals.pages);
	layer->opened = true;
	return keep_commit(fs);
}

int keep_backing(const char *path, char **ret_backing, char **ret_error)
{
	struct layer layer = {.directory = -1, .lock_fd = -1};
	void *backing = NULL;
	int result = open_directory(&layer, path, ret_error);

	if (result == 0 && faccessat(layer.directory, DATABASE, F_OK, 0) < 0)
		result = refuse(ret_error, -ENOTDIR, "'%s' is no layer: it has no %s", path, DATABASE);
	if (result == 0)
		result = take_lock(&layer, path, NULL, ret_error);
	if (result == 0)
		result = open_database(&layer, path, ret_error);
	if (result == 0 && db_fact_get(layer.db, FACT_PATH, &backing) < 0)
		result = refuse(ret_error, -EUCLEAN, "layer '%s' does not say which BACKING it is of", path);
	db_close(layer.db);
	close_fd(&layer.directory);
	close_fd(&layer.lock_fd);
	*ret_backing = backing;
	return result;
}

void keep_closing(struct fs *fs)
{
	struct layer *layer = fs->layer;

	if (!layer->opened || atomic_load(&layer->failed))
		return;
	db_fact_put(layer->db, FACT_CLEAN, "1", 1);
	if (keep_commit(fs) < 0)
		log_error("close layer '%s': the last commit failed", fs->options.layer);
}

bool keep_has_room(const struct fs *fs, uint64_t bytes)
{
	struct statvfs info;
	uint64_t left;

	if (!fs->layer->kept || bytes == 0 || fstatvfs(fs->layer->directory, &info) < 0)
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
	}
	/* Without memory it is a stray for the next mount after a crash. */
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

static int sync_log(const struct layer *layer)
{
	CLEANUP(close_fd) int fd = openat(layer->directory, DATABASE_LOG, O_RDONLY | O_CLOEXEC);

	/* There is none after all of it went into the database, which was synced then. */
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	return fdatasync(fd) < 0 ? -errno : 0;
}

/* What was committed when nothing more can be. */
static int give_up(struct fs *fs)
{
	if (!atomic_exchange(&fs->layer->failed, true))
		log_error("layer '%s': the database failed; what was changed since its last commit is lost "
			  "when "
			  "this mount ends",
			  fs->options.layer);
	return -EIO;
}

int keep_commit(struct fs *fs)
{
	struct layer *layer = fs->layer;
	struct layer_removal *removals;
	bool changed;
	int result;

	if (!layer->kept)
		return 0;
	LOCK_SCOPE(&layer->commit_lock);
	if (atomic_load(&layer->failed))
		return -EIO;
	pthread_mutex_lock(&layer->lock);
	removals = layer->removals;
	layer->removals = NULL;
	result = db_commit(layer->db, &changed);
	if (db_is_lost(layer->db))
		result = give_up(fs);
	if (result < 0) {
		/* Still to be removed, with the next. */
		while (removals != NULL) {
			struct layer_removal *next = removals->next;

			removals->next = layer->removals;
			layer->removals = removals;
			removals = next;
		}
	}
	pthread_mutex_unlock(&layer->lock);
	if (result == 0 && changed)
		result = sync_log(layer);
	free_removals(layer, removals, result == 0);
	return result;
}

/* Gives back what of the page file is no data, neither now nor in the record. */
static void tighten(struct fs *fs, struct inode *inode, struct node *node)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	off_t at = 0, end;

	pthread_rwlock_wrlock(&node->lock);
	if (node->loose && !node->unsaved && layer_page_file(fs, inode, node, false, &use) == 0) {
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
	int result = 0;

	if (!fs->layer->kept)
		return 0;
	if (node != NULL)
		result = layer_save(fs, inode, node);
	if (result == 0)
		result = keep_commit(fs);
	if (result == 0 && node != NULL && node->loose)
		tighten(fs, inode, node);
	return result;
}
