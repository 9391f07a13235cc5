/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layer/db_private.h"
#include "unit.h"
#include "util.h"

static struct layer_db *db;

static void set_up(void)
{
	ck_assert_int_eq(db_open(NULL, &db), 0);
}

static void tear_down(void)
{
	db_close(db);
}

static struct node_row row_of(uint64_t id)
{
	struct node_row row = {.id = id, .own = 5, .clean = 12345};

	row.stx.stx_mode = S_IFREG | 0640;
	row.stx.stx_uid = 4000000000u;
	row.stx.stx_gid = 7;
	row.stx.stx_nlink = 3;
	row.stx.stx_size = UINT64_C(1) << 43;
	row.stx.stx_rdev_major = 8;
	row.stx.stx_rdev_minor = 300;
	row.stx.stx_atime = (struct statx_timestamp){.tv_sec = -5, .tv_nsec = 999999999};
	row.stx.stx_mtime = (struct statx_timestamp){.tv_sec = INT64_C(1) << 34, .tv_nsec = 2};
	row.stx.stx_ctime = (struct statx_timestamp){.tv_sec = 3, .tv_nsec = 3};
	row.stx.stx_btime = (struct statx_timestamp){.tv_sec = 4, .tv_nsec = 4};
	return row;
}

static void expect_time(struct statx_timestamp time, int64_t seconds, uint32_t ns)
{
	ck_assert_int_eq(time.tv_sec, seconds);
	ck_assert_uint_eq(time.tv_nsec, ns);
}

/* Every column, with values at its edges. */
START_TEST(a_record_comes_back_as_it_was)
{
	struct node_row row = row_of(9), got;
	struct identity_handle *handle = malloc(sizeof(*handle) + 3);

	*handle = (struct identity_handle){.mount = 2, .type = 0x81, .bytes = 3};
	memcpy(handle->data, "a\0c", 3);
	row.has_origin = true;
	row.origin = (struct identity_key){.dev = UINT64_MAX, .ino = UINT64_MAX - 1, .birth_ns = -7};
	row.handle = handle;
	row.path = (char *)"dir/\xff name";
	row.target = (char *)"";
	row.data = (void *)"\0\1\2";
	row.data_size = 3;
	row.page_count = 17;
	row.before = (struct origin_state){.known = true, .size = 6};
	row.before.mtime = (struct packed_time){.tv_sec = -1, .tv_nsec = 7};
	row.before.ctime = (struct packed_time){.tv_sec = 8, .tv_nsec = 9};
	ck_assert_int_eq(db_node_insert(db, &row), 0);
	ck_assert_int_eq(db_node_by_origin(db, &row.origin, &got), 0);
	ck_assert_uint_eq(got.id, 9);
	ck_assert_uint_eq(got.own, 5);
	ck_assert_uint_eq(got.stx.stx_mode, S_IFREG | 0640);
	ck_assert_uint_eq(got.stx.stx_uid, 4000000000u);
	ck_assert_uint_eq(got.stx.stx_gid, 7);
	ck_assert_uint_eq(got.stx.stx_nlink, 3);
	ck_assert_uint_eq(got.stx.stx_size, UINT64_C(1) << 43);
	ck_assert_uint_eq(got.stx.stx_rdev_major, 8);
	ck_assert_uint_eq(got.stx.stx_rdev_minor, 300);
	expect_time(got.stx.stx_atime, -5, 999999999);
	expect_time(got.stx.stx_mtime, INT64_C(1) << 34, 2);
	expect_time(got.stx.stx_ctime, 3, 3);
	expect_time(got.stx.stx_btime, 4, 4);
	ck_assert_uint_eq(got.clean, 12345);
	ck_assert(got.has_origin);
	ck_assert_uint_eq(got.origin.dev, UINT64_MAX);
	ck_assert_uint_eq(got.origin.ino, UINT64_MAX - 1);
	ck_assert_int_eq(got.origin.birth_ns, -7);
	ck_assert_int_eq(got.handle->mount, 2);
	ck_assert_int_eq(got.handle->type, 0x81);
	ck_assert_uint_eq(got.handle->bytes, 3);
	ck_assert_mem_eq(got.handle->data, "a\0c", 3);
	ck_assert_str_eq(got.path, "dir/\xff name");
	ck_assert_str_eq(got.target, "");
	ck_assert_uint_eq(got.data_size, 3);
	ck_assert_mem_eq(got.data, "\0\1\2", 3);
	ck_assert_ptr_null(got.zero);
	ck_assert_uint_eq(got.page_count, 17);
	ck_assert(got.before.known);
	ck_assert_uint_eq(got.before.size, 6);
	expect_time(unpacked_time(got.before.mtime), -1, 7);
	expect_time(unpacked_time(got.before.ctime), 8, 9);
	db_row_fini(&got);
	free(handle);
}
END_TEST

