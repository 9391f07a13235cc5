/* SPDX-License-Identifier: MIT */
#include "listing.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "control_protocol.h"
#include "file.h"
#include "fs.h"
#include "inode.h"
#include "json_name.h"
#include "mapping/lock.h"
#include "mapping/residency.h"
#include "mapping/sync.h"

#define ROWS_MAX 200
#define PARTS_MAX 512
#define RUNS_MAX 512
/* An answer's last brackets have to fit behind its last row. */
#define ANSWER_SIZE (CONTROL_TEXT_SIZE - 64)

enum measure { BY_IO, BY_MAPPED, BY_RESIDENT, BY_DIRTY, BY_LOCKED };
static const char *const measure_names[] = {"io", "mapped", "resident", "dirty", "locked"};

struct row {
	struct inode *inode; /* holds a reference */
	uint64_t key, tie;
	uint64_t rate, read_bytes, written_bytes, mapped, resident, dirty, locked;
	unsigned openers;
};

struct listing {
	struct fs *fs;
	enum measure measure;
	size_t wanted;
	bool everything; /* not only the asker's own files */
	uid_t uid;
	size_t files;
	size_t count; /* of rows, the first by key first */
	struct row rows[ROWS_MAX];
};

__attribute__((format(printf, 2, 3))) static int refuse(char **ret_reply, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(ret_reply, format, arguments) < 0)
		*ret_reply = NULL;
	va_end(arguments);
	return -EINVAL;
}

/* Up to three numbers with colons between them; false for anything else. */
static bool parse_numbers(const char *value, uint64_t *numbers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char *end;

		if (*value < '0' || *value > '9')
			return false;
		errno = 0;
		numbers[i] = strtoull(value, &end, 10);
		if (errno != 0 || *end != (i + 1 < count ? ':' : '\0'))
			return false;
		value = end + 1;
	}
	return true;
}

static int inode_stat(struct fs *fs, struct inode *inode, struct stat *ret_info)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	int result = inode_fd(fs, inode, FD_PATH, &use);

	return result < 0 ? result : fstat(use.fd, ret_info) < 0 ? -errno : 0;
}

static uint64_t cached_bytes(struct fs *fs, struct inode *inode)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct residency residency = {0};
	struct stat info;

	if (inode_fd(fs, inode, FD_READ, &use) == 0 && fstat(use.fd, &info) == 0)
		residency_count(use.fd, 0, (uint64_t)info.st_size, &residency);
	return residency.cached;
}

static void row_measure(struct listing *listing, struct inode *inode, struct row *row)
{
	struct file *file = file_peek(inode);
	size_t windows;

	*row = (struct row){.inode = inode, .openers = atomic_load(&file->openers)};
	row->rate = file_io_rate(file);
	row->read_bytes = atomic_load_explicit(&file->read_bytes, memory_order_relaxed);
	row->written_bytes = atomic_load_explicit(&file->written_bytes, memory_order_relaxed);
	mapping_usage(&file->mapping, &windows, &row->mapped);
	row->dirty = mapping_dirty_bytes(&file->mapping);
	row->locked = mapping_locked(&file->mapping);
	row->tie = row->read_bytes + row->written_bytes;
	switch (listing->measure) {
	case BY_IO:
		row->key = row->rate;
		break;
	case BY_MAPPED:
		row->key = row->mapped;
		break;
	case BY_RESIDENT:
		row->key = row->resident = cached_bytes(listing->fs, inode);
		break;
	case BY_DIRTY:
		row->key = row->dirty;
		break;
	case BY_LOCKED:
		row->key = row->locked;
		break;
	}
}

static bool comes_before(const struct row *a, const struct row *b)
{
	return a->key != b->key ? a->key > b->key : a->tie > b->tie;
}

