/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_DB_H
#define MEMMAPFS_LAYER_DB_H

/*
 * A layer's records: nodes, names, extended attributes, in an SQLite database, in memory or in a file with a
 * write-ahead log. Knows rows; what they mean is layer.c's business. One connection, no lock of its own: every
 * call is made with layer->lock held.
 *
 * In a file all changes are one transaction until db_commit() ends it and begins the next. Then they survive the
 * end of the process, and the end of the machine once the log has been synced.
 *
 * Errors of SQLite come back as -ENOSPC (disk full), -ENOMEM or -EIO.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "identity.h"

struct layer_db;

/* struct statx_timestamp without what it has to spare: nodes are many and have several. */
struct packed_time {
	int64_t tv_sec;
	uint32_t tv_nsec;
} __attribute__((packed, aligned(4)));

/** packed_time() - a time as nodes keep it */
static inline struct packed_time packed_time(struct statx_timestamp time)
{
	return (struct packed_time){time.tv_sec, time.tv_nsec};
}

/** unpacked_time() - the same for everybody else */
static inline struct statx_timestamp unpacked_time(struct packed_time time)
{
	return (struct statx_timestamp){.tv_sec = time.tv_sec, .tv_nsec = time.tv_nsec};
}

/** packed_time_is() - are they the same? */
static inline bool packed_time_is(struct packed_time time, struct statx_timestamp other)
{
	return time.tv_sec == other.tv_sec && time.tv_nsec == other.tv_nsec;
}

/* What an object of BACKING looked like at a moment; each of these differs once somebody changed it. */
struct origin_state {
	uint64_t size;
	struct packed_time mtime, ctime;
	bool known; /* false: of a layer that an earlier version wrote */
};

/* One record of a node. Pointers are malloc'ed and the row's own; free with db_row_fini(). */
struct node_row {
	uint64_t id;
	uint32_t own;			/* enum node_own */
	struct statx stx;		/* mode, owner, links, device, size, times */
	bool has_origin;		/* the next three are set */
	struct identity_key origin;	/* the BACKING object it stands for */
	struct identity_handle *handle; /* NULL where BACKING has none */
	char *path; /* where it was below BACKING, "" for the root; NULL if that is not known */
	struct origin_state before; /* of the BACKING object, when the first of it was copied */
	char *target;		    /* of a symbolic link */
	uint64_t clean;		    /* bytes from the start that may still be BACKING's */
	void *data, *zero;	    /* serialized page sets, NULL for empty ones */
	size_t data_size, zero_size;
	uint64_t page_count; /* of data */
};

/* Which columns db_node_update() writes; DB_PAGES with the state of the origin. */
enum db_part { DB_ATTRIBUTES, DB_PAGES };

/**
 * db_open() - an empty database in memory, or the one of a file, which is made if it is not there
 * @path: NULL for memory
 *
 * Return: 0, -ENOMEM, -EIO, or
 *   -EUCLEAN  the file is no database, or a damaged one
 *   -EPROTO   it is one of another program or of another format than this program's; see db_format()
 */
int db_open(const char *path, struct layer_db **ret_db);

/**
 * db_open_shared() - the database of a file that nobody writes, to be read only; any number may do so
 * @path: without characters that mean anything in a URI; the file's log is empty
 *
 * Return: as db_open(), or -EIO where it cannot be opened.
 */
int db_open_shared(const char *path, struct layer_db **ret_db);

/** db_format() - the format that the last db_open() of this thread found and could not read; 0: none at all */
int db_format(void);

/**
 * DB_FORMAT - what this program writes
 *
 * 1 had neither the state of origins nor what whiteouts stand for, and is brought to 2 when it is opened to be
 * written, as is a 2 without totals.
 */
#define DB_FORMAT 2

/**
 * db_commit() - end the transaction and begin the next
 * @ret_changed: there was anything to commit
 *
 * Return: 0; or what keeps it, and then all changes are still there to be committed later, unless db_is_lost().
 */
