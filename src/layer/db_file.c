/* SPDX-License-Identifier: MIT */
/* The database as such: schema, statements, transactions. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layer/db_private.h"
#include "util.h"

/* What format 2 added. */
#define ORIGIN_COLUMNS                                                                                       \
	", before_size INTEGER, before_mtime INTEGER, before_mtime_ns INTEGER, before_ctime INTEGER,"        \
	" before_ctime_ns INTEGER"
#define WHITEOUT_COLUMNS                                                                                     \
	", removed_ino INTEGER, removed_birth INTEGER, removed_size INTEGER, removed_mtime INTEGER,"         \
	" removed_mtime_ns INTEGER"
#define NAMES_OF_NODES                                                                                       \
	"CREATE INDEX names ON entries(node) WHERE node<>0;"                                                 \
	"CREATE INDEX whiteouts ON entries(removed_ino) WHERE node=0;"

/* Where it is missing, what is covered takes longer to be found: so it is no matter of the format. */
#define COVERED_BY_NAMES                                                                                     \
	"CREATE INDEX IF NOT EXISTS covers ON entries(removed_ino) WHERE node<>0 AND removed_ino<>0;"

static const char schema[] =
	"CREATE TABLE nodes(id INTEGER PRIMARY KEY, own INTEGER, mode INTEGER, uid INTEGER, gid INTEGER,"
	" links INTEGER, rdev INTEGER, size INTEGER, atime INTEGER, atime_ns INTEGER, mtime INTEGER,"
	" mtime_ns INTEGER, ctime INTEGER, ctime_ns INTEGER, btime INTEGER, btime_ns INTEGER, clean INTEGER,"
	" target BLOB, data BLOB, zero BLOB, origin_dev INTEGER, origin_ino INTEGER, origin_birth INTEGER,"
	" handle_mount INTEGER, handle_type INTEGER, handle BLOB, path BLOB, pages INTEGER" ORIGIN_COLUMNS
	");"
	"CREATE UNIQUE INDEX origins ON nodes(origin_ino, origin_dev, origin_birth)"
	" WHERE origin_ino IS NOT NULL;"
	"CREATE TABLE entries(parent INTEGER, name BLOB, node INTEGER" WHITEOUT_COLUMNS
	", PRIMARY KEY(parent, name)) WITHOUT ROWID;" NAMES_OF_NODES COVERED_BY_NAMES
	"CREATE INDEX nameless ON nodes(id) WHERE links=0;"
	"CREATE TABLE facts(name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;"
	"CREATE TABLE xattrs(node INTEGER, name BLOB, value BLOB, PRIMARY KEY(node, name)) WITHOUT ROWID;";

/*
 * What db_totals() says is kept up to date by the database itself, in its facts: so it is as of the same commit as
 * the records, whoever wrote them and however that ended.
 */
static const char totals[] =
	"INSERT OR REPLACE INTO facts(name,value) SELECT 'origins',count(origin_ino) FROM nodes;"
	"INSERT OR REPLACE INTO facts(name,value) SELECT 'pages',ifnull(sum(pages),0) FROM nodes;"
	"CREATE TRIGGER origin_in AFTER INSERT ON nodes WHEN new.origin_ino IS NOT NULL"
	" BEGIN UPDATE facts SET value=value+1 WHERE name='origins'; END;"
	"CREATE TRIGGER origin_out AFTER DELETE ON nodes WHEN old.origin_ino IS NOT NULL"
	" BEGIN UPDATE facts SET value=value-1 WHERE name='origins'; END;"
	"CREATE TRIGGER origin_set AFTER UPDATE OF origin_ino ON nodes"
	" BEGIN UPDATE facts SET value=value+(new.origin_ino IS NOT NULL)-(old.origin_ino IS NOT NULL)"
	" WHERE name='origins'; END;"
	"CREATE TRIGGER pages_in AFTER INSERT ON nodes WHEN ifnull(new.pages,0)<>0"
	" BEGIN UPDATE facts SET value=value+new.pages WHERE name='pages'; END;"
	"CREATE TRIGGER pages_out AFTER DELETE ON nodes WHEN ifnull(old.pages,0)<>0"
	" BEGIN UPDATE facts SET value=value-old.pages WHERE name='pages'; END;"
	"CREATE TRIGGER pages_set AFTER UPDATE OF pages ON nodes WHEN new.pages IS NOT old.pages"
	" BEGIN UPDATE facts SET value=value+ifnull(new.pages,0)-ifnull(old.pages,0)"
	" WHERE name='pages'; END;";

