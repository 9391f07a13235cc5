/* SPDX-License-Identifier: MIT */
#include "stats.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

#include "control_pages.h"
#include "file.h"
#include "fs.h"
#include "layer/layer.h"
#include "mapping/lock.h"
#include "mapping/sync.h"
#include "session.h"

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

static json_t *counter(const struct fs *fs, enum io_counter which)
{
	return number(tally_read(&fs->tally, which));
}

static json_t *window_counter(const struct fs *fs, enum window_counter which)
{
	return number(tally_read(&fs->windows.tally, which));
}

static json_t *describe_options(const struct options *options)
{
	json_t *object = json_object();
	const char *name;
	char *value;

	for (size_t i = 0; (name = options_describe(options, i, &value)) != NULL; i++) {
		json_object_set_new(object, name, json_string(value));
		free(value);
	}
	return object;
}

static json_t *describe_windows(struct fs *fs)
{
	json_t *object = json_object();
	size_t count;

	pthread_mutex_lock(&fs->windows.lock);
	count = fs->windows.count;
	pthread_mutex_unlock(&fs->windows.lock);
	json_object_set_new(object, "count", number(count));
	json_object_set_new(object, "bytes", number((uint64_t)MAX(atomic_load(&fs->windows.inside), 0)));
	json_object_set_new(object, "locked", number((uint64_t)MAX(atomic_load(&fs->windows.locked), 0)));
	json_object_set_new(object, "hits", window_counter(fs, WINDOW_HITS));
	json_object_set_new(object, "misses", window_counter(fs, WINDOW_MISSES));
	json_object_set_new(object, "evictions", window_counter(fs, WINDOW_EVICTIONS));
	json_object_set_new(object, "locked_files", number(atomic_load(&fs->locked.count)));
	json_object_set_new(object, "locked_files_max", number(fs->locked.max));
	return object;
}

static json_t *describe_watch(const struct fs *fs)
{
	json_t *object = json_object();
	struct watch_counts counts;

	watch_count(fs, &counts);
	json_object_set_new(object, "active", number(fs->watch != NULL));
	json_object_set_new(object, "events", number(counts.events));
	json_object_set_new(object, "overflows", number(counts.overflows));
	json_object_set_new(object, "objects", number(counts.objects));
	return object;
}

static uint64_t not_on_disk(const struct fs *fs)
{
	int64_t bytes = atomic_load(&fs->dirty_bytes) + atomic_load(&fs->syncing_bytes);

	return (uint64_t)MAX(bytes, 0);
}

static json_t *describe_layer(const struct layer *layer)
{
	json_t *object = json_object();

	json_object_set_new(object, "bytes", number(atomic_load(&layer->page_count) * LAYER_PAGE));
	json_object_set_new(object, "max", number(layer->max));
	return object;
}

char *stats_mount(struct fs *fs)
{
	json_t *root = json_object(), *object;
	struct timespec now;
	char *text;

	clock_gettime(CLOCK_MONOTONIC, &now);
	json_object_set_new(root, "version", json_string(MEMMAPFS_VERSION));
	json_object_set_new(root, "options", describe_options(&fs->options));
	json_object_set_new(root, "uptime_s", number((uint64_t)(now.tv_sec - fs->started.tv_sec)));
	json_object_set_new(root, "inodes", number(atomic_load(&fs->inodes.count)));
	json_object_set_new(root, "handles", number(atomic_load(&fs->handle_table.count)));
	json_object_set_new(root, "descriptors", number(atomic_load(&fs->fds.count)));
	json_object_set_new(root, "rings", number(session_rings(fs->session)));
	json_object_set_new(root, "passthrough", number(atomic_load(&fs->passthrough_files)));
	json_object_set_new(root, "windows", describe_windows(fs));
	object = json_object();
	json_object_set_new(object, "reads", counter(fs, IO_READS));
	json_object_set_new(object, "read_bytes", counter(fs, IO_READ_BYTES));
	json_object_set_new(object, "writes", counter(fs, IO_WRITES));
	json_object_set_new(object, "write_bytes", counter(fs, IO_WRITE_BYTES));
	json_object_set_new(object, "read_fallbacks", counter(fs, IO_READ_FALLBACKS));
	json_object_set_new(object, "write_fallbacks", counter(fs, IO_WRITE_FALLBACKS));
	json_object_set_new(root, "io", object);
	object = json_object();
	json_object_set_new(object, "ticks", counter(fs, SYNC_TICKS));
	json_object_set_new(object, "msyncs", counter(fs, SYNC_MSYNCS));
	json_object_set_new(object, "synced_bytes", counter(fs, SYNC_BYTES));
	json_object_set_new(object, "dirty_bytes", number(not_on_disk(fs)));
	json_object_set_new(object, "errors", counter(fs, SYNC_ERRORS));
	json_object_set_new(object, "lost_bytes", counter(fs, SYNC_LOST_BYTES));
	json_object_set_new(root, "sync", object);
	object = json_object();
	json_object_set_new(object, "truncated", counter(fs, FAULTS_TRUNCATED));
	json_object_set_new(object, "nospace", counter(fs, FAULTS_NOSPACE));
	json_object_set_new(object, "io", counter(fs, FAULTS_IO));
	json_object_set_new(root, "faults", object);
	json_object_set_new(root, "watch", describe_watch(fs));
	if (fs->layer != NULL)
		json_object_set_new(root, "layer", describe_layer(fs->layer));
	text = json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	json_decref(root);
	return text;
}

