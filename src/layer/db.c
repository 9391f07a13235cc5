/* SPDX-License-Identifier: MIT */
/* Records of nodes. */
#include "layer/db.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "layer/db_private.h"
#include "util.h"

static void bind_time(sqlite3_stmt *statement, int index, struct packed_time time)
{
	sqlite3_bind_int64(statement, index, time.tv_sec);
	sqlite3_bind_int64(statement, index + 1, time.tv_nsec);
}

static void bind_attributes(sqlite3_stmt *statement, const struct node_row *row)
{
	const struct statx *stx = &row->stx;

	db_bind_number(statement, 1, row->id);
	db_bind_number(statement, 2, row->own);
	db_bind_number(statement, 3, stx->stx_mode);
	db_bind_number(statement, 4, stx->stx_uid);
	db_bind_number(statement, 5, stx->stx_gid);
	db_bind_number(statement, 6, stx->stx_nlink);
	db_bind_number(statement, 7, makedev(stx->stx_rdev_major, stx->stx_rdev_minor));
	db_bind_number(statement, 8, stx->stx_size);
	bind_time(statement, 9, packed_time(stx->stx_atime));
	bind_time(statement, 11, packed_time(stx->stx_mtime));
	bind_time(statement, 13, packed_time(stx->stx_ctime));
	bind_time(statement, 15, packed_time(stx->stx_btime));
	db_bind_number(statement, 17, row->clean);
}

static void bind_origin(sqlite3_stmt *statement, const struct node_row *row)
{
	db_bind_number(statement, 21, row->origin.dev);
	db_bind_number(statement, 22, row->origin.ino);
	db_bind_number(statement, 23, (uint64_t)row->origin.birth_ns);
	if (row->handle != NULL) {
		db_bind_number(statement, 24, (uint64_t)row->handle->mount);
		db_bind_number(statement, 25, (uint64_t)row->handle->type);
		db_bind_bytes(statement, 26, row->handle->data, row->handle->bytes);
	}
	db_bind_name(statement, 27, row->path);
}

static void bind_before(sqlite3_stmt *statement, const struct origin_state *before)
{
	if (!before->known)
		return;
	db_bind_number(statement, 29, before->size);
	bind_time(statement, 30, before->mtime);
	bind_time(statement, 32, before->ctime);
}

static void bind_pages(sqlite3_stmt *statement, const struct node_row *row)
{
	db_bind_bytes(statement, 19, row->data, row->data_size);
	db_bind_bytes(statement, 20, row->zero, row->zero_size);
	db_bind_number(statement, 28, row->page_count);
	bind_before(statement, &row->before);
}

int db_node_insert(struct layer_db *db, const struct node_row *row)
{
	sqlite3_stmt *statement = db->statements[NODE_INSERT];

	bind_attributes(statement, row);
	db_bind_name(statement, 18, row->target);
	bind_pages(statement, row);
	if (row->has_origin)
		bind_origin(statement, row);
	return db_run(statement);
}

int db_node_update(struct layer_db *db, const struct node_row *row, enum db_part part)
{
	sqlite3_stmt *statement = db->statements[part == DB_PAGES ? NODE_UPDATE_PAGES : NODE_UPDATE];

	bind_attributes(statement, row);
	if (part == DB_PAGES)
		bind_pages(statement, row);
	return db_run(statement);
}

static struct packed_time read_time(sqlite3_stmt *statement, int column)
{
	return (struct packed_time){sqlite3_column_int64(statement, column),
				    (uint32_t)sqlite3_column_int64(statement, column + 1)};
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
	struct node_row row = {.id = db_number(statement, 0), .own = (uint32_t)db_number(statement, 1)};
	struct statx *stx = &row.stx;
	uint64_t rdev = db_number(statement, 6);
	size_t size;

