/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_OPTIONS_PRIVATE_H
#define MEMMAPFS_OPTIONS_PRIVATE_H

/*
 * What the options_*.c files share: the shape of the two tables, and the reader and printer of values.
 * Nobody else includes this.
 *
 *   options_table.c  the tables: every option, every word of mount(8), every conflict
 *   options_value.c  text to field and back
 *   options_check.c  conflicts
 *   options_text.c   help, nearest match, error lines, options_describe()
 *   options_rule.c   the options that a rule can give
 *   options.c        the command line and -o
 */

#include <stdio.h>

#include "options.h"

/* Indexes option_rows[]; the order is the order of the help. */
enum option_id {
	OPTION_MODE,
	OPTION_LAYER,
	OPTION_LAYER_MAX,
	OPTION_LAYER_BASE,
	OPTION_SYNC,
	OPTION_SYNC_INTERVAL,
	OPTION_SYNC_BYTES,
	OPTION_FSYNC,
	OPTION_WINDOW_SIZE,
	OPTION_MAX_MAPPED,
	OPTION_WRITES,
	OPTION_ADVISE,
	OPTION_PRELOAD,
	OPTION_HUGEPAGES,
	OPTION_MLOCK,
	OPTION_IDLE,
	OPTION_RULES,
	OPTION_PROFILE,
	OPTION_CACHE,
	OPTION_WRITEBACK,
	OPTION_IO,
	OPTION_OPENS,
	OPTION_WATCH,
	OPTION_ATTR_TIMEOUT,
	OPTION_ENTRY_TIMEOUT,
	OPTION_NEGATIVE_TIMEOUT,
	OPTION_READAHEAD,
	OPTION_IO_URING,
	OPTION_MAX_THREADS,
	OPTION_LOG_LEVEL,
	OPTION_COUNT,
};

enum option_kind {
	KIND_CHOICE,   /* an enum; one of row->choices */
	KIND_FLAG,     /* bool; a bare word */
	KIND_SIZE,     /* uint64_t bytes: 4096, 64M */
	KIND_WINDOW,   /* as KIND_SIZE, a multiple of the page size, at least one page, or "full" */
	KIND_INTERVAL, /* uint64_t milliseconds: 500ms, 5s, 0.5 */
	KIND_SECONDS,  /* double seconds, written as KIND_INTERVAL */
	KIND_COUNT,    /* unsigned */
	KIND_PATH,     /* char *, malloc'ed */
	KIND_PATHS,    /* char *, malloc'ed, parts between colons */
	KIND_IDLE,     /* idle_ms and idle_action: 0, 30s:cold */
};

struct option_choice {
	const char *name; /* NULL ends the list */
	unsigned value;
};

struct option_row {
	const char *name;
	enum option_kind kind;
	size_t offset; /* of the field in struct options */
	const struct option_choice *choices;
	uint64_t min; /* bytes, milliseconds or pieces, by kind */
	uint64_t max;
	/* The default, as option_value_print() writes it; "" leaves the field zero. */
	const char *preset;
	const char *preset_note; /* what the help says instead of the preset */
	const char *meaning;
};

extern const struct option_row option_rows[OPTION_COUNT];

/* The words of mount(8), fstab and libfuse. */
enum mount_word_form { FORM_BARE, FORM_VALUE, FORM_NUMBER, FORM_BARE_OR_VALUE };
enum mount_word_way {
	WAY_PASS,   /* libfuse knows it: goes into mount_words */
	WAY_IGNORE, /* meant for somebody else, or always so */
	WAY_REFUSE,
};
enum mount_word_effect {
	EFFECT_NONE,
	EFFECT_READ_ONLY,
	EFFECT_ATIME,
	EFFECT_NOATIME,
	EFFECT_ALLOW_OTHER,
	EFFECT_DEBUG,
};

struct mount_word {
	const char *name; /* a '*' at the end stands for anything */
	enum mount_word_form form;
	enum mount_word_way way;
	enum mount_word_effect effect;
};

/* Indexes mount_words[] for the two that have a default. */
enum { MOUNT_WORD_FSNAME, MOUNT_WORD_SUBTYPE, MOUNT_WORD_COUNT = 57 };

extern const struct mount_word mount_words[MOUNT_WORD_COUNT];

/* One side of a conflict. */
struct option_condition {
	enum option_id option;
	enum {
		WHEN_IS,    /* the choice has this value */
		WHEN_NOT,   /* the choice has another value */
		WHEN_SET,   /* the value differs from the preset */
		WHEN_GIVEN, /* it was written on the command line, be it as the preset */
	} when;
	unsigned value;
};

struct option_conflict {
	struct option_condition one;
	struct option_condition other;
	const char *remedy;
};

/* Ends with an entry whose remedy is NULL. */
extern const struct option_conflict option_conflicts[];

/* Bit N says that option_rows[N] was given. */
typedef uint64_t option_mask;

/**
 * option_value_read() - read the text of one value into its field
 * @row:       what to read
 * @text:      the value; NULL or "" is an error for every kind but KIND_FLAG, which takes none
 * @options:   the field is replaced on success only
 * @ret_error: set with -EINVAL
 *
 * Return: 0, -EINVAL or -ENOMEM.
 */
int option_value_read(const struct option_row *row, const char *text, struct options *options,
		      char **ret_error);

/** option_value_print() - one field as the user would write it; malloc'ed, NULL without memory */
char *option_value_print(const struct option_row *row, const struct options *options);

/**
 * option_size_read() - read digits and an optional K, M, G, T or P
 *
 * Return: 0, -EINVAL when malformed, -ERANGE when it does not fit.
 */
int option_size_read(const char *text, uint64_t *ret_size);

/** option_choice_value() - the enum in a KIND_CHOICE row's field */
unsigned option_choice_value(const struct option_row *row, const struct options *options);

/**
 * options_check() - refuse what conflicts
 *
 * Return: 0, -EINVAL with @ret_error set, or -ENOMEM.
 */
int options_check(const struct options *options, option_mask given, char **ret_error);

/**
 * option_refuse() - write the line that tells the user what is wrong
 *
 * Control characters from the user's words become '?', so that it stays one line.
 *
 * Return: -EINVAL with @ret_error set, or -ENOMEM.
 */
__attribute__((format(printf, 2, 3))) int option_refuse(char **ret_error, const char *format, ...);

/** option_text_close() - end an open_memstream(); 0, or -ENOMEM when not all was written to it */
int option_text_close(FILE *stream);

/* The candidate nearest to a mistyped word, found by feeding all of them to option_nearest_try(). */
struct option_nearest {
	const char *typed;
	const char *best; /* NULL while nothing comes close */
	size_t distance;  /* of best */
};

/** option_nearest_try() - consider one candidate; the first of equals stays */
void option_nearest_try(struct option_nearest *nearest, const char *candidate);

#endif