/* Whoever goes through all entries and nodes comes by each of them once, in order. */
START_TEST(entries_and_nodes_are_gone_through_in_order)
{
	struct statx removed = {.stx_mask = STATX_BTIME, .stx_ino = 5, .stx_size = 77};
	struct node_row row = row_of(2), got;
	struct db_named named;

	removed.stx_mtime = (struct statx_timestamp){.tv_sec = -3, .tv_nsec = 4};
	removed.stx_btime = (struct statx_timestamp){.tv_sec = 1, .tv_nsec = 1};
	ck_assert_int_eq(db_node_insert(db, &row), 0);
	row.id = 7;
	ck_assert_int_eq(db_node_insert(db, &row), 0);
	ck_assert_int_eq(db_entry_put(db, 2, "\xff", 7), 0);
	ck_assert_int_eq(db_entry_put(db, 1, "b", 7), 0);
	ck_assert_int_eq(db_entry_cover(db, 2, "a", DB_WHITEOUT, &removed), 0);
	ck_assert_int_eq(db_entry_next(db, 0, "", &named), 0);
	ck_assert_uint_eq(named.parent, 1);
	ck_assert_str_eq(named.name, "b");
	ck_assert_uint_eq(named.entry.node, 7);
	ck_assert(!named.removed.known);
	db_named_fini(&named);
	ck_assert_int_eq(db_entry_next(db, 1, "b", &named), 0);
	ck_assert_str_eq(named.name, "a");
	ck_assert_uint_eq(named.entry.node, DB_WHITEOUT);
	ck_assert(named.removed.known);
	ck_assert_uint_eq(named.removed_key.ino, 5);
	ck_assert_int_eq(named.removed_key.birth_ns, 1000000001);
	ck_assert_uint_eq(named.removed.size, 77);
	expect_time(unpacked_time(named.removed.mtime), -3, 4);
	db_named_fini(&named);
	ck_assert_int_eq(db_entry_next(db, 2, "\xff", &named), -ENOENT);
	ck_assert_int_eq(db_entry_of(db, 7, 1, &named), 0);
	ck_assert_uint_eq(named.parent, 2);
	db_named_fini(&named);
	ck_assert_int_eq(db_entry_of(db, 7, 2, &named), -ENOENT);
	ck_assert_int_eq(db_entry_of(db, DB_WHITEOUT, 0, &named), -ENOENT);
	ck_assert_int_eq(db_node_next(db, 2, &got), 0);
	ck_assert_uint_eq(got.id, 7);
	db_row_fini(&got);
	ck_assert_int_eq(db_node_next(db, 7, &got), -ENOENT);
}
END_TEST

static void expect_covered(uint64_t parent, const char *name, uint64_t size, time_t mtime)
{
	struct db_named named;

	ck_assert_int_eq(db_entry_named(db, parent, name, &named), 0);
	ck_assert(named.removed.known);
	ck_assert_uint_eq(named.removed.size, size);
	ck_assert_int_eq(unpacked_time(named.removed.mtime).tv_sec, mtime);
	db_named_fini(&named);
}

