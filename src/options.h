/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_OPTIONS_H
#define MEMMAPFS_OPTIONS_H

/*
 * What the user asked for: the command line turned into one checked, immutable struct.
 * Knows no FUSE session, no inode and no window; it reads words and says what is wrong with them.
 * One table in options_table.c holds every option with its values, range and default; help, parser,
 * conflicts and the statistics' `options` object are all read from that table.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum access_mode { MODE_RW, MODE_RO, MODE_COW };
enum sync_mode { SYNC_PERIODIC, SYNC_IMMEDIATE, SYNC_LAZY, SYNC_NEVER };
enum fsync_mode { FSYNC_HONOR, FSYNC_IGNORE };
enum write_mode { WRITES_AUTO, WRITES_PWRITE, WRITES_WINDOW };
enum cache_mode { CACHE_AUTO, CACHE_NONE, CACHE_ALWAYS };
enum io_mode { IO_WINDOW, IO_PASSTHROUGH };
enum opens_mode { OPENS_TRACK, OPENS_SKIP };
enum watch_mode { WATCH_AUTO, WATCH_OFF };
enum advise_mode { ADVISE_NORMAL, ADVISE_RANDOM, ADVISE_SEQUENTIAL, ADVISE_WILLNEED };
enum preload_mode { PRELOAD_OFF, PRELOAD_ASYNC, PRELOAD_SYNC, PRELOAD_POPULATE };
enum idle_action { IDLE_COLD, IDLE_PAGEOUT, IDLE_UNMAP };
enum log_level { LEVEL_ERROR, LEVEL_WARNING, LEVEL_INFO, LEVEL_DEBUG };

/* window_size of a mount that maps each file whole (window_size=full). */
#define WINDOW_SIZE_FULL UINT64_MAX

struct options {
	/* what to do */
	bool help;
	bool version;
	bool foreground; /* -f, or -d */
	bool debug;	 /* -d or -o debug: log_level=debug and libfuse's own trace */
	char *backing;	 /* as given; all strings are NULL with help or version */
	char *mountpoint;

	/* policy */
	enum access_mode mode;
	enum sync_mode sync;
	enum fsync_mode fsync;
	enum write_mode writes;
	enum cache_mode cache;
	enum io_mode io;
	enum opens_mode opens;
	enum watch_mode watch;
	enum log_level log_level;
	uint64_t sync_interval_ms;
	uint64_t sync_bytes;   /* 0: off */
	uint64_t window_size;  /* bytes, a multiple of the page size, or WINDOW_SIZE_FULL */
	uint64_t max_mapped;   /* bytes; 0: only the kernel's limits */
	uint64_t readahead;    /* bytes */
	unsigned max_threads;  /* 0: by CPU count */
	uint32_t max_read;     /* bytes of one read request; 0: the kernel's limit */
	double attr_timeout_s; /* each below 0 when not given: by watch= */
	double entry_timeout_s;
	double negative_timeout_s;

	/* policy that rules may set too */
	enum advise_mode advise;
	enum preload_mode preload;
	enum idle_action idle_action; /* meaningless while idle_ms is 0 */
	bool hugepages;
	bool mlock;
	bool writeback;
	bool io_uring;	    /* take requests through io_uring, where the kernel offers it */
	uint64_t idle_ms;   /* 0: off */
	uint64_t layer_max; /* bytes; 0: no limit */
	char *layer;	    /* each NULL when not given */
	char *layer_base;   /* DIR[:DIR...], no part empty */
	char *rules;
	char *profile;

	/* mount(8)'s words that change what the daemon does itself */
	bool mount_read_only; /* ro */
	bool noatime;
	bool allow_other; /* allow_other or allow_root */

	/* the words for libfuse and mount(2), comma-separated: fsname=, subtype=, allow_other, nodev, ...;
	 * always has default_permissions; commas and backslashes inside a value are escaped for it */
	char *mount_words;
	/* what was given after -o, verbatim, for the statistics; "" when nothing was */
	char *given;
};

/**
 * options_parse() - read argv into options
 * @argc:        as main() got it
 * @argv:        as main() got it; borrowed and left in its order, strings are copied
 * @ret_options: filled on success only; release with options_fini()
 * @ret_error:   on failure one line without a newline that names the word and what would be right;
 *               the caller frees it; NULL with -ENOMEM
 *
 * With help or version the rest of the line is not checked, and nothing else is filled in.
 * The checks come in this order: flags, each word and value, BACKING and MOUNTPOINT, conflicts.
 *
 * Return: 0, or
 *   -EINVAL  an unknown word, a value out of range, a conflict, BACKING or MOUNTPOINT missing
 *   -ENOMEM
 */
int options_parse(int argc, char **argv, struct options *ret_options, char **ret_error);

/** options_fini() - release what options_parse() allocated; accepts a zeroed struct */
void options_fini(struct options *options);

/**
 * options_usage() - the text of --help
 *
 * Return: a malloc'ed string, or NULL without memory.
 */
char *options_usage(void);

/**
 * options_describe() - one policy option of a parsed set, as the user would write it
 * @options:   parsed options
 * @index:     0, 1, ... until NULL is returned
 * @ret_value: malloc'ed value ("periodic", "5s", "1G"); flags are "on" or "off", max_threads that was
 *             not given is "by CPU count"; set on success only
 *
 * Options that offer no choice yet are passed over, here as in the help.
 *
 * Return: the option's name, static; NULL past the last one or without memory.
 */
const char *options_describe(const struct options *options, size_t index, char **ret_value);

/** options_size() - read bytes as 4096, 64K, 1G. Return: 0, -EINVAL, or -ERANGE where it does not fit. */
int options_size(const char *text, uint64_t *ret_size);

/* The options that a rule can give for the files it matches. */
enum path_option {
	PATH_SYNC,
	PATH_SYNC_INTERVAL,
	PATH_ADVISE,
	PATH_PRELOAD,
	PATH_MLOCK,
	PATH_HUGEPAGES,
	PATH_IDLE,
	PATH_WRITES,
	PATH_CACHE,
	PATH_OPTIONS,
};

/** options_path_name() - "sync" */
const char *options_path_name(enum path_option option);

/** options_path_copy() - copy one option's fields */
void options_path_copy(enum path_option option, const struct options *from, struct options *to);

/**
 * options_path_word() - read one word of a rule
 * @word:       "advise=random", "mlock", "mlock=off"; cut in two at its first '='
 * @options:    the option's fields are replaced on success
 * @ret_option: which it was; set on success only
 * @ret_error:  as options_parse()
 *
 * Return: 0, -EINVAL or -ENOMEM.
 */
int options_path_word(char *word, struct options *options, enum path_option *ret_option, char **ret_error);

/**
 * options_path_check() - refuse conflicts between the options of one rule, and with the mount's
 * @values: what the rule gives
 * @given:  bit N: enum path_option N is given
 *
 * Return: 0, -EINVAL with @ret_error set, or -ENOMEM.
 */
int options_path_check(const struct options *mount, const struct options *values, unsigned given,
		       char **ret_error);

#endif
