/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_HOME_H
#define MEMMAPFS_HOME_H

/*
 * The directory of a kept layer: its database (layer.db and its log), its page files (pages/ID) and the lock file,
 * which says who holds it. Either one process writes the layer, or any number read it. Knows no mount and no
 * file system: the daemon and memmapfsctl both open layers by it.
 *
 * A layer has an id of its own, and numbers of its own for the objects that are made in it: a range that no other
 * layer has, so that layers can be put on top of each other. It remembers the layers it was made over, each as it
 * was then: the number of its generations grows whenever it is changed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layer/db.h"

/* The files of the directory */
#define HOME_DATABASE "layer.db"
#define HOME_DATABASE_LOG "layer.db-wal"
#define HOME_PAGES "pages"
#define HOME_LOCK "lock"

/* Facts of the database */
#define FACT_BACKING "backing"	     /* struct backing_fact */
#define FACT_PATH "path"	     /* of BACKING when the layer was last opened to be written */
#define FACT_CLEAN "clean"	     /* 1: the last daemon has closed it, and no strays are left */
#define FACT_ID "id"		     /* HOME_ID_LENGTH hexadecimal digits */
#define FACT_FIRST "first"	     /* uint64_t: the first of its node ids; as many as HOME_IDS */
#define FACT_GENERATION "generation" /* uint64_t: 0 as long as nothing has been changed in it */
#define FACT_STACK "stack"	     /* the layers below, see home_stack_read() */
#define FACT_COMMIT "commit"	     /* a commit that has begun, see keep_commit.c; empty: none */

/* Node ids that a layer may give out. */
#define HOME_IDS (UINT64_C(1) << 32)
#define HOME_ID_LENGTH 32

/* What BACKING's root is known by. */
struct backing_fact {
	uint64_t ino;
	int64_t birth_ns;
};

struct home {
	char *path; /* canonical */
	int directory;
	int pages;   /* directory of the page files */
	int lock_fd; /* locked, and says by whom; -1: nobody can write there */
	struct layer_db *db;
	char id[HOME_ID_LENGTH + 1];
	uint64_t first;	     /* of the node ids it gives out */
	uint64_t generation; /* as it was opened */
};
#define HOME_NONE ((struct home){.directory = -1, .pages = -1, .lock_fd = -1})

/* A layer below another, as that one remembers it. */
struct home_below {
	char id[HOME_ID_LENGTH + 1];
	uint64_t generation;
	char *path; /* where it was */
};

struct home_stack {
	struct home_below *below; /* malloc'ed, topmost first */
	size_t count;
};

/** home_refuse() - make a line for the user. Return: @error. */
__attribute__((format(printf, 3, 4))) int home_refuse(char **ret_error, int error, const char *format, ...);

/**
 * home_open() - open a layer to write it; it is made if it is not there
 * @holder:    what others are told who want it: "process 12, mounted on '/mnt'"
 * @ret_home:  to be ended with home_close(), also after a failure
 * @ret_error: one line for the user on failure; the caller frees it
 *
 * Return: 0, or
 *   -EBUSY     another process holds it, for reading or for writing
 *   -ENOTEMPTY the directory has other things in it
 *   -EPROTO, -EUCLEAN as db_open(), or -errno of opening what is there
 */
int home_open(const char *path, const char *holder, struct home *ret_home, char **ret_error);

/**
 * home_open_shared() - open a layer that is there, only to read it, as many may at a time
 *
 * What a crash has left in its log is brought into the database first, which needs the layer for a moment alone.
 *
 * Return: as home_open(), or -ENOTDIR where there is no layer.
 */
int home_open_shared(const char *path, const char *holder, struct home *ret_home, char **ret_error);

/** home_open_reader() - another database connection, only to read, once the log is empty. Return: as home_open(). */
int home_open_reader(const struct home *home, struct layer_db **ret_db, char **ret_error);

/**
 * home_share() - let others read what was held to be written
 *
 * In the moment in which the lock changes another may take it to write: then this waits a second for it to let go.
 *
 * Return: 0, or -EBUSY: another writes it.
 */
int home_share(struct home *home, const char *holder, char **ret_error);

/** home_close() - accepts HOME_NONE, and what was taken out: the database by setting it to NULL, descriptors to -1 */
void home_close(struct home *home);

/** home_is_same() - are two layers one directory? */
bool home_is_same(const struct home *home, const struct home *other);

/** home_number_get() - a fact that is a number. Return: 0, -ENODATA, -EUCLEAN or as db_fact_get(). */
int home_number_get(struct layer_db *db, const char *fact, uint64_t *ret_number);

/** home_number_put() - note one */
int home_number_put(struct layer_db *db, const char *fact, uint64_t number);

/**
 * home_stack_read() - the layers that this one was made over; none where it was made over BACKING alone
 *
 * Return: 0, -EUCLEAN or as db_fact_get(); @ret_stack is to be ended with home_stack_fini() on success.
 */
int home_stack_read(struct layer_db *db, struct home_stack *ret_stack);

/** home_stack_write() - note them */
int home_stack_write(struct layer_db *db, const struct home_stack *stack);

/** home_stack_fini() - free what it holds; also as CLEANUP() */
void home_stack_fini(struct home_stack *stack);

#endif
