/* SPDX-License-Identifier: MIT */
/*
 * The differences are found in two goes: over all entries, and over those nodes that have none, which are the
 * root and objects whose place in BACKING nobody asked for by name. The cursor of the first is "ePARENT:NAME",
 * NAME in hexadecimal, that of the second "nID".
 */
#include "layer/report_diff.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "control_protocol.h"
#include "fs.h"
#include "json_name.h"
#include "layer/keep.h"
#include "layer/serve.h"
#include "layer/subject.h"
#include "util.h"

/* Ranges in one row. */
#define RANGES_MAX 64

static const char *type_name(mode_t type)
{
	switch (type) {
	case S_IFDIR:
		return "directory";
	case S_IFREG:
		return "file";
	case S_IFLNK:
		return "symlink";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	default:
		return "device";
	}
}

/* Runs of pages that are not BACKING's, from @offset on; *ret_next: where those begin that did not fit, or 0. */
static json_t *ranges_of(const struct subject *subject, uint64_t offset, size_t max, uint64_t *ret_next)
{
	json_t *ranges = json_array();
	uint64_t size = subject->stx.stx_size, start = 0;
	bool open = false;

	*ret_next = 0;
	for (uint64_t at = offset, next; at < size; at = next) {
		enum page_kind kind;

		next = pages_run(&subject->pages, at, size, &kind);
		if (kind != PAGES_CLEAN && !open) {
			if (json_array_size(ranges) == max) {
				*ret_next = at;
				return ranges;
			}
			start = at;
			open = true;
		}
		if (open && (kind == PAGES_CLEAN || next >= size)) {
			json_array_append_new(
				ranges, json_pack("[I,I]", (json_int_t)start,
						  (json_int_t)((kind == PAGES_CLEAN ? at : size) - start)));
			open = false;
		}
	}
	return ranges;
}

/* Bytes that are not BACKING's. */
static uint64_t own_bytes(const struct subject *subject)
{
	uint64_t size = subject->stx.stx_size, bytes = 0;

	for (uint64_t at = 0, next; at < size; at = next) {
		enum page_kind kind;

		next = pages_run(&subject->pages, at, size, &kind);
		bytes += kind == PAGES_CLEAN ? 0 : next - at;
	}
	return bytes;
}

static void add_content(json_t *row, const struct subject *subject, const struct statx *backing)
{
	uint64_t next;
	char more[64];

	json_object_set_new(row, "size", json_integer((json_int_t)subject->stx.stx_size));
	if (backing != NULL)
		json_object_set_new(row, "old_size", json_integer((json_int_t)backing->stx_size));
	json_object_set_new(row, "bytes", json_integer((json_int_t)own_bytes(subject)));
	json_object_set_new(row, "ranges", ranges_of(subject, 0, RANGES_MAX, &next));
	if (next == 0)
		return;
	snprintf(more, sizeof(more), "%" PRIu64 ":%" PRIu64, subject->id, next);
	json_object_set_new(row, "more", json_string(more));
}

/* Which attributes of an origin are others now. */
static json_t *attributes_of(const struct subject *subject, const struct statx *backing)
{
	json_t *names = json_array();
	const struct statx *stx = &subject->stx;

	if ((subject->own & OWN_CONTENT) && S_ISREG(subject->type))
		json_array_append_new(names, json_string("content"));
	if ((subject->own & OWN_ATTRIBUTES) && stx->stx_mode != backing->stx_mode)
		json_array_append_new(names, json_string("mode"));
	if ((subject->own & OWN_ATTRIBUTES) &&
	    (stx->stx_uid != backing->stx_uid || stx->stx_gid != backing->stx_gid))
		json_array_append_new(names, json_string("owner"));
	/* A directory's moves with the names in it, which are rows of their own. */
	if ((subject->own & OWN_MTIME) && !S_ISDIR(subject->type) &&
	    (stx->stx_mtime.tv_sec != backing->stx_mtime.tv_sec ||
	     stx->stx_mtime.tv_nsec != backing->stx_mtime.tv_nsec))
		json_array_append_new(names, json_string("mtime"));
	if (subject->own & OWN_XATTRS)
		json_array_append_new(names, json_string("xattrs"));
	return names;
}