/* Every name that covers the object, and no other. */
START_TEST(what_is_covered_can_be_said_to_look_otherwise)
{
	/* Inode numbers are unsigned, and SQLite's are not. */
	const uint64_t inos[] = {5, UINT64_MAX - 4};
	struct node_row row = row_of(2);

	ck_assert_int_eq(db_node_insert(db, &row), 0);
	ck_assert_int_eq(db_entry_put(db, 1, "plain", 2), 0);
	ck_assert_int_eq(db_entry_put(db, 1, "gone", DB_WHITEOUT), 0);
	ck_assert_int_eq(db_entry_cover(db, 1, "new", 2, &(struct statx){0}), 0);
	ck_assert_int_eq(db_has_covered(db), 0);
	for (size_t i = 0; i < ARRAY_LENGTH(inos); i++) {
		struct statx covered = {.stx_mask = STATX_BTIME, .stx_ino = inos[i], .stx_size = 77};
		struct statx now = {.stx_size = 99, .stx_mtime.tv_sec = 8};
		struct statx later = covered;
		struct identity_key key = identity_of_statx(&covered);

		later.stx_btime.tv_sec = 1;
		ck_assert_int_eq(db_entry_cover(db, 1, "whiteout", DB_WHITEOUT, &covered), 0);
		ck_assert_int_eq(db_has_covered(db), 1);
		ck_assert_int_eq(db_entry_delete(db, 1, "whiteout"), 0);
		ck_assert_int_eq(db_has_covered(db), 0);
		ck_assert_int_eq(db_entry_cover(db, 1, "replaced", 2, &covered), 0);
		ck_assert_int_eq(db_has_covered(db), 1);
		ck_assert_int_eq(db_entry_cover(db, 1, "whiteout", DB_WHITEOUT, &covered), 0);
		ck_assert_int_eq(db_entry_cover(db, 1, "reused", DB_WHITEOUT, &later), 0);
		ck_assert_int_eq(db_covered_now(db, &key, &now), 0);
		expect_covered(1, "replaced", 99, 8);
		expect_covered(1, "whiteout", 99, 8);
		expect_covered(1, "reused", 77, 0);
		/* Those that were wrong before stay so. */
		ck_assert_int_eq(db_entry_cover(db, 1, "replaced", 2, &covered), 0);
		ck_assert_int_eq(db_covered_before(db, &key, &now), 0);
		now.stx_size = 100;
		ck_assert_int_eq(db_covered_now(db, &key, &now), 0);
		expect_covered(1, "replaced", UINT64_MAX, 0);
		expect_covered(1, "whiteout", 100, 8);
		ck_assert_int_eq(db_entry_delete(db, 1, "replaced"), 0);
		ck_assert_int_eq(db_entry_delete(db, 1, "whiteout"), 0);
		ck_assert_int_eq(db_entry_delete(db, 1, "reused"), 0);
	}
	expect_covered(1, "new", 0, 0);
}
END_TEST

/* A commit asks this for each file that it writes. */
START_TEST(what_is_covered_is_found_by_indexes)
{
	const enum statement statements[] = {COVERED_ANY, COVERED_BY_WHITEOUTS, COVERED_BY_NODES,
					     WRONG_WHITEOUTS, WRONG_NODES};

	for (size_t i = 0; i < ARRAY_LENGTH(statements); i++) {
		char text[1024];
		sqlite3_stmt *plan;

		snprintf(text, sizeof(text), "EXPLAIN QUERY PLAN %s",
			 sqlite3_sql(db->statements[statements[i]]));
		ck_assert_int_eq(sqlite3_prepare_v2(db->sqlite, text, -1, &plan, NULL), SQLITE_OK);
		while (sqlite3_step(plan) == SQLITE_ROW)
			ck_assert_ptr_null(
				strstr((const char *)sqlite3_column_text(plan, 3), "SCAN entries"));
		sqlite3_finalize(plan);
	}
}
END_TEST

/* One without an origin, a handle or pages has none afterwards either. */
START_TEST(what_is_not_there_stays_away)
{
	struct node_row row = row_of(2), got;

	ck_assert_int_eq(db_node_insert(db, &row), 0);
	ck_assert_int_eq(db_node_load(db, 2, &got), 0);
	ck_assert(!got.has_origin);
	ck_assert_ptr_null(got.handle);
	ck_assert_ptr_null(got.path);
	ck_assert_ptr_null(got.target);
	ck_assert_ptr_null(got.data);
	db_row_fini(&got);
	ck_assert_int_eq(db_node_load(db, 3, &got), -ENOENT);
	ck_assert_int_eq(db_node_by_origin(db, &(struct identity_key){0}, &got), -ENOENT);
}
END_TEST