int db_commit(struct layer_db *db, bool *ret_changed);

/** db_settle() - after db_commit(): bring all of the log into the file, and onto the disk. Return: 0, -EIO ... */
int db_settle(struct layer_db *db);

/** db_has_changes() - was anything changed since the last db_commit()? */
bool db_has_changes(const struct layer_db *db);

/**
 * db_is_lost() - has a failure undone changes that were made? Then what memory knows is not what is recorded, and
 * nothing is ever committed to the file again.
 */
bool db_is_lost(const struct layer_db *db);

/** db_give_up() - likewise, for a failure that somebody else has seen; changes are still made, until it is closed */
void db_give_up(struct layer_db *db);

/** db_fact_get() - a fact about the whole layer: malloc'ed. Return: its length, -ENODATA, or as above. */
ssize_t db_fact_get(struct layer_db *db, const char *name, void **ret_value);

/** db_fact_put() - note a fact */
int db_fact_put(struct layer_db *db, const char *name, const void *value, size_t size);

struct db_totals {
	uint64_t last_id; /* the largest id of a node in the range asked for, or the one before the range */
	uint64_t origins; /* nodes that stand for objects of BACKING */
	uint64_t pages;	  /* data pages of all of them */
};

/**
 * db_totals() - what all nodes are together; ids of [@first, @first + @count) are looked at for the last
 *
 * The database counts along, so that this takes no time; in memory it does not, and both counts are 0.
 */
int db_totals(struct layer_db *db, uint64_t first, uint64_t count, struct db_totals *ret_totals);

/** db_nameless() - the id of some node without a name, or 0. Return: 0 or as above. */
int db_nameless(struct layer_db *db, uint64_t *ret_id);

/** db_node_exists() - Return: 0, -ENOENT, or as above. */
int db_node_exists(struct layer_db *db, uint64_t id);

/** db_close() - accepts NULL */
void db_close(struct layer_db *db);

/**
 * db_begin() - begin a change of several records; ends with db_end(). Not nested.
 */
int db_begin(struct layer_db *db);

/** db_end() - keep the change if @result is 0, else undo it. Return: @result, or why it cannot be kept. */
int db_end(struct layer_db *db, int result);

/** db_node_insert() - a new record with the id that @row has */
int db_node_insert(struct layer_db *db, const struct node_row *row);

/**
 * db_node_update() - write attributes, and with DB_PAGES the size and the page sets, of an existing record
 *
 * The size belongs to the pages: without them it stays as it is in the record.
 */
int db_node_update(struct layer_db *db, const struct node_row *row, enum db_part part);

/** db_node_load() - the record of an id. Return: 0, -ENOENT, or as above; @ret_row is set on success only. */
int db_node_load(struct layer_db *db, uint64_t id, struct node_row *ret_row);

/** db_node_by_origin() - the record of a BACKING object. Return: as db_node_load(). */
int db_node_by_origin(struct layer_db *db, const struct identity_key *origin, struct node_row *ret_row);

/** db_node_adopt() - the record stands for another object: its origin, handle and state are @row's, and what is own */
int db_node_adopt(struct layer_db *db, const struct node_row *row);

/** db_node_delete() - a record with its names and extended attributes */
int db_node_delete(struct layer_db *db, uint64_t id);

/** db_row_fini() - free what a row holds */
void db_row_fini(struct node_row *row);

#define DB_WHITEOUT UINT64_C(0)

/* An entry of a directory. */
struct db_entry {
	uint64_t node; /* or DB_WHITEOUT: the name was removed */
	mode_t type;   /* S_IFMT bits */
	bool has_origin;
	struct identity_key origin;
};

/**
 * db_entry_get() - what the layer has under a name
 *
 * Return: 0, -ENOENT where the layer says nothing of the name, or as above.
 */
int db_entry_get(struct layer_db *db, uint64_t parent, const char *name, struct db_entry *ret_entry);

/** db_entry_put() - put a node, or DB_WHITEOUT, under a name, whatever was there */
int db_entry_put(struct layer_db *db, uint64_t parent, const char *name, uint64_t node);

