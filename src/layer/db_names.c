/* SPDX-License-Identifier: MIT */
/* Names of directories, extended attributes, and facts about the whole. */
#include <errno.h>
#include <stdlib.h>

#include "layer/db_private.h"
#include "util.h"

static struct db_entry read_entry(sqlite3_stmt *statement)
{
	return (struct db_entry){
		.node = db_number(statement, 1),
		.type = (mode_t)db_number(statement, 2) & S_IFMT,
		.has_origin = sqlite3_column_type(statement, 4) != SQLITE_NULL,
		.origin = db_key(statement, 3),
	};
}

int db_entry_get(struct layer_db *db, uint64_t parent, const char *name, struct db_entry *ret_entry)
{
	CLEANUP(db_end_statement) sqlite3_stmt *statement = db->statements[ENTRY_GET];
	int code;

	db_bind_number(statement, 1, parent);
	db_bind_name(statement, 2, name);
	code = sqlite3_step(statement);
	if (code == SQLITE_DONE)
		return -ENOENT;
	if (code == SQLITE_ROW)
		*ret_entry = read_entry(statement);
	return db_error(code);
}

int db_entry_put(struct layer_db *db, uint64_t parent, const char *name, uint64_t node)
{
	sqlite3_stmt *statement = db->statements[ENTRY_PUT];

	db_bind_number(statement, 1, parent);
	db_bind_name(statement, 2, name);
	db_bind_number(statement, 3, node);
	return db_run(statement);
}

int db_entry_cover(struct layer_db *db, uint64_t parent, const char *name, uint64_t node,
		   const struct statx *covered)
{
	struct identity_key key = identity_of_statx(covered);
	sqlite3_stmt *statement = db->statements[ENTRY_PUT];

	db_bind_number(statement, 1, parent);
	db_bind_name(statement, 2, name);
	db_bind_number(statement, 3, node);
	db_bind_number(statement, 4, key.ino);
	db_bind_number(statement, 5, (uint64_t)key.birth_ns);
	db_bind_number(statement, 6, covered->stx_size);
	db_bind_number(statement, 7, (uint64_t)covered->stx_mtime.tv_sec);
	db_bind_number(statement, 8, covered->stx_mtime.tv_nsec);
	return db_run(statement);
}

static int read_named(sqlite3_stmt *statement, struct db_named *ret_named)
{
	CLEANUP(db_end_statement) sqlite3_stmt *ended = statement;
	int code = sqlite3_step(ended);
	size_t size;

	if (code == SQLITE_DONE)
		return -ENOENT;
	if (code != SQLITE_ROW)
		return db_error(code);
	*ret_named = (struct db_named){
		.parent = db_number(ended, 6),
		.name = db_bytes(ended, 0, &size),
		.entry = read_entry(ended),
		.removed_key = {.ino = db_number(ended, 7), .birth_ns = sqlite3_column_int64(ended, 8)},
		.removed = {.known = sqlite3_column_type(ended, 7) != SQLITE_NULL,
			    .size = db_number(ended, 9),
			    .mtime = {.tv_sec = sqlite3_column_int64(ended, 10),
				      .tv_nsec = (uint32_t)db_number(ended, 11)}},
	};
	return ret_named->name == NULL ? -ENOMEM : 0;
}

int db_entry_next(struct layer_db *db, uint64_t parent, const char *name, struct db_named *ret_named)
{
	sqlite3_stmt *statement = db->statements[ENTRY_NEXT];

	db_bind_number(statement, 1, parent);
	db_bind_name(statement, 2, name);
	return read_named(statement, ret_named);
}

int db_entry_of(struct layer_db *db, uint64_t node, uint64_t index, struct db_named *ret_named)
{
	sqlite3_stmt *statement = db->statements[ENTRY_OF];

	db_bind_number(statement, 1, node);
	db_bind_number(statement, 2, index);
	return read_named(statement, ret_named);
}

int db_entry_named(struct layer_db *db, uint64_t parent, const char *name, struct db_named *ret_named)
{
	sqlite3_stmt *statement = db->statements[ENTRY_NAMED];

	db_bind_number(statement, 1, parent);
	db_bind_name(statement, 2, name);
	return read_named(statement, ret_named);
}

int db_whiteout_of(struct layer_db *db, const struct identity_key *removed, uint64_t index,
		   struct db_named *ret_named)
{
	sqlite3_stmt *statement = db->statements[WHITEOUT_OF];

	db_bind_number(statement, 1, removed->ino);
	db_bind_number(statement, 2, (uint64_t)removed->birth_ns);
	db_bind_number(statement, 3, index);
	return read_named(statement, ret_named);
}

int db_has_covered(struct layer_db *db)
{
	CLEANUP(db_end_statement) sqlite3_stmt *statement = db->statements[COVERED_ANY];
	int code = sqlite3_step(statement);

	return code == SQLITE_ROW ? sqlite3_column_int(statement, 0) : db_error(code);
}