/* Attributes can be written without touching the pages. */
START_TEST(an_update_of_attributes_leaves_the_pages)
{
	struct node_row row = row_of(2), got;

	row.data = (void *)"pages";
	row.data_size = 5;
	ck_assert_int_eq(db_node_insert(db, &row), 0);
	row.data = NULL;
	row.data_size = 0;
	row.stx.stx_mode = S_IFREG | 0600;
	ck_assert_int_eq(db_node_update(db, &row, DB_ATTRIBUTES), 0);
	ck_assert_int_eq(db_node_load(db, 2, &got), 0);
	ck_assert_uint_eq(got.stx.stx_mode, S_IFREG | 0600);
	ck_assert_uint_eq(got.data_size, 5);
	db_row_fini(&got);
	ck_assert_int_eq(db_node_update(db, &row, DB_PAGES), 0);
	ck_assert_int_eq(db_node_load(db, 2, &got), 0);
	ck_assert_ptr_null(got.data);
	db_row_fini(&got);
}
END_TEST

static char seen[256];

static int note_entry(void *context, const char *name, const struct db_entry *entry)
{
	(void)context;
	sprintf(seen + strlen(seen), "%s=%llu ", name, (unsigned long long)entry->node);
	return strcmp(name, "stop") == 0 ? -EINTR : 0;
}

/* Names are bytes, listed in their order; a whiteout is an entry as well. */
START_TEST(entries_are_kept_by_directory_and_name)
{
	struct node_row row = row_of(2);
	struct db_entry entry;

	ck_assert_int_eq(db_node_insert(db, &row), 0);
	ck_assert_int_eq(db_entry_put(db, 1, "b\xff", 2), 0);
	ck_assert_int_eq(db_entry_put(db, 1, "a", 5), 0);
	ck_assert_int_eq(db_entry_put(db, 1, "a", DB_WHITEOUT), 0);
	ck_assert_int_eq(db_entry_put(db, 2, "c", 5), 0);
	ck_assert_int_eq(db_entry_get(db, 1, "b\xff", &entry), 0);
	ck_assert_uint_eq(entry.node, 2);
	ck_assert_uint_eq(entry.type, S_IFREG);
	ck_assert(!entry.has_origin);
	ck_assert_int_eq(db_entry_get(db, 1, "b", &entry), -ENOENT);
	ck_assert_int_eq(db_entry_get(db, 1, "a", &entry), 0);
	ck_assert_uint_eq(entry.node, DB_WHITEOUT);
	seen[0] = '\0';
	ck_assert_int_eq(db_entries(db, 1, note_entry, NULL), 0);
	ck_assert_str_eq(seen, "a=0 b\xff=2 ");
	ck_assert_int_eq(db_entry_delete(db, 1, "a"), 0);
	ck_assert_int_eq(db_entry_get(db, 1, "a", &entry), -ENOENT);
	ck_assert_int_eq(db_entry_put(db, 1, "stop", 9), 0);
	ck_assert_int_eq(db_entries(db, 1, note_entry, NULL), -EINTR);
}
END_TEST

/* Values are bytes too, empty ones included. */
START_TEST(extended_attributes_come_and_go)
{
	CLEANUP(free_pointer) void *value = NULL;

	ck_assert_int_eq(db_xattr_put(db, 1, "user.a", "x\0y", 3), 0);
	ck_assert_int_eq(db_xattr_get(db, 1, "user.a", &value), 3);
	ck_assert_mem_eq(value, "x\0y", 3);
	free(value);
	ck_assert_int_eq(db_xattr_put(db, 1, "user.a", NULL, 0), 0);
	ck_assert_int_eq(db_xattr_get(db, 1, "user.a", &value), 0);
	ck_assert_int_eq(db_xattr_delete(db, 1, "user.a"), 0);
	free(value);
	value = NULL;
	ck_assert_int_eq(db_xattr_get(db, 1, "user.a", &value), -ENODATA);
}
END_TEST