#define ATTRIBUTES                                                                                           \
	"own=?2,mode=?3,uid=?4,gid=?5,links=?6,rdev=?7,atime=?9,atime_ns=?10,mtime=?11,"                     \
	"mtime_ns=?12,ctime=?13,ctime_ns=?14,btime=?15,btime_ns=?16"
#define COLUMNS                                                                                              \
	"id,own,mode,uid,gid,links,rdev,size,atime,atime_ns,mtime,mtime_ns,ctime,ctime_ns,btime,btime_ns,"   \
	"clean,target,data,zero,origin_dev,origin_ino,origin_birth,handle_mount,handle_type,handle,path,"    \
	"pages,before_size,before_mtime,before_mtime_ns,before_ctime,before_ctime_ns"
#define NAMED                                                                                                \
	"SELECT e.name,e.node,n.mode,n.origin_dev,n.origin_ino,n.origin_birth,e.parent,e.removed_ino,"       \
	"e.removed_birth,e.removed_size,e.removed_mtime,e.removed_mtime_ns FROM entries e"                   \
	" LEFT JOIN nodes n ON n.id=e.node "
/* As the indexes have it. */
#define BY_WHITEOUT "node=0 AND "
#define BY_NODE "node<>0 AND removed_ino<>0 AND "
/* No file has the size -1: what the name has noted is not what was there. */
#define SET_NOTED "UPDATE entries SET removed_size=?3,removed_mtime=?4,removed_mtime_ns=?5 WHERE "
#define NOT_WRONG "removed_ino=?1 AND removed_birth=?2 AND removed_size<>-1"
#define SET_WRONG "UPDATE entries SET removed_size=-1 WHERE "
#define OTHER                                                                                                \
	"removed_ino=?1 AND removed_birth=?2"                                                                \
	" AND (removed_size<>?3 OR removed_mtime<>?4 OR removed_mtime_ns<>?5)"

