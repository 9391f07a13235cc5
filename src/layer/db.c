/* SPDX-License-Identifier: MIT */
#include "layer/db.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "util.h"

static const char schema[] =
	"CREATE TABLE nodes(id INTEGER PRIMARY KEY, own INTEGER, mode INTEGER, uid INTEGER, gid INTEGER,"
	" links INTEGER, rdev INTEGER, size INTEGER, atime INTEGER, atime_ns INTEGER, mtime INTEGER,"
	" mtime_ns INTEGER, ctime INTEGER, ctime_ns INTEGER, btime INTEGER, btime_ns INTEGER, clean INTEGER,"
	" target BLOB, data BLOB, zero BLOB, origin_dev INTEGER, origin_ino INTEGER, origin_birth INTEGER,"
	" handle_mount INTEGER, handle_type INTEGER, handle BLOB, path BLOB);"
	"CREATE UNIQUE INDEX origins ON nodes(origin_ino, origin_dev, origin_birth)"
	" WHERE origin_ino IS NOT NULL;"
	"CREATE TABLE entries(parent INTEGER, name BLOB, node INTEGER, PRIMARY KEY(parent, name))"
	" WITHOUT ROWID;"
	"CREATE TABLE xattrs(node INTEGER, name BLOB, value BLOB, PRIMARY KEY(node, name)) WITHOUT ROWID;";

#define ATTRIBUTES                                                                                           \
	"own=?2,mode=?3,uid=?4,gid=?5,links=?6,rdev=?7,size=?8,atime=?9,atime_ns=?10,mtime=?11,"             \
	"mtime_ns=?12,ctime=?13,ctime_ns=?14,btime=?15,btime_ns=?16,clean=?17"
#define COLUMNS                                                                                              \
	"id,own,mode,uid,gid,links,rdev,size,atime,atime_ns,mtime,mtime_ns,ctime,ctime_ns,btime,btime_ns,"   \
	"clean,target,data,zero,origin_dev,origin_ino,origin_birth,handle_mount,handle_type,handle,path"

enum statement {
	BEGIN,
	COMMIT,
	ROLLBACK,
	NODE_INSERT,
	NODE_UPDATE,
	NODE_UPDATE_PAGES,
	NODE_LOAD,
	NODE_BY_ORIGIN,
	NODE_DELETE,
	NODE_DELETE_ENTRIES,
	NODE_DELETE_XATTRS,
	ENTRY_GET,
	ENTRY_PUT,
	ENTRY_DELETE,
	ENTRIES,
	XATTR_GET,
	XATTR_PUT,
	XATTR_DELETE,
	XATTRS,
	STATEMENTS,
};

static const char *const texts[STATEMENTS] = {
	[BEGIN] = "SAVEPOINT change",
	[COMMIT] = "RELEASE change",
	[ROLLBACK] = "ROLLBACK TO change",
	[NODE_INSERT] = "INSERT INTO nodes(" COLUMNS
			") VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,"
			"?15,?16,?17,?18,?19,?20,?21,?22,?23,?24,?25,?26,?27)",
	[NODE_UPDATE] = "UPDATE nodes SET " ATTRIBUTES " WHERE id=?1",
	[NODE_UPDATE_PAGES] = "UPDATE nodes SET " ATTRIBUTES ",data=?19,zero=?20 WHERE id=?1",
	[NODE_LOAD] = "SELECT " COLUMNS " FROM nodes WHERE id=?1",
	[NODE_BY_ORIGIN] = "SELECT " COLUMNS
			   " FROM nodes WHERE origin_ino=?1 AND origin_dev=?2 AND origin_birth=?3",
	[NODE_DELETE] = "DELETE FROM nodes WHERE id=?1",
	[NODE_DELETE_ENTRIES] = "DELETE FROM entries WHERE parent=?1",
	[NODE_DELETE_XATTRS] = "DELETE FROM xattrs WHERE node=?1",
	[ENTRY_GET] = "SELECT e.name,e.node,n.mode,n.origin_dev,n.origin_ino,n.origin_birth FROM entries e"
		      " LEFT JOIN nodes n ON n.id=e.node WHERE e.parent=?1 AND e.name=?2",
	[ENTRY_PUT] = "INSERT OR REPLACE INTO entries(parent,name,node) VALUES(?1,?2,?3)",
	[ENTRY_DELETE] = "DELETE FROM entries WHERE parent=?1 AND name=?2",
	[ENTRIES] = "SELECT e.name,e.node,n.mode,n.origin_dev,n.origin_ino,n.origin_birth FROM entries e"
		    " LEFT JOIN nodes n ON n.id=e.node WHERE e.parent=?1 ORDER BY e.name",
	[XATTR_GET] = "SELECT value FROM xattrs WHERE node=?1 AND name=?2",
	[XATTR_PUT] = "INSERT OR REPLACE INTO xattrs(node,name,value) VALUES(?1,?2,?3)",
	[XATTR_DELETE] = "DELETE FROM xattrs WHERE node=?1 AND name=?2",
	[XATTRS] = "SELECT name FROM xattrs WHERE node=?1",
};

