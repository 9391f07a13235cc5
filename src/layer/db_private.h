/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_DB_PRIVATE_H
#define MEMMAPFS_LAYER_DB_PRIVATE_H

/* What the files of the database share: its statements, and short words for binding and reading them. */

#include <sqlite3.h>

#include "layer/db.h"

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
	ENTRY_NEXT,
	ENTRY_OF,
	WHITEOUT_OF,
	ENTRY_NAMED,
	NODE_ADOPT,
	NODE_NEXT,
	XATTR_GET,
	XATTR_PUT,
	XATTR_DELETE,
	XATTRS,
	TRANSACTION_BEGIN,
	TRANSACTION_COMMIT,
	FACT_GET,
	FACT_PUT,
	TOTALS,
	NAMELESS,
	NODE_EXISTS,
	COVERED_ANY,
	COVERED_BY_WHITEOUTS,
	COVERED_BY_NODES,
	WRONG_WHITEOUTS,
	WRONG_NODES,
	STATEMENTS,
};

struct layer_db {
	sqlite3 *sqlite;
	bool in_file;
	bool lost;	   /* see db_is_lost() */
	int64_t committed; /* changes of the connection when the last transaction began */
	sqlite3_stmt *statements[STATEMENTS];
};

/** db_error() - 0 or the -errno that stands for a result code of SQLite's */
int db_error(int code);

void db_bind_number(sqlite3_stmt *statement, int index, uint64_t value);

/** db_bind_bytes() - the bytes stay the caller's and must live until the statement is reset; NULL binds NULL */
void db_bind_bytes(sqlite3_stmt *statement, int index, const void *bytes, size_t size);
void db_bind_name(sqlite3_stmt *statement, int index, const char *name);

/** db_end_statement() - reset a statement; for CLEANUP() */
void db_end_statement(sqlite3_stmt **statement);

/** db_run() - run a statement that returns no rows, and reset it. Return: as db_error(). */
int db_run(sqlite3_stmt *statement);

uint64_t db_number(sqlite3_stmt *statement, int column);

/** db_bytes() - a malloc'ed copy of a BLOB with a zero behind it; NULL for NULL, or without memory */
void *db_bytes(sqlite3_stmt *statement, int column, size_t *ret_size);

/** db_key() - the device, inode number and birth time that begin at a column */
struct identity_key db_key(sqlite3_stmt *statement, int column);

#endif