static int run_for_covered(struct layer_db *db, const enum statement statements[2],
			   const struct identity_key *key, const struct statx *now)
{
	int result = 0;

	for (size_t i = 0; i < 2 && result == 0; i++) {
		sqlite3_stmt *statement = db->statements[statements[i]];

		db_bind_number(statement, 1, key->ino);
		db_bind_number(statement, 2, (uint64_t)key->birth_ns);
		db_bind_number(statement, 3, now->stx_size);
		db_bind_number(statement, 4, (uint64_t)now->stx_mtime.tv_sec);
		db_bind_number(statement, 5, now->stx_mtime.tv_nsec);
		result = db_run(statement);
	}
	return result;
}

int db_covered_before(struct layer_db *db, const struct identity_key *key, const struct statx *now)
{
	static const enum statement statements[] = {WRONG_WHITEOUTS, WRONG_NODES};

	return run_for_covered(db, statements, key, now);
}

int db_covered_now(struct layer_db *db, const struct identity_key *key, const struct statx *now)
{
	static const enum statement statements[] = {COVERED_BY_WHITEOUTS, COVERED_BY_NODES};

	return run_for_covered(db, statements, key, now);
}

int db_xattrs_delete(struct layer_db *db, uint64_t node)
{
	sqlite3_stmt *statement = db->statements[NODE_DELETE_XATTRS];

	db_bind_number(statement, 1, node);
	return db_run(statement);
}

void db_named_fini(struct db_named *named)
{
	free(named->name);
	named->name = NULL;
}

int db_entry_delete(struct layer_db *db, uint64_t parent, const char *name)
{
	sqlite3_stmt *statement = db->statements[ENTRY_DELETE];

	db_bind_number(statement, 1, parent);
	db_bind_name(statement, 2, name);
	return db_run(statement);
}

int db_entries(struct layer_db *db, uint64_t parent,
	       int (*call)(void *context, const char *name, const struct db_entry *entry), void *context)
{
	CLEANUP(db_end_statement) sqlite3_stmt *statement = db->statements[ENTRIES];
	int code, result = 0;

	db_bind_number(statement, 1, parent);
	while (result >= 0 && (code = sqlite3_step(statement)) == SQLITE_ROW) {
		CLEANUP(free_pointer) char *name = NULL;
		struct db_entry entry = read_entry(statement);
		size_t size;

		name = db_bytes(statement, 0, &size);
		result = name == NULL ? -ENOMEM : call(context, name, &entry);
	}
	return result < 0 ? result : db_error(code);
}

ssize_t db_xattr_get(struct layer_db *db, uint64_t node, const char *name, void **ret_value)
{
	CLEANUP(db_end_statement) sqlite3_stmt *statement = db->statements[XATTR_GET];
	size_t size;
	int code;

	db_bind_number(statement, 1, node);
	db_bind_name(statement, 2, name);
	code = sqlite3_step(statement);
	if (code == SQLITE_DONE)
		return -ENODATA;
	if (code != SQLITE_ROW)
		return db_error(code);
	*ret_value = db_bytes(statement, 0, &size);
	return *ret_value == NULL ? -ENOMEM : (ssize_t)size;
}

int db_xattr_put(struct layer_db *db, uint64_t node, const char *name, const void *value, size_t size)
{
	sqlite3_stmt *statement = db->statements[XATTR_PUT];

	db_bind_number(statement, 1, node);
	db_bind_name(statement, 2, name);
	db_bind_bytes(statement, 3, value == NULL ? "" : value, size);
	return db_run(statement);
}

int db_xattr_delete(struct layer_db *db, uint64_t node, const char *name)
{
	sqlite3_stmt *statement = db->statements[XATTR_DELETE];

	db_bind_number(statement, 1, node);
	db_bind_name(statement, 2, name);
	return db_run(statement);
}

int db_xattrs(struct layer_db *db, uint64_t node, int (*call)(void *context, const char *name), void *context)
{
	CLEANUP(db_end_statement) sqlite3_stmt *statement = db->statements[XATTRS];
	int code, result = 0;

	db_bind_number(statement, 1, node);
	while (result >= 0 && (code = sqlite3_step(statement)) == SQLITE_ROW) {
		CLEANUP(free_pointer) char *name = NULL;
		size_t size;

		name = db_bytes(statement, 0, &size);
		result = name == NULL ? -ENOMEM : call(context, name);
	}
	return result < 0 ? result : db_error(code);
}

ssize_t db_fact_get(struct layer_db *db, const char *name, void **ret_value)
{
	CLEANUP(db_end_statement) sqlite3_stmt *statement = db->statements[FACT_GET];
	size_t size;
	int code;

	sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
	code = sqlite3_step(statement);
	if (code == SQLITE_DONE)
		return -ENODATA;
	if (code != SQLITE_ROW)
		return db_error(code);
	*ret_value = db_bytes(statement, 0, &size);
	return *ret_value == NULL ? -ENOMEM : (ssize_t)size;
}

int db_fact_put(struct layer_db *db, const char *name, const void *value, size_t size)
{
	sqlite3_stmt *statement = db->statements[FACT_PUT];

	sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
	db_bind_bytes(statement, 2, value, size);
	return db_run(statement);
}