/** db_entry_delete() - say nothing of the name any more */
int db_entry_delete(struct layer_db *db, uint64_t parent, const char *name);

/**
 * db_entry_cover() - as db_entry_put(), over what BACKING has under the name
 * @covered: that, for who wants to do the same there; with inode number 0: nothing
 */
int db_entry_cover(struct layer_db *db, uint64_t parent, const char *name, uint64_t node,
		   const struct statx *covered);

/* An entry with its place; free with db_named_fini(). */
struct db_named {
	uint64_t parent;
	char *name; /* malloc'ed */
	struct db_entry entry;
	struct identity_key removed_key; /* what BACKING had there; inode number 0: nothing */
	struct origin_state
		removed; /* likewise, without ctime; not known of a name that stayed what it was */
};

/** db_named_fini() - free what a named entry holds; also as CLEANUP() */
void db_named_fini(struct db_named *named);

/**
 * db_entry_next() - the entry that comes next, by the id of its directory and the bytes of its name
 * @parent, @name: the one before it; 0 and "" for the first
 *
 * Return: 0, -ENOENT past the last, or as above.
 */
int db_entry_next(struct layer_db *db, uint64_t parent, const char *name, struct db_named *ret_named);

/** db_entry_of() - the @index'th name of a node, in the order of db_entry_next(). Return: likewise. */
int db_entry_of(struct layer_db *db, uint64_t node, uint64_t index, struct db_named *ret_named);

/** db_entry_named() - the entry of a name, with what it stands for. Return: as db_entry_next(). */
int db_entry_named(struct layer_db *db, uint64_t parent, const char *name, struct db_named *ret_named);

/**
 * db_whiteout_of() - the @index'th whiteout that stands for an object on the device of BACKING's root
 *
 * Return: as db_entry_next().
 */
int db_whiteout_of(struct layer_db *db, const struct identity_key *removed, uint64_t index,
		   struct db_named *ret_named);

/** db_has_covered() - does any name stand over something of BACKING's? Return: 0, 1, or as above. */
int db_has_covered(struct layer_db *db);

/**
 * db_covered_before() - an object of BACKING is about to be written by a commit, and looks like this so far
 * @key: its device is not asked, as entries do not have it
 * @now: of which size and mtime are taken
 *
 * A name that covers it and has noted something else is not db_covered_now()'s any more: it stays wrong, for good.
 *
 * Return: as above.
 */
int db_covered_before(struct layer_db *db, const struct identity_key *key, const struct statx *now);

/** db_covered_now() - it was written, and looks like this now to whatever name covers it. Likewise. */
int db_covered_now(struct layer_db *db, const struct identity_key *key, const struct statx *now);

/** db_node_next() - the record with the smallest id above @after. Return: as db_node_load(). */
int db_node_next(struct layer_db *db, uint64_t after, struct node_row *ret_row);

/** db_entries() - each name the layer has in a directory, sorted by bytes; a call that returns < 0 ends it */
int db_entries(struct layer_db *db, uint64_t parent,
	       int (*call)(void *context, const char *name, const struct db_entry *entry), void *context);

/** db_xattr_get() - malloc'ed value. Return: its length, -ENODATA, or as above. */
ssize_t db_xattr_get(struct layer_db *db, uint64_t node, const char *name, void **ret_value);

/** db_xattr_put() - set, whatever was there */
int db_xattr_put(struct layer_db *db, uint64_t node, const char *name, const void *value, size_t size);

/** db_xattr_delete() - Return: 0, also where there is none */
int db_xattr_delete(struct layer_db *db, uint64_t node, const char *name);

/** db_xattrs_delete() - all of a node. Return: 0 or as above. */
int db_xattrs_delete(struct layer_db *db, uint64_t node);

/** db_xattrs() - each name; a call that returns < 0 ends it */
int db_xattrs(struct layer_db *db, uint64_t node, int (*call)(void *context, const char *name),
	      void *context);

#endif