/* The row of an object that has this path; with an origin it may come to nothing. */
static int object_row(struct report *report, const struct subject *subject, const char *path,
		      const char *change)
{
	CLEANUP(free_pointer) char *from = NULL;
	struct statx backing;
	bool known = subject->has_origin && subject->inode != NULL &&
		     layer_backing_statx(subject->fs, subject->inode, &backing) == 0;
	json_t *attributes = known ? attributes_of(subject, &backing) : NULL, *row;

	if (change == NULL && (attributes == NULL || json_array_size(attributes) == 0)) {
		json_decref(attributes);
		return 0;
	}
	row = json_pack("{so ss ss}", "path", json_name(path), "change", change == NULL ? "changed" : change,
			"type", type_name(subject->type));
	if (row == NULL) {
		json_decref(attributes);
		return -ENOMEM;
	}
	if (change != NULL && known && (from = subject_origin_path(subject->fs, subject->inode)) != NULL)
		json_object_set_new(row, "from", json_name(from));
	if (attributes != NULL)
		json_object_set_new(row, "attributes", attributes);
	if (S_ISREG(subject->type) && (!subject->has_origin || (subject->own & OWN_CONTENT)))
		add_content(row, subject, known ? &backing : NULL);
	return report_add(report, row);
}

static bool is_object(const struct subject *subject, const struct statx *stx)
{
	struct identity_key key = identity_of_statx(stx);
	const struct identity_key *own = &subject->inode->key;

	return key.dev == own->dev && key.ino == own->ino && key.birth_ns == own->birth_ns;
}

static int entry_row(struct fs *fs, const struct db_named *named, const struct subject *parent,
		     struct report *report)
{
	CLEANUP(free_pointer) char *path = subject_name_path(fs, named->parent, named->name);
	CLEANUP(subject_close) struct subject subject = {0};
	struct statx there;
	bool taken;
	int result;

	/* In a directory that was removed while somebody has it open. */
	if (path == NULL || ((parent->own & OWN_ATTRIBUTES) && parent->stx.stx_nlink == 0))
		return 0;
	taken = parent->inode != NULL && origin_statx_name(fs, parent->inode, named->name, &there) == 0;
	if (named->entry.node == DB_WHITEOUT)
		return !taken ? 0
			      : report_add(report,
					   json_pack("{so ss ss}", "path", json_name(path), "change",
						     "removed", "type", type_name(there.stx_mode & S_IFMT)));
	result = subject_open(fs, named->entry.node, &subject);
	if (result < 0)
		return result == -ENOENT ? 0 : result;
	if (!taken)
		return object_row(report, &subject, path, "added");
	if (!subject.has_origin || subject.inode == NULL || !is_object(&subject, &there))
		return object_row(report, &subject, path, "replaced");
	return object_row(report, &subject, path, NULL);
}

/* "ePARENT:NAME" */
static int read_cursor(const char *cursor, uint64_t *ret_parent, char *ret_name, size_t size)
{
	const char *end;
	size_t length = 0;

	if (!report_number(cursor + 1, &end, ret_parent) || *end != ':')
		return -EINVAL;
	for (end++; end[0] != '\0' && end[1] != '\0' && length + 1 < size; end += 2) {
		unsigned byte;

		if (sscanf(end, "%2x", &byte) != 1)
			return -EINVAL;
		ret_name[length++] = (char)byte;
	}
	ret_name[length] = '\0';
	return *end == '\0' ? 0 : -EINVAL;
}

static void write_cursor(uint64_t parent, const char *name, char *ret_cursor, size_t size)
{
	size_t length = (size_t)snprintf(ret_cursor, size, "e%" PRIu64 ":", parent);

	for (; *name != '\0' && length + 3 <= size; name++)
		length += (size_t)snprintf(ret_cursor + length, size - length, "%02x", (unsigned char)*name);
}

/* The directory of the entries that come one after the other. */
static int hold_parent(struct fs *fs, uint64_t id, struct subject *parent)
{
	int result;

	if (parent->fs != NULL && parent->id == id)
		return 0;
	subject_close(parent);
	*parent = (struct subject){0};
	result = subject_open(fs, id, parent);
	return result == -ENOENT ? 0 : result;
}