/* Takes the reference over, or gives it back. */
static void listing_offer(struct listing *listing, struct inode *inode)
{
	struct row row;
	struct stat info;
	size_t at;

	if (!listing->everything &&
	    (inode_stat(listing->fs, inode, &info) < 0 || info.st_uid != listing->uid)) {
		inode_unref(listing->fs, inode);
		return;
	}
	listing->files++;
	row_measure(listing, inode, &row);
	for (at = listing->count; at > 0 && comes_before(&row, &listing->rows[at - 1]); at--)
		continue;
	if (at >= listing->wanted) {
		inode_unref(listing->fs, inode);
		return;
	}
	if (listing->count == listing->wanted)
		inode_unref(listing->fs, listing->rows[--listing->count].inode);
	memmove(&listing->rows[at + 1], &listing->rows[at], (listing->count - at) * sizeof(row));
	listing->rows[at] = row;
	listing->count++;
}

static int listing_collect(struct listing *listing)
{
	for (unsigned shard = 0; shard < INODE_SHARDS; shard++) {
		CLEANUP(free_pointer) struct inode **inodes = NULL;
		size_t count = inode_hold_files(&listing->fs->inodes.by_id[shard], &inodes);

		if (inodes == NULL)
			return -ENOMEM;
		for (size_t i = 0; i < count; i++)
			listing_offer(listing, inodes[i]);
	}
	return 0;
}

static json_t *path_string(const struct fs *fs, struct inode *inode)
{
	CLEANUP(free_pointer) char *name = inode_name((struct fs *)fs, inode);
	size_t skip = strlen(fs->backing_path);

	if (name == NULL)
		return json_string("?");
	/* Relative to the mount; BACKING may be "/". */
	skip = strncmp(name, fs->backing_path, skip) == 0 ? skip : 0;
	skip += name[skip] == '/';
	return json_name(name + skip);
}

static char *row_print(struct listing *listing, struct row *row)
{
	json_t *object;
	char *text;

	if (listing->measure != BY_RESIDENT)
		row->resident = cached_bytes(listing->fs, row->inode);
	object = json_pack("{so sI sI sI sI sI sI sI sI}", "path", path_string(listing->fs, row->inode),
			   "open", (json_int_t)row->openers, "rate", (json_int_t)row->rate, "read_bytes",
			   (json_int_t)row->read_bytes, "written_bytes", (json_int_t)row->written_bytes,
			   "mapped", (json_int_t)row->mapped, "resident", (json_int_t)row->resident, "dirty",
			   (json_int_t)row->dirty, "locked", (json_int_t)row->locked);
	text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return text;
}

static int listing_print(struct listing *listing, char **ret_reply)
{
	char *reply = malloc(CONTROL_TEXT_SIZE);
	size_t length;

	if (reply == NULL)
		return -ENOMEM;
	length = (size_t)sprintf(reply, "{\"files\":%zu,\"rows\":[", listing->files);
	for (size_t i = 0; i < listing->count; i++) {
		CLEANUP(free_pointer) char *text = row_print(listing, &listing->rows[i]);

		if (text == NULL || length + strlen(text) >= ANSWER_SIZE)
			break;
		length += (size_t)sprintf(reply + length, "%s%s", i > 0 ? "," : "", text);
	}
	sprintf(reply + length, "]}");
	*ret_reply = reply;
	return 0;
}

static int listing_parse(struct listing *listing, const char *value, char **ret_reply)
{
	size_t length = strcspn(value, ":");
	uint64_t wanted = ROWS_MAX;

	for (size_t i = 0; i < ARRAY_LENGTH(measure_names); i++) {
		if (strlen(measure_names[i]) != length || strncmp(measure_names[i], value, length) != 0)
			continue;
		listing->measure = (enum measure)i;
		if (value[length] != '\0' && (!parse_numbers(value + length + 1, &wanted, 1) || wanted == 0))
			return refuse(ret_reply, "'%s' is no number of files", value + length + 1);
		listing->wanted = (size_t)MIN(wanted, ROWS_MAX);
		return 0;
	}
	return refuse(ret_reply, "'%.*s' is not possible: io, mapped, resident, dirty or locked", (int)length,
		      value);
}