	stx->stx_mask = STATX_BASIC_STATS | STATX_BTIME;
	stx->stx_mode = (uint16_t)db_number(statement, 2);
	stx->stx_uid = (uint32_t)db_number(statement, 3);
	stx->stx_gid = (uint32_t)db_number(statement, 4);
	stx->stx_nlink = (uint32_t)db_number(statement, 5);
	stx->stx_rdev_major = major(rdev);
	stx->stx_rdev_minor = minor(rdev);
	stx->stx_size = db_number(statement, 7);
	stx->stx_atime = unpacked_time(read_time(statement, 8));
	stx->stx_mtime = unpacked_time(read_time(statement, 10));
	stx->stx_ctime = unpacked_time(read_time(statement, 12));
	stx->stx_btime = unpacked_time(read_time(statement, 14));
	row.clean = db_number(statement, 16);
	row.target = db_bytes(statement, 17, &size);
	row.data = db_bytes(statement, 18, &row.data_size);
	row.zero = db_bytes(statement, 19, &row.zero_size);
	row.has_origin = sqlite3_column_type(statement, 21) != SQLITE_NULL;
	row.origin = db_key(statement, 20);
	row.path = db_bytes(statement, 26, &size);
	row.page_count = db_number(statement, 27);
	row.before.known = sqlite3_column_type(statement, 28) != SQLITE_NULL;
	row.before.size = db_number(statement, 28);
	row.before.mtime = read_time(statement, 29);
	row.before.ctime = read_time(statement, 31);
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
	CLEANUP(db_end_statement) sqlite3_stmt *ended = statement;
	int code = sqlite3_step(statement);

	if (code == SQLITE_DONE)
		return -ENOENT;
	return code == SQLITE_ROW ? read_row(ended, ret_row) : db_error(code);
}

int db_node_load(struct layer_db *db, uint64_t id, struct node_row *ret_row)
{
	sqlite3_stmt *statement = db->statements[NODE_LOAD];

	db_bind_number(statement, 1, id);
	return load(statement, ret_row);
}

int db_node_next(struct layer_db *db, uint64_t after, struct node_row *ret_row)
{
	sqlite3_stmt *statement = db->statements[NODE_NEXT];

	db_bind_number(statement, 1, after);
	return load(statement, ret_row);
}

int db_node_by_origin(struct layer_db *db, const struct identity_key *origin, struct node_row *ret_row)
{
	sqlite3_stmt *statement = db->statements[NODE_BY_ORIGIN];

	db_bind_number(statement, 1, origin->ino);
	db_bind_number(statement, 2, origin->dev);
	db_bind_number(statement, 3, (uint64_t)origin->birth_ns);
	return load(statement, ret_row);
}

int db_node_adopt(struct layer_db *db, const struct node_row *row)
{
	sqlite3_stmt *statement = db->statements[NODE_ADOPT];

	db_bind_number(statement, 1, row->id);
	db_bind_number(statement, 2, row->own);
	bind_origin(statement, row);
	bind_before(statement, &row->before);
	return db_run(statement);
}

int db_node_delete(struct layer_db *db, uint64_t id)
{
	int result = 0;

	for (int i = NODE_DELETE; i <= NODE_DELETE_XATTRS && result == 0; i++) {
		db_bind_number(db->statements[i], 1, id);
		result = db_run(db->statements[i]);
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

int db_totals(struct layer_db *db, uint64_t first, uint64_t count, struct db_totals *ret_totals)
{
	CLEANUP(db_end_statement) sqlite3_stmt *statement = db->statements[TOTALS];
	int code;

	db_bind_number(statement, 1, first);
	db_bind_number(statement, 2, count);
	code = sqlite3_step(statement);
	if (code != SQLITE_ROW)
		return db_error(code);
	*ret_totals = (struct db_totals){
		.last_id = MAX(db_number(statement, 0), first - 1),
		.origins = db_number(statement, 1),
		.pages = db_number(statement, 2),
	};
	return 0;
}

int db_nameless(struct layer_db *db, uint64_t *ret_id)
{
	CLEANUP(db_end_statement) sqlite3_stmt *statement = db->statements[NAMELESS];
	int code = sqlite3_step(statement);

	*ret_id = code == SQLITE_ROW ? db_number(statement, 0) : 0;
	return db_error(code);
}

int db_node_exists(struct layer_db *db, uint64_t id)
{
	CLEANUP(db_end_statement) sqlite3_stmt *statement = db->statements[NODE_EXISTS];
	int code;

	db_bind_number(statement, 1, id);
	code = sqlite3_step(statement);
	return code == SQLITE_DONE ? -ENOENT : db_error(code);
}