static const char *const texts[STATEMENTS] = {
	[BEGIN] = "SAVEPOINT change",
	[COMMIT] = "RELEASE change",
	[ROLLBACK] = "ROLLBACK TO change",
	[NODE_INSERT] = "INSERT INTO nodes(" COLUMNS
			") VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,"
			"?15,?16,?17,?18,?19,?20,?21,?22,?23,?24,?25,?26,?27,?28,?29,?30,?31,?32,?33)",
	[NODE_UPDATE] = "UPDATE nodes SET " ATTRIBUTES " WHERE id=?1",
	[NODE_UPDATE_PAGES] = "UPDATE nodes SET " ATTRIBUTES
			      ",size=?8,clean=?17,data=?19,zero=?20,pages=?28,before_size=?29,"
			      "before_mtime=?30,before_mtime_ns=?31,before_ctime=?32,before_ctime_ns=?33"
			      " WHERE id=?1",
	[NODE_LOAD] = "SELECT " COLUMNS " FROM nodes WHERE id=?1",
	[NODE_BY_ORIGIN] = "SELECT " COLUMNS
			   " FROM nodes WHERE origin_ino=?1 AND origin_dev=?2 AND origin_birth=?3",
	[NODE_DELETE] = "DELETE FROM nodes WHERE id=?1",
	[NODE_DELETE_ENTRIES] = "DELETE FROM entries WHERE parent=?1",
	[NODE_DELETE_XATTRS] = "DELETE FROM xattrs WHERE node=?1",
	[ENTRY_GET] = "SELECT e.name,e.node,n.mode,n.origin_dev,n.origin_ino,n.origin_birth FROM entries e"
		      " LEFT JOIN nodes n ON n.id=e.node WHERE e.parent=?1 AND e.name=?2",
	[ENTRY_PUT] = "INSERT OR REPLACE INTO entries(parent,name,node,removed_ino,removed_birth,"
		      "removed_size,removed_mtime,removed_mtime_ns) VALUES(?1,?2,?3,?4,?5,?6,?7,?8)",
	[ENTRY_DELETE] = "DELETE FROM entries WHERE parent=?1 AND name=?2",
	[ENTRIES] = "SELECT e.name,e.node,n.mode,n.origin_dev,n.origin_ino,n.origin_birth FROM entries e"
		    " LEFT JOIN nodes n ON n.id=e.node WHERE e.parent=?1 ORDER BY e.name",
	[ENTRY_NEXT] = NAMED "WHERE (e.parent,e.name)>(?1,?2) ORDER BY e.parent,e.name LIMIT 1",
	[ENTRY_OF] = NAMED "WHERE e.node=?1 AND e.node<>0 ORDER BY e.parent,e.name LIMIT 1 OFFSET ?2",
	[WHITEOUT_OF] = NAMED "WHERE e.node=0 AND e.removed_ino=?1 AND e.removed_birth=?2"
			      " ORDER BY e.parent,e.name LIMIT 1 OFFSET ?3",
	[ENTRY_NAMED] = NAMED "WHERE e.parent=?1 AND e.name=?2",
	[NODE_ADOPT] =
		"UPDATE nodes SET own=?2,origin_dev=?21,origin_ino=?22,origin_birth=?23,handle_mount=?24,"
		"handle_type=?25,handle=?26,path=?27,before_size=?29,before_mtime=?30,before_mtime_ns=?31,"
		"before_ctime=?32,before_ctime_ns=?33 WHERE id=?1",
	[NODE_NEXT] = "SELECT " COLUMNS " FROM nodes WHERE id>?1 ORDER BY id LIMIT 1",
	[XATTR_GET] = "SELECT value FROM xattrs WHERE node=?1 AND name=?2",
	[XATTR_PUT] = "INSERT OR REPLACE INTO xattrs(node,name,value) VALUES(?1,?2,?3)",
	[XATTR_DELETE] = "DELETE FROM xattrs WHERE node=?1 AND name=?2",
	[XATTRS] = "SELECT name FROM xattrs WHERE node=?1",
	[TRANSACTION_BEGIN] = "BEGIN IMMEDIATE",
	[TRANSACTION_COMMIT] = "COMMIT",
	[FACT_GET] = "SELECT value FROM facts WHERE name=?1",
	[FACT_PUT] = "INSERT OR REPLACE INTO facts(name,value) VALUES(?1,?2)",
	[TOTALS] = "SELECT (SELECT max(id) FROM nodes WHERE id>=?1 AND id<?1+?2),"
		   "(SELECT value FROM facts WHERE name='origins'),"
		   "(SELECT value FROM facts WHERE name='pages')",
	[NAMELESS] = "SELECT id FROM nodes WHERE links=0 LIMIT 1",
	[NODE_EXISTS] = "SELECT 1 FROM nodes WHERE id=?1",
	/* Whiteouts and other names have an index each; inode numbers are stored as signed ones. */
	[COVERED_ANY] = "SELECT EXISTS(SELECT 1 FROM entries WHERE " BY_WHITEOUT "removed_ino>0) OR"
			" EXISTS(SELECT 1 FROM entries WHERE " BY_WHITEOUT "removed_ino<0) OR"
			" EXISTS(SELECT 1 FROM entries WHERE " BY_NODE "removed_ino>0) OR"
			" EXISTS(SELECT 1 FROM entries WHERE " BY_NODE "removed_ino<0)",
	[COVERED_BY_WHITEOUTS] = SET_NOTED BY_WHITEOUT NOT_WRONG,
	[COVERED_BY_NODES] = SET_NOTED BY_NODE NOT_WRONG,
	[WRONG_WHITEOUTS] = SET_WRONG BY_WHITEOUT OTHER,
	[WRONG_NODES] = SET_WRONG BY_NODE OTHER,
};

int db_error(int code)
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
	case SQLITE_NOTADB:
	case SQLITE_CORRUPT:
		return -EUCLEAN;
	default:
		return -EIO;
	}
}

/* "mmfs": what file(1) may know a layer by */
#define APPLICATION 0x6d6d6673

static _Thread_local int found_format;

int db_format(void)
{
	return found_format;
}

static int execute(struct layer_db *db, const char *text)
{
	return db_error(sqlite3_exec(db->sqlite, text, NULL, NULL, NULL));
}

/* The number that a query of one row says. */
static int ask(struct layer_db *db, const char *text, int *ret_value)
{
	sqlite3_stmt *statement;
	int code = sqlite3_prepare_v2(db->sqlite, text, -1, &statement, NULL);

	if (code == SQLITE_OK)
		code = sqlite3_step(statement);
	if (code == SQLITE_ROW)
		*ret_value = sqlite3_column_int(statement, 0);
	sqlite3_finalize(statement);
	return db_error(code);
}

/* Is it a layer that this program can read? A file of no bytes is about to become one. */
static int check_format(struct layer_db *db, bool *ret_empty)
{
	int application = 0, pages = 0, result = ask(db, "PRAGMA page_count", &pages);

	if (result == 0)
		result = ask(db, "PRAGMA application_id", &application);
	if (result == 0)
		result = ask(db, "PRAGMA user_version", &found_format);
	*ret_empty = pages == 0;
	if (result < 0 || *ret_empty)
		return result;
	if (application != APPLICATION)
		found_format = 0;
	return found_format >= 1 && found_format <= DB_FORMAT ? 0 : -EPROTO;
}