struct layer_db {
	sqlite3 *sqlite;
	sqlite3_stmt *statements[STATEMENTS];
};

static int error_of(int code)
{
	switch (code & 0xff) {
	case SQLITE_OK:
	case SQLITE_DONE:
	case SQLITE_ROW:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	default:
		return -EIO;
	}
}

int db_open(struct layer_db **ret_db)
{
	struct layer_db *db = calloc(1, sizeof(*db));
	int code;

	if (db == NULL)
		return -ENOMEM;
	code = sqlite3_open_v2(":memory:", &db->sqlite,
			       SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_exec(db->sqlite, schema, NULL, NULL, NULL);
	for (int i = 0; i < STATEMENTS && code == SQLITE_OK; i++)
		code = sqlite3_prepare_v3(db->sqlite, texts[i], -1, SQLITE_PREPARE_PERSISTENT,
					  &db->statements[i], NULL);
	if (code != SQLITE_OK) {
		db_close(db);
		return error_of(code);
	}
	*ret_db = db;
	return 0;
}

void db_close(struct layer_db *db)
{
	if (db == NULL)
		return;
	for (int i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(db->statements[i]);
	sqlite3_close(db->sqlite);
	free(db);
}

static void bind_number(sqlite3_stmt *statement, int index, uint64_t value)
{
	sqlite3_bind_int64(statement, index, (sqlite3_int64)value);
}

/* The bytes stay the caller's and must live until the statement is reset. NULL binds NULL. */
static void bind_bytes(sqlite3_stmt *statement, int index, const void *bytes, size_t size)
{
	if (bytes == NULL)
		sqlite3_bind_null(statement, index);
	else if (size == 0)
		sqlite3_bind_zeroblob(statement, index, 0);
	else
		sqlite3_bind_blob64(statement, index, bytes, size, SQLITE_STATIC);
}

static void bind_name(sqlite3_stmt *statement, int index, const char *name)
{
	bind_bytes(statement, index, name, name == NULL ? 0 : strlen(name));
}

static void end(sqlite3_stmt *statement)
{
	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
}

static void end_statement(sqlite3_stmt **statement)
{
	end(*statement);
}

/* A statement that returns no rows. */
static int run(sqlite3_stmt *statement)
{
	int code = sqlite3_step(statement);

	end(statement);
	return error_of(code);
}

static uint64_t number_of(sqlite3_stmt *statement, int column)
{
	return (uint64_t)sqlite3_column_int64(statement, column);
}

/* A malloc'ed copy of a BLOB with a zero behind it; NULL for NULL or without memory. */
static void *bytes_of(sqlite3_stmt *statement, int column, size_t *ret_size)
{
	size_t size = (size_t)sqlite3_column_bytes(statement, column);
	const void *bytes = sqlite3_column_blob(statement, column);

	*ret_size = size;
	if (sqlite3_column_type(statement, column) == SQLITE_NULL)
		return NULL;
	return copy_text(bytes == NULL ? "" : bytes, size);
}

int db_begin(struct layer_db *db)
{
	return run(db->statements[BEGIN]);
}

int db_end(struct layer_db *db, int result)
{
	int released;

	if (result < 0)
		run(db->statements[ROLLBACK]);
	released = run(db->statements[COMMIT]);
	return result < 0 ? result : released;
}

static void bind_time(sqlite3_stmt *statement, int index, const struct statx_timestamp *time)
{
	sqlite3_bind_int64(statement, index, time->tv_sec);
	sqlite3_bind_int64(statement, index + 1, time->tv_nsec);
}

static void bind_attributes(sqlite3_stmt *statement, const struct node_row *row)
{
	const struct statx *stx = &row->stx;

	bind_number(statement, 1, row->id);
	bind_number(statement, 2, row->own);
	bind_number(statement, 3, stx->stx_mode);
	bind_number(statement, 4, stx->stx_uid);
	bind_number(statement, 5, stx->stx_gid);
	bind_number(statement, 6, stx->stx_nlink);
	bind_number(statement, 7, makedev(stx->stx_rdev_major, stx->stx_rdev_minor));
	bind_number(statement, 8, stx->stx_size);
	bind_time(statement, 9, &stx->stx_atime);
	bind_time(statement, 11, &stx->stx_mtime);
	bind_time(statement, 13, &stx->stx_ctime);
	bind_time(statement, 15, &stx->stx_btime);
	bind_number(statement, 17, row->clean);
}

static void bind_pages(sqlite3_stmt *statement, const struct node_row *row)
{
	bind_bytes(statement, 19, row->data, row->data_size);
	bind_bytes(statement, 20, row->zero, row->zero_size);
}

int db_node_insert(struct layer_db *db, const struct node_row *row)
{
	sqlite3_stmt *statement = db->statements[NODE_INSERT];

	bind_attributes(statement, row);
	bind_name(statement, 18, row->target);
	bind_pages(statement, row);
	if (row->has_origin) {
		bind_number(statement, 21, row->origin.dev);
		bind_number(statement, 22, row->origin.ino);
		bind_number(statement, 23, (uint64_t)row->origin.birth_ns);
		if (row->handle != NULL) {
			bind_number(statement, 24, (uint64_t)row->handle->mount);
			bind_number(statement, 25, (uint64_t)row->handle->type);
			bind_bytes(statement, 26, row->handle->data, row->handle->bytes);
		}
		bind_name(statement, 27, row->path);
	}
	return run(statement);
}

int db_node_update(struct layer_db *db, const struct node_row *row, enum db_part part)
{
	sqlite3_stmt *statement = db->statements[part == DB_PAGES ? NODE_UPDATE_PAGES : NODE_UPDATE];

	bind_attributes(statement, row);
	if (part == DB_PAGES)
		bind_pages(statement, row);
	return run(statement);
}

static void read_time(sqlite3_stmt *statement, int column, struct statx_timestamp *ret_time)
{
	ret_time->tv_sec = sqlite3_column_int64(statement, column);
	ret_time->tv_nsec = (uint32_t)sqlite3_column_int64(statement, column + 1);
}

static struct identity_key read_key(sqlite3_stmt *statement, int column)
{
	return (struct identity_key){
		.dev = number_of(statement, column),
		.ino = number_of(statement, column + 1),
		.birth_ns = sqlite3_column_int64(statement, column + 2),
	};
}

static int read_handle(sqlite3_stmt *statement, struct identity_handle **ret_handle)
{
	size_t size = (size_t)sqlite3_column_bytes(statement, 25);
	struct identity_handle *handle;

	*ret_handle = NULL;
	if (sqlite3_column_type(statement, 25) == SQLITE_NULL)
		return 0;
	handle = malloc(sizeof(*handle) + size);
	if (handle == NULL)
		return -ENOMEM;
	handle->mount = sqlite3_column_int(statement, 23);
	handle->type = sqlite3_column_int(statement, 24);
	handle->bytes = (unsigned)size;
	memcpy(handle->data, sqlite3_column_blob(statement, 25), size);
	*ret_handle = handle;
	return 0;
}

static int read_row(sqlite3_stmt *statement, struct node_row *ret_row)
{
	struct node_row row = {.id = number_of(statement, 0), .own = (uint32_t)number_of(statement, 1)};
	struct statx *stx = &row.stx;
	uint64_t rdev = number_of(statement, 6);
	size_t size;

	stx->stx_mask = STATX_BASIC_STATS | STATX_BTIME;
	stx->stx_mode = (uint16_t)number_of(statement, 2);
	stx->stx_uid = (uint32_t)number_of(statement, 3);
	stx->stx_gid = (uint32_t)number_of(statement, 4);
	stx->stx_nlink = (uint32_t)number_of(statement, 5);
	stx->stx_rdev_major = major(rdev);
	stx->stx_rdev_minor = minor(rdev);
	stx->stx_size = number_of(statement, 7);
	read_time(statement, 8, &stx->stx_atime);
	read_time(statement, 10, &stx->stx_mtime);
	read_time(statement, 12, &stx->stx_ctime);
	read_time(statement, 14, &stx->stx_btime);
	row.clean = number_of(statement, 16);
	row.target = bytes_of(statement, 17, &size);
	row.data = bytes_of(statement, 18, &row.data_size);
	row.zero = bytes_of(statement, 19, &row.zero_size);
	row.has_origin = sqlite3_column_type(statement, 21) != SQLITE_NULL;
	row.origin = read_key(statement, 20);
	row.path = bytes_of(statement, 26, &size);
	if (read_handle(statement, &row.handle) < 0 || (row.data_size > 0 && row.data == NULL) ||
	    (row.zero_size > 0 && row.zero == NULL)) {
		db_row_fini(&row);
		return -ENOMEM;
	}
	*ret_row = row;
	return 0;
}

static int load(sqlite3_stmt *statement, struct node_row *ret_row)
{
	CLEANUP(end_statement) sqlite3_stmt *ended = statement;
	int code = sqlite3_step(statement);

	if (code == SQLITE_DONE)
		return -ENOENT;
	return code == SQLITE_ROW ? read_row(ended, ret_row) : error_of(code);
}

int db_node_load(struct layer_db *db, uint64_t id, struct node_row *ret_row)
{
	sqlite3_stmt *statement = db->statements[NODE_LOAD];

	bind_number(statement, 1, id);
	return load(statement, ret_row);
}

int db_node_by_origin(struct layer_db *db, const struct identity_key *origin, struct node_row *ret_row)
{
	sqlite3_stmt *statement = db->statements[NODE_BY_ORIGIN];

	bind_number(statement, 1, origin->ino);
	bind_number(statement, 2, origin->dev);
	bind_number(statement, 3, (uint64_t)origin->birth_ns);
	return load(statement, ret_row);
}

int db_node_delete(struct layer_db *db, uint64_t id)
{
	int result = 0;

	for (int i = NODE_DELETE; i <= NODE_DELETE_XATTRS && result == 0; i++) {
		bind_number(db->statements[i], 1, id);
		result = run(db->statements[i]);
	}
	return result;
}

void db_row_fini(struct node_row *row)
{
	free(row->handle);
	free(row->path);
	free(row->target);
	free(row->data);
	free(row->zero);
	*row = (struct node_row){0};
}

static struct db_entry read_entry(sqlite3_stmt *statement)
{
	return (struct db_entry){
		.node = number_of(statement, 1),
		.type = (mode_t)number_of(statement, 2) & S_IFMT,
		.has_origin = sqlite3_column_type(statement, 4) != SQLITE_NULL,
		.origin = read_key(statement, 3),
	};
}

int db_entry_get(struct layer_db *db, uint64_t parent, const char *name, struct db_entry *ret_entry)
{
	CLEANUP(end_statement) sqlite3_stmt *statement = db->statements[ENTRY_GET];
	int code;

	bind_number(statement, 1, parent);
	bind_name(statement, 2, name);
	code = sqlite3_step(statement);
	if (code == SQLITE_DONE)
		return -ENOENT;
	if (code == SQLITE_ROW)
		*ret_entry = read_entry(statement);
	return error_of(code);
}

int db_entry_put(struct layer_db *db, uint64_t parent, const char *name, uint64_t node)
{
	sqlite3_stmt *statement = db->statements[ENTRY_PUT];

	bind_number(statement, 1, parent);
	bind_name(statement, 2, name);
	bind_number(statement, 3, node);
	return run(statement);
}

int db_entry_delete(struct layer_db *db, uint64_t parent, const char *name)
{
	sqlite3_stmt *statement = db->statements[ENTRY_DELETE];

	bind_number(statement, 1, parent);
	bind_name(statement, 2, name);
	return run(statement);
}

int db_entries(struct layer_db *db, uint64_t parent,
	       int (*call)(void *context, const char *name, const struct db_entry *entry), void *context)
{
	CLEANUP(end_statement) sqlite3_stmt *statement = db->statements[ENTRIES];
	int code, result = 0;

	bind_number(statement, 1, parent);
	while (result >= 0 && (code = sqlite3_step(statement)) == SQLITE_ROW) {
		CLEANUP(free_pointer) char *name = NULL;
		struct db_entry entry = read_entry(statement);
		size_t size;

		name = bytes_of(statement, 0, &size);
		result = name == NULL ? -ENOMEM : call(context, name, &entry);
	}
	return result < 0 ? result : error_of(code);
}

ssize_t db_xattr_get(struct layer_db *db, uint64_t node, const char *name, void **ret_value)
{
	CLEANUP(end_statement) sqlite3_stmt *statement = db->statements[XATTR_GET];
	size_t size;
	int code;

	bind_number(statement, 1, node);
	bind_name(statement, 2, name);
	code = sqlite3_step(statement);
	if (code == SQLITE_DONE)
		return -ENODATA;
	if (code != SQLITE_ROW)
		return error_of(code);
	*ret_value = bytes_of(statement, 0, &size);
	return *ret_value == NULL ? -ENOMEM : (ssize_t)size;
}

int db_xattr_put(struct layer_db *db, uint64_t node, const char *name, const void *value, size_t size)
{
	sqlite3_stmt *statement = db->statements[XATTR_PUT];

	bind_number(statement, 1, node);
	bind_name(statement, 2, name);
	bind_bytes(statement, 3, value == NULL ? "" : value, size);
	return run(statement);
}

int db_xattr_delete(struct layer_db *db, uint64_t node, const char *name)
{
	sqlite3_stmt *statement = db->statements[XATTR_DELETE];

	bind_number(statement, 1, node);
	bind_name(statement, 2, name);
	return run(statement);
}

int db_xattrs(struct layer_db *db, uint64_t node, int (*call)(void *context, const char *name), void *context)
{
	CLEANUP(end_statement) sqlite3_stmt *statement = db->statements[XATTRS];
	int code, result = 0;

	bind_number(statement, 1, node);
	while (result >= 0 && (code = sqlite3_step(statement)) == SQLITE_ROW) {
		CLEANUP(free_pointer) char *name = NULL;
		size_t size;

		name = bytes_of(statement, 0, &size);
		result = name == NULL ? -ENOMEM : call(context, name);
	}
	return result < 0 ? result : error_of(code);
}