/* Ranges that failed syncs may have lost and that no close or fsync has told of yet. */
static json_t *describe_lost(struct file *file)
{
	json_t *array = json_array(), *object;
	struct lost_ranges lost = {0};

	if (file != NULL)
		file_lost(file, &lost);
	for (unsigned i = 0; i < lost.count; i++) {
		object = json_object();
		json_object_set_new(object, "offset", number(lost.ranges[i].extent.start));
		json_object_set_new(object, "length",
				    number(lost.ranges[i].extent.end - lost.ranges[i].extent.start));
		json_object_set_new(object, "error", json_string(strerrorname_np(lost.ranges[i].error)));
		json_array_append_new(array, object);
	}
	return array;
}

/* Bytes of the windows that are in memory; null where the kernel does not tell this daemon. */
static json_t *resident_bytes(struct fs *fs, struct inode *inode, struct mapping *mapping)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	uint64_t resident = 0;
	struct stat info;

	if (inode_fd(fs, inode, FD_READ, &use) < 0 || fstat(use.fd, &info) < 0 ||
	    mapping_resident(mapping, use.fd, (uint64_t)info.st_size, &resident) < 0)
		return json_null();
	return number(resident);
}

/* What holds for the file now, or would if it were opened. */
static const struct policy *policy_now(struct fs *fs, struct inode *inode)
{
	struct file *file = file_peek(inode);
	bool known;

	return file != NULL ? file_policy(file) : policy_of_inode(fs, inode, &known);
}

static json_t *text_and_free(char *text)
{
	json_t *string = json_string(text == NULL ? "?" : text);

	free(text);
	return string;
}

/* The options that rules decided, each with the rule. */
static json_t *describe_rules(struct fs *fs, const struct policy *policy)
{
	json_t *object = json_object();

	for (unsigned i = 0; i < PATH_OPTIONS; i++) {
		if (policy->lines[i] != 0)
			json_object_set_new(object, options_path_name((enum path_option)i),
					    text_and_free(policy_rule(fs, policy, (enum path_option)i)));
	}
	return object;
}

char *stats_explain(struct fs *fs, struct inode *inode)
{
	const struct policy *policy = policy_now(fs, inode);
	json_t *root = json_object(), *object = json_object(), *rules = describe_rules(fs, policy);
	char *value, *text, *path = policy_path(fs, inode);
	struct options options;
	const char *name;

	policy_options(fs, policy, &options);
	for (size_t i = 0; (name = options_describe(&options, i, &value)) != NULL; i++) {
		json_t *rule = json_object_get(rules, name), *one = json_object();

		json_object_set_new(one, "value", text_and_free(value));
		json_object_set_new(one, "from",
				    rule != NULL ? json_incref(rule) : json_string("mount options"));
		json_object_set_new(object, name, one);
	}
	json_object_set_new(root, "path", path == NULL ? json_null() : json_string(path));
	json_object_set_new(root, "policy", object);
	free(path);
	json_decref(rules);
	text = json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	json_decref(root);
	return text;
}

char *stats_file(struct fs *fs, struct inode *inode)
{
	const struct policy *policy = policy_now(fs, inode);
	struct file *file = file_peek(inode);
	uint64_t mapped = 0, dirty = 0, locked = 0, errors = 0;
	json_t *root = json_object(), *resident = NULL;
	struct options options;
	size_t windows = 0;
	char *text;

	policy_options(fs, policy, &options);
	if (file != NULL) {
		mapping_usage(&file->mapping, &windows, &mapped);
		if (windows > 0)
			resident = resident_bytes(fs, inode, &file->mapping);
		dirty = mapping_dirty_bytes(&file->mapping);
		locked = mapping_locked(&file->mapping);
		errors = atomic_load(&file->error_sequence);
	}
	json_object_set_new(root, "policy", describe_options(&options));
	json_object_set_new(root, "rule", text_and_free(policy_last_rule(fs, policy)));
	json_object_set_new(root, "rules", describe_rules(fs, policy));
	json_object_set_new(root, "advice", text_and_free(control_get_advice(fs, inode)));
	json_object_set_new(root, "windows", number(windows));
	json_object_set_new(root, "mapped", number(mapped));
	json_object_set_new(root, "resident", resident == NULL ? number(0) : resident);
	json_object_set_new(root, "dirty", number(dirty));
	json_object_set_new(root, "locked", number(locked));
	json_object_set_new(root, "sync_errors", number(errors));
	json_object_set_new(root, "lost", describe_lost(file));
	text = json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	json_decref(root);
	return text;
}

void stats_reset(struct fs *fs)
{
	tally_reset(&fs->tally);
	tally_reset(&fs->windows.tally);
}