/* Columns are added one by one; what they are without a value means "not known". */
static int upgrade(struct layer_db *db)
{
	return execute(db, "BEGIN IMMEDIATE;"
			   "ALTER TABLE nodes ADD COLUMN before_size INTEGER;"
			   "ALTER TABLE nodes ADD COLUMN before_mtime INTEGER;"
			   "ALTER TABLE nodes ADD COLUMN before_mtime_ns INTEGER;"
			   "ALTER TABLE nodes ADD COLUMN before_ctime INTEGER;"
			   "ALTER TABLE nodes ADD COLUMN before_ctime_ns INTEGER;"
			   "ALTER TABLE entries ADD COLUMN removed_ino INTEGER;"
			   "ALTER TABLE entries ADD COLUMN removed_birth INTEGER;"
			   "ALTER TABLE entries ADD COLUMN removed_size INTEGER;"
			   "ALTER TABLE entries ADD COLUMN removed_mtime INTEGER;"
			   "ALTER TABLE entries ADD COLUMN removed_mtime_ns INTEGER;" NAMES_OF_NODES
			   "PRAGMA user_version=2; COMMIT");
}

/* One that an earlier version wrote has no totals: this once all of its records are gone through. */
static int add_totals(struct layer_db *db)
{
	int count = 0, result = ask(db, "SELECT count(*) FROM sqlite_master WHERE name='pages_in'", &count);

	if (result < 0 || count > 0)
		return result;
	result = execute(db, "BEGIN IMMEDIATE");
	if (result == 0)
		result = execute(db, totals);
	return result < 0 ? result : execute(db, "COMMIT");
}

static int prepare_file(struct layer_db *db)
{
	bool empty = false;
	int result = execute(db, "PRAGMA locking_mode=EXCLUSIVE");

	if (result == 0)
		result = check_format(db, &empty);
	if (result == 0 && empty) {
		result = execute(db, "BEGIN IMMEDIATE");
		if (result == 0)
			result = execute(db, schema);
		if (result == 0)
			result = execute(db, totals);
		if (result == 0)
			result = execute(db,
					 "PRAGMA application_id=0x6d6d6673; PRAGMA user_version=2; COMMIT");
	} else if (result == 0) {
		result = found_format < DB_FORMAT ? upgrade(db) : 0;
		if (result == 0)
			result = add_totals(db);
		if (result == 0)
			result = execute(db, COVERED_BY_NAMES);
	}
	return result < 0 ? result
			  : execute(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; "
					"PRAGMA temp_store=MEMORY");
}

static int prepare_statements(struct layer_db *db)
{
	int result = 0;

	for (int i = 0; i < STATEMENTS && result == 0; i++)
		result = db_error(sqlite3_prepare_v3(db->sqlite, texts[i], -1, SQLITE_PREPARE_PERSISTENT,
						     &db->statements[i], NULL));
	return result;
}

/* SQLite ends a transaction by itself where it cannot go on with it: what follows would be half of what was changed. */
static void note_rollback(void *context)
{
	struct layer_db *db = context;

	db->lost = true;
}

/* Other than 0 undoes the transaction. */
static int refuse_lost(void *context)
{
	const struct layer_db *db = context;

	return db->lost;
}