/* A change that fails leaves nothing behind, one that succeeds everything. */
START_TEST(a_failed_change_is_undone)
{
	struct node_row row = row_of(2);
	struct db_entry entry;

	ck_assert_int_eq(db_begin(db), 0);
	ck_assert_int_eq(db_node_insert(db, &row), 0);
	ck_assert_int_eq(db_entry_put(db, 1, "n", 2), 0);
	ck_assert_int_eq(db_end(db, -ENOSPC), -ENOSPC);
	ck_assert_int_eq(db_entry_get(db, 1, "n", &entry), -ENOENT);
	ck_assert_int_eq(db_node_load(db, 2, &row), -ENOENT);
	ck_assert_int_eq(db_begin(db), 0);
	ck_assert_int_eq(db_entry_put(db, 1, "n", 2), 0);
	ck_assert_int_eq(db_end(db, 0), 0);
	ck_assert_int_eq(db_entry_get(db, 1, "n", &entry), 0);
}
END_TEST

/* A node takes its own entries and attributes along, and nobody else's. */
START_TEST(a_deleted_node_leaves_nothing)
{
	struct node_row row = row_of(2);
	CLEANUP(free_pointer) void *value = NULL;
	struct db_entry entry;

	ck_assert_int_eq(db_node_insert(db, &row), 0);
	ck_assert_int_eq(db_entry_put(db, 2, "inside", 3), 0);
	ck_assert_int_eq(db_entry_put(db, 1, "other", 3), 0);
	ck_assert_int_eq(db_xattr_put(db, 2, "user.a", "b", 1), 0);
	ck_assert_int_eq(db_node_delete(db, 2), 0);
	ck_assert_int_eq(db_node_load(db, 2, &row), -ENOENT);
	ck_assert_int_eq(db_entry_get(db, 2, "inside", &entry), -ENOENT);
	ck_assert_int_eq(db_xattr_get(db, 2, "user.a", &value), -ENODATA);
	ck_assert_int_eq(db_entry_get(db, 1, "other", &entry), 0);
}
END_TEST