int listing_files(struct fs *fs, const char *value, uid_t uid, char **ret_reply)
{
	CLEANUP(free_pointer) struct listing *listing = calloc(1, sizeof(*listing));
	struct stat root;
	int result;

	if (listing == NULL)
		return -ENOMEM;
	listing->fs = fs;
	listing->uid = uid;
	listing->everything = uid == 0 || uid == geteuid() ||
			      (inode_stat(fs, fs->root, &root) == 0 && root.st_uid == uid);
	result = listing_parse(listing, value, ret_reply);
	if (result < 0)
		return result;
	result = listing_collect(listing);
	if (result == 0)
		result = listing_print(listing, ret_reply);
	for (size_t i = 0; i < listing->count; i++)
		inode_unref(fs, listing->rows[i].inode);
	return result;
}

static int say_untold(int result, char **ret_reply)
{
	if (result == -EPERM)
		refuse(ret_reply, "the kernel tells residency only to who may write the file, and this "
				  "daemon may not");
	return result;
}

int listing_residency(struct fs *fs, struct inode *inode, const char *value, char **ret_reply)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct file *file = file_peek(inode);
	uint64_t numbers[3];
	char *reply;
	size_t length;
	int result;

	if (!parse_numbers(value, numbers, 3) || numbers[1] == 0 || numbers[1] % page_size() != 0 ||
	    numbers[2] > PARTS_MAX || numbers[0] > INT64_MAX ||
	    numbers[1] > (INT64_MAX - numbers[0]) / (numbers[2] + 1))
		return refuse(ret_reply, "'%s' is not OFFSET:BYTES:COUNT with at most %d parts", value,
			      PARTS_MAX);
	result = inode_fd(fs, inode, FD_READ, &use);
	if (result < 0)
		return result;
	/* Three numbers a part of at most 19 digits would fit only in theory; pages of RAM have far fewer. */
	reply = malloc(ANSWER_SIZE + 64);
	if (reply == NULL)
		return -ENOMEM;
	length = (size_t)sprintf(reply, "{\"parts\":[");
	for (uint64_t i = 0; i < numbers[2] && length < ANSWER_SIZE - 72; i++) {
		uint64_t offset = numbers[0] + i * numbers[1], locked;
		struct residency part;

		result = residency_count(use.fd, offset, numbers[1], &part);
		if (result < 0) {
			free(reply);
			return say_untold(result, ret_reply);
		}
		locked = file == NULL ? 0 : mapping_locked_in(&file->mapping, offset, numbers[1]);
		length += (size_t)sprintf(reply + length, "%s[%llu,%llu,%llu]", i > 0 ? "," : "",
					  (unsigned long long)(part.cached / page_size()),
					  (unsigned long long)((part.dirty + part.writeback) / page_size()),
					  (unsigned long long)(locked / page_size()));
	}
	sprintf(reply + length, "]}");
	*ret_reply = reply;
	return 0;
}

int listing_runs(struct fs *fs, struct inode *inode, const char *value, const struct mapping_stop *stop,
		 char **ret_reply)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct extent runs[RUNS_MAX];
	uint64_t numbers[2], next;
	size_t count, length, i;
	char *reply;
	int result;

	if (!parse_numbers(value, numbers, 2) || numbers[0] > INT64_MAX ||
	    numbers[1] > INT64_MAX - numbers[0])
		return refuse(ret_reply, "'%s' is not OFFSET:LENGTH", value);
	result = inode_fd(fs, inode, FD_READ, &use);
	if (result == 0)
		result = residency_runs(use.fd, numbers[0], numbers[1], stop, runs, RUNS_MAX, &count, &next);
	if (result < 0)
		return say_untold(result, ret_reply);
	reply = malloc(CONTROL_TEXT_SIZE);
	if (reply == NULL)
		return -ENOMEM;
	length = (size_t)sprintf(reply, "{\"runs\":[");
	for (i = 0; i < count && length < ANSWER_SIZE - 64; i++)
		length += (size_t)sprintf(reply + length, "%s[%llu,%llu]", i > 0 ? "," : "",
					  (unsigned long long)runs[i].start,
					  (unsigned long long)(runs[i].end - runs[i].start));
	/* Of a range up to the last byte that a file can have, the next page is past what JSON's readers take. */
	next = MIN(i < count ? runs[i].start : next, (uint64_t)INT64_MAX);
	sprintf(reply + length, "],\"next\":%llu}", (unsigned long long)next);
	*ret_reply = reply;
	return 0;
}