int db_open(const char *path, struct layer_db **ret_db)
{
	struct layer_db *db = calloc(1, sizeof(*db));
	int code, result;

	if (db == NULL)
		return -ENOMEM;
	code = sqlite3_open_v2(path == NULL ? ":memory:" : path, &db->sqlite,
			       SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	result = code != SQLITE_OK ? db_error(code) : path == NULL ? execute(db, schema) : prepare_file(db);
	if (result == 0)
		result = prepare_statements(db);
	db->in_file = path != NULL;
	if (result == 0 && db->in_file)
		result = db_run(db->statements[TRANSACTION_BEGIN]);
	if (result == 0 && db->in_file) {
		sqlite3_rollback_hook(db->sqlite, note_rollback, db);
		sqlite3_commit_hook(db->sqlite, refuse_lost, db);
	}
	if (result < 0) {
		db_close(db);
		return result;
	}
	*ret_db = db;
	return 0;
}

int db_open_shared(const char *path, struct layer_db **ret_db)
{
	struct layer_db *db = calloc(1, sizeof(*db));
	char *uri;
	bool empty = false;
	int code, result;

	/* Without a lock of SQLite's: its kind would keep others from reading, or need a file to be written. */
	if (db == NULL || asprintf(&uri, "file:%s?immutable=1", path) < 0) {
		free(db);
		return -ENOMEM;
	}
	code = sqlite3_open_v2(uri, &db->sqlite, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX,
			       NULL);
	free(uri);
	result = code != SQLITE_OK ? db_error(code) : check_format(db, &empty);
	if (result == 0 && empty)
		result = -EUCLEAN;
	/* An older one is brought to today's when it is opened to be written. */
	if (result == 0 && found_format != DB_FORMAT)
		result = -EPROTO;
	if (result == 0)
		result = prepare_statements(db);
	if (result < 0) {
		db_close(db);
		return result;
	}
	*ret_db = db;
	return 0;
}

/* Without a transaction every statement would be one. */
static void note_lost(struct layer_db *db)
{
	if (db->in_file && sqlite3_get_autocommit(db->sqlite))
		db->lost = true;
}

bool db_is_lost(const struct layer_db *db)
{
	return db->lost;
}

void db_give_up(struct layer_db *db)
{
	db->lost = true;
}

int db_settle(struct layer_db *db)
{
	int result = db_run(db->statements[TRANSACTION_COMMIT]), begun, busy = 0;

	/* Where somebody is in its way it says so in its row. */
	if (result == 0)
		result = ask(db, "PRAGMA wal_checkpoint(TRUNCATE)", &busy);
	if (result == 0 && busy != 0)
		result = -EBUSY;
	begun = db_run(db->statements[TRANSACTION_BEGIN]);
	note_lost(db);
	return result < 0 ? result : begun;
}

bool db_has_changes(const struct layer_db *db)
{
	return db->in_file && sqlite3_total_changes64(db->sqlite) != db->committed;
}

int db_commit(struct layer_db *db, bool *ret_changed)
{
	int result;

	*ret_changed = !db->lost && db_has_changes(db);
	if (!*ret_changed)
		return db->lost ? -EIO : 0;
	result = db_run(db->statements[TRANSACTION_COMMIT]);
	if (result < 0) {
		note_lost(db);
		return result;
	}
	db->committed = sqlite3_total_changes64(db->sqlite);
	result = db_run(db->statements[TRANSACTION_BEGIN]);
	note_lost(db);
	return result;
}

void db_close(struct layer_db *db)
{
	if (db == NULL)
		return;
	for (int i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(db->statements[i]);
	if (db->in_file && !db->lost)
		execute(db, "COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
	/* Whoever opens it next takes of the log what is whole. */
	else if (db->in_file)
		sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	sqlite3_close(db->sqlite);
	free(db);
}

void db_bind_number(sqlite3_stmt *statement, int index, uint64_t value)
{
	sqlite3_bind_int64(statement, index, (sqlite3_int64)value);
}

void db_bind_bytes(sqlite3_stmt *statement, int index, const void *bytes, size_t size)
{
	if (bytes == NULL)
		sqlite3_bind_null(statement, index);
	else if (size == 0)
		sqlite3_bind_zeroblob(statement, index, 0);
	else
		sqlite3_bind_blob64(statement, index, bytes, size, SQLITE_STATIC);
}

void db_bind_name(sqlite3_stmt *statement, int index, const char *name)
{
	db_bind_bytes(statement, index, name, name == NULL ? 0 : strlen(name));
}

static void end(sqlite3_stmt *statement)
{
	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
}

void db_end_statement(sqlite3_stmt **statement)
{
	end(*statement);
}

int db_run(sqlite3_stmt *statement)
{
	int code = sqlite3_step(statement);

	end(statement);
	return db_error(code);
}

uint64_t db_number(sqlite3_stmt *statement, int column)
{
	return (uint64_t)sqlite3_column_int64(statement, column);
}

void *db_bytes(sqlite3_stmt *statement, int column, size_t *ret_size)
{
	size_t size = (size_t)sqlite3_column_bytes(statement, column);
	const void *bytes = sqlite3_column_blob(statement, column);

	*ret_size = size;
	if (sqlite3_column_type(statement, column) == SQLITE_NULL)
		return NULL;
	return copy_text(bytes == NULL ? "" : bytes, size);
}

struct identity_key db_key(sqlite3_stmt *statement, int column)
{
	return (struct identity_key){
		.dev = db_number(statement, column),
		.ino = db_number(statement, column + 1),
		.birth_ns = sqlite3_column_int64(statement, column + 2),
	};
}

int db_begin(struct layer_db *db)
{
	return db_run(db->statements[BEGIN]);
}

int db_end(struct layer_db *db, int result)
{
	int released;

	if (result < 0)
		db_run(db->statements[ROLLBACK]);
	released = db_run(db->statements[COMMIT]);
	note_lost(db);
	return result < 0 ? result : released;
}