/* As SQLite does where it can neither go on with a transaction nor end it. */
static void undo_transaction(struct layer_db *of)
{
	ck_assert_int_eq(sqlite3_exec(of->sqlite, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
}

static void give_up(struct layer_db *of)
{
	db_give_up(of);
}

/* What was committed before is there, and nothing that came after it: neither at once nor when the file is closed. */
START_TEST(a_file_that_has_lost_changes_takes_no_others)
{
	static void (*const ways[])(struct layer_db *) = {undo_transaction, give_up};
	char directory[] = "/tmp/test_layer_db.XXXXXX", path[64];
	struct node_row kept = row_of(2), lost = row_of(3), later = row_of(4);
	struct layer_db *file;
	bool changed;

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/db", directory);
	ck_assert_int_eq(db_open(path, &file), 0);
	ck_assert_int_eq(db_node_insert(file, &kept), 0);
	ck_assert_int_eq(db_commit(file, &changed), 0);
	ck_assert_int_eq(db_node_insert(file, &lost), 0);
	ck_assert(!db_is_lost(file));
	ways[_i](file);
	ck_assert(db_is_lost(file));
	db_node_insert(file, &later);
	if (db_begin(file) == 0)
		db_end(file, db_entry_put(file, 1, "later", 4));
	ck_assert_int_lt(db_commit(file, &changed), 0);
	db_close(file);

	ck_assert_int_eq(db_open(path, &file), 0);
	ck_assert_int_eq(db_node_exists(file, 2), 0);
	ck_assert_int_eq(db_node_exists(file, 3), -ENOENT);
	ck_assert_int_eq(db_node_exists(file, 4), -ENOENT);
	db_close(file);
	unlink(path);
	ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

static void expect_totals(struct layer_db *of, uint64_t origins, uint64_t pages)
{
	struct db_totals got;

	ck_assert_int_eq(db_totals(of, 1, 1000, &got), 0);
	ck_assert_uint_eq(got.origins, origins);
	ck_assert_uint_eq(got.pages, pages);
}

static void run_sql(const char *path, const char *text)
{
	sqlite3 *sqlite;

	ck_assert_int_eq(sqlite3_open(path, &sqlite), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(sqlite, text, NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_close(sqlite), SQLITE_OK);
}

/* Whatever happens to records: by every way there is to change them, undone, opened again, and of an older file. */
START_TEST(a_file_counts_its_origins_and_pages_along)
{
	char directory[] = "/tmp/test_layer_db.XXXXXX", path[64];
	struct node_row origin = row_of(2), made = row_of(3);
	struct layer_db *file;
	struct db_totals got;

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/db", directory);
	ck_assert_int_eq(db_open(path, &file), 0);
	expect_totals(file, 0, 0);
	origin.has_origin = true;
	origin.origin.ino = 5;
	made.page_count = 7;
	ck_assert_int_eq(db_node_insert(file, &origin), 0);
	ck_assert_int_eq(db_node_insert(file, &made), 0);
	expect_totals(file, 1, 7);
	origin.page_count = 100;
	ck_assert_int_eq(db_node_update(file, &origin, DB_PAGES), 0);
	ck_assert_int_eq(db_node_update(file, &origin, DB_PAGES), 0);
	expect_totals(file, 1, 107);
	origin.page_count = 20;
	ck_assert_int_eq(db_node_update(file, &origin, DB_PAGES), 0);
	expect_totals(file, 1, 27);
	ck_assert_int_eq(db_begin(file), 0);
	ck_assert_int_eq(db_node_delete(file, 2), 0);
	expect_totals(file, 0, 7);
	ck_assert_int_eq(db_end(file, -ENOSPC), -ENOSPC);
	expect_totals(file, 1, 27);
	made.origin.ino = 6;
	ck_assert_int_eq(db_node_adopt(file, &made), 0);
	ck_assert_int_eq(db_node_adopt(file, &made), 0);
	expect_totals(file, 2, 27);
	db_close(file);
	ck_assert_int_eq(db_open(path, &file), 0);
	expect_totals(file, 2, 27);
	ck_assert_int_eq(db_totals(file, 1, 1000, &got), 0);
	ck_assert_uint_eq(got.last_id, 3);
	ck_assert_int_eq(db_totals(file, 1000, 1000, &got), 0);
	ck_assert_uint_eq(got.last_id, 999);
	db_close(file);
	run_sql(path, "DROP TRIGGER origin_in; DROP TRIGGER origin_out; DROP TRIGGER origin_set;"
		      "DROP TRIGGER pages_in; DROP TRIGGER pages_out; DROP TRIGGER pages_set;"
		      "DELETE FROM facts; UPDATE nodes SET pages=NULL WHERE id=3");
	ck_assert_int_eq(db_open(path, &file), 0);
	expect_totals(file, 2, 20);
	ck_assert_int_eq(db_node_update(file, &made, DB_PAGES), 0);
	expect_totals(file, 2, 27);
	ck_assert_int_eq(db_node_delete(file, 2), 0);
	ck_assert_int_eq(db_node_delete(file, 3), 0);
	expect_totals(file, 0, 0);
	db_close(file);
	unlink(path);
	ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, a_record_comes_back_as_it_was);
	tcase_add_test(tests, entries_and_nodes_are_gone_through_in_order);
	tcase_add_test(tests, what_is_covered_can_be_said_to_look_otherwise);
	tcase_add_test(tests, what_is_covered_is_found_by_indexes);
	tcase_add_test(tests, what_is_not_there_stays_away);
	tcase_add_test(tests, an_update_of_attributes_leaves_the_pages);
	tcase_add_test(tests, entries_are_kept_by_directory_and_name);
	tcase_add_test(tests, extended_attributes_come_and_go);
	tcase_add_test(tests, a_failed_change_is_undone);
	tcase_add_test(tests, a_deleted_node_leaves_nothing);
	tcase_add_loop_test(tests, a_file_that_has_lost_changes_takes_no_others, 0, 2);
	tcase_add_test(tests, a_file_counts_its_origins_and_pages_along);
}