/* Returns -ENOENT after the last. */
static int add_entries(struct fs *fs, const char *cursor, struct report *report, char *next, size_t size)
{
	CLEANUP(subject_close) struct subject parent = {0};
	char name[NAME_MAX + 1] = "";
	uint64_t id = 0;
	int result = *cursor == 'e' ? read_cursor(cursor, &id, name, sizeof(name)) : 0;

	while (result == 0) {
		CLEANUP(db_named_fini) struct db_named named = {0};
		LAYER_SERVE_SCOPE(fs);
		LOCK_SCOPE(&fs->layer->lock);

		result = db_entry_next(fs->layer->db, id, name, &named);
		if (result == 0)
			result = hold_parent(fs, named.parent, &parent);
		if (result == 0)
			result = entry_row(fs, &named, &parent, report);
		if (result != 0)
			break;
		id = named.parent;
		snprintf(name, sizeof(name), "%s", named.name);
	}
	write_cursor(id, name, next, size);
	return result;
}

static int nameless_row(struct fs *fs, uint64_t id, struct report *report)
{
	CLEANUP(subject_close) struct subject subject = {0};
	CLEANUP(db_named_fini) struct db_named named = {0};
	CLEANUP(free_pointer) char *path = NULL;
	int result;

	if (db_entry_of(fs->layer->db, id, 0, &named) == 0)
		return 0;
	result = subject_open(fs, id, &subject);
	if (result < 0)
		return result == -ENOENT ? 0 : result;
	if (!subject.has_origin || subject.own == 0)
		return 0;
	path = subject_path(fs, id);
	return path == NULL ? 0 : object_row(report, &subject, *path == '\0' ? "." : path, NULL);
}

static int add_nameless(struct fs *fs, const char *cursor, struct report *report, char *next, size_t size)
{
	const char *end = "";
	uint64_t id = 0;
	int result = 0;

	if (*cursor == 'n' && (!report_number(cursor + 1, &end, &id) || *end != '\0'))
		return -EINVAL;
	while (result == 0) {
		struct node_row row;
		LAYER_SERVE_SCOPE(fs);
		LOCK_SCOPE(&fs->layer->lock);

		result = db_node_next(fs->layer->db, id, &row);
		if (result < 0)
			break;
		result = nameless_row(fs, row.id, report);
		if (result == 0)
			id = row.id;
		db_row_fini(&row);
	}
	snprintf(next, size, "n%" PRIu64, id);
	return result;
}

int report_diff(struct fs *fs, const char *cursor, char **ret_reply)
{
	struct report report;
	char next[2 * NAME_MAX + 64];
	int result;

	if (*cursor != '\0' && *cursor != 'e' && *cursor != 'n')
		return -EINVAL;
	result = report_begin(&report);
	if (result == 0)
		result = *cursor == 'n' ? -ENOENT : add_entries(fs, cursor, &report, next, sizeof(next));
	if (result == -ENOENT)
		result = add_nameless(fs, *cursor == 'n' ? cursor : "", &report, next, sizeof(next));
	return report_end(&report, result == -ENOENT ? 0 : result, result == -ENOENT ? NULL : next,
			  ret_reply);
}

int report_ranges(struct fs *fs, const char *cursor, char **ret_reply)
{
	CLEANUP(subject_close) struct subject subject = {0};
	uint64_t id, offset, next;
	const char *end;
	json_t *object;
	char more[64];
	int result;

	if (!report_number(cursor, &end, &id) || *end != ':' || !report_number(end + 1, &end, &offset) ||
	    *end != '\0' || offset >= LAYER_FILE_MAX)
		return -EINVAL;
	LAYER_SERVE_SCOPE(fs);
	result = subject_open(fs, id, &subject);
	if (result < 0)
		return result;
	object = json_pack("{so}", "ranges", ranges_of(&subject, offset, 4 * RANGES_MAX, &next));
	snprintf(more, sizeof(more), "%" PRIu64 ":%" PRIu64, id, next);
	json_object_set_new(object, "next", next == 0 ? json_null() : json_string(more));
	*ret_reply = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return *ret_reply == NULL ? -ENOMEM : 0;
}
