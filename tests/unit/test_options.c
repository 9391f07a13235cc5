/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "unit.h"
#include "util.h"

#define ARGUMENTS_MAX 16
#define PRESET_WORDS "default_permissions,fsname=/b,subtype=memmapfs-fuse"

/* What one options_parse() left behind; both parts are released by the fixture. */
static struct options options;
static char *error;

static void set_up(void)
{
	memset(&options, 0, sizeof(options));
	error = NULL;
}

static void tear_down(void)
{
	options_fini(&options);
	free(error);
	error = NULL;
}

/* Parse a command line, its arguments ended by NULL. May be called repeatedly. */
static __attribute__((sentinel)) int parse(const char *first, ...)
{
	char *argv[ARGUMENTS_MAX + 2] = {strdup("memmapfs-fuse")};
	int argc = 1;
	va_list arguments;

	tear_down();
	va_start(arguments, first);
	for (const char *argument = first; argument != NULL; argument = va_arg(arguments, const char *)) {
		ck_assert_int_le(argc, ARGUMENTS_MAX);
		argv[argc++] = strdup(argument);
	}
	va_end(arguments);
	int result = options_parse(argc, argv, &options, &error);
	for (int i = 0; i < argc; i++)
		free(argv[i]);
	return result;
}

static int parse_words(const char *words)
{
	return parse("/b", "/m", "-o", words, NULL);
}

static void accept(const char *words)
{
	int result = parse_words(words);

	ck_assert_msg(result == 0, "'%s' is refused: %s", words, error);
	ck_assert_ptr_null(error);
}

static void refuse(const char *words, const char *line)
{
	int result = parse_words(words);

	ck_assert_msg(result == -EINVAL, "'%s' returns %d", words, result);
	ck_assert_ptr_nonnull(error);
	ck_assert_str_eq(error, line);
}

/* For lines whose end the table makes up. */
static void refuse_with(const char *words, const char *part)
{
	int result = parse_words(words);

	ck_assert_msg(result == -EINVAL, "'%s' returns %d", words, result);
	ck_assert_ptr_nonnull(error);
	ck_assert_msg(strstr(error, part) != NULL, "'%s' says: %s", words, error);
	ck_assert_ptr_null(strchr(error, '\n'));
}

static void expect_described(const char *name, const char *value)
{
	const char *found;
	char *text = NULL;

	for (size_t i = 0; (found = options_describe(&options, i, &text)) != NULL; i++) {
		bool same = strcmp(found, name) == 0;
		if (same)
			ck_assert_str_eq(text, value);
		free(text);
		if (same)
			return;
	}
	ck_abort_msg("'%s' is not described", name);
}

/* ---- the command line ---------------------------------------------------------------------- */

/* Without -o every field has the default that DESIGN's table lists first. */
START_TEST(without_options_every_default_applies)
{
	ck_assert_int_eq(parse("/b", "/m", NULL), 0);
	ck_assert_str_eq(options.backing, "/b");
	ck_assert_str_eq(options.mountpoint, "/m");
	ck_assert(!options.help && !options.version && !options.foreground && !options.debug);
	ck_assert_int_eq(options.mode, MODE_RW);
	ck_assert_int_eq(options.sync, SYNC_PERIODIC);
	ck_assert_int_eq(options.fsync, FSYNC_HONOR);
	ck_assert_int_eq(options.writes, WRITES_AUTO);
	ck_assert_int_eq(options.cache, CACHE_AUTO);
	ck_assert_int_eq(options.io, IO_WINDOW);
	ck_assert_int_eq(options.opens, OPENS_TRACK);
	ck_assert_int_eq(options.watch, WATCH_AUTO);
	ck_assert_int_eq(options.log_level, LEVEL_INFO);
	ck_assert_int_eq(options.advise, ADVISE_NORMAL);
	ck_assert_int_eq(options.preload, PRELOAD_OFF);
	ck_assert_uint_eq(options.sync_interval_ms, 5000);
	ck_assert_uint_eq(options.sync_bytes, 0);
	ck_assert_uint_eq(options.window_size, UINT64_C(1) << 30);
	ck_assert_uint_eq(options.max_mapped, 0);
	ck_assert_uint_eq(options.readahead, 1 << 20);
	ck_assert_uint_eq(options.max_threads, 0);
	ck_assert_uint_eq(options.idle_ms, 0);
	ck_assert_uint_eq(options.layer_max, 0);
	ck_assert_double_lt(options.attr_timeout_s, 0);
	ck_assert_double_lt(options.entry_timeout_s, 0);
	ck_assert_double_lt(options.negative_timeout_s, 0);
	ck_assert(!options.hugepages && !options.mlock && !options.writeback);
	ck_assert(!options.mount_read_only && !options.noatime && !options.allow_other);
	ck_assert_ptr_null(options.layer);
	ck_assert_ptr_null(options.layer_base);
	ck_assert_ptr_null(options.rules);
	ck_assert_ptr_null(options.profile);
	ck_assert_str_eq(options.mount_words, PRESET_WORDS);
	ck_assert_str_eq(options.given, "");
}
END_TEST

/* mount(8)'s helper puts -o last, people put it first, and some put it between. */
START_TEST(flags_may_stand_before_between_and_behind_the_operands)
{
	ck_assert_int_eq(parse("-f", "-o", "mode=ro", "/b", "/m", NULL), 0);
	ck_assert(options.foreground && options.mode == MODE_RO);
	ck_assert_int_eq(parse("/b", "-omode=ro", "/m", NULL), 0);
	ck_assert_int_eq(options.mode, MODE_RO);
	ck_assert_int_eq(parse("/b", "/m", "-fo", "mode=ro", NULL), 0);
	ck_assert(options.foreground && options.mode == MODE_RO);
	ck_assert_str_eq(options.backing, "/b");
	ck_assert_str_eq(options.mountpoint, "/m");
}
END_TEST

/* POSIXLY_CORRECT makes getopt(3) stop at the first operand, which would break mount(8)'s order. */
START_TEST(posixly_correct_in_the_environment_changes_nothing)
{
	setenv("POSIXLY_CORRECT", "1", 1);
	int result = parse("/b", "/m", "-o", "mode=ro", NULL);
	unsetenv("POSIXLY_CORRECT");
	ck_assert_int_eq(result, 0);
	ck_assert_int_eq(options.mode, MODE_RO);
}
END_TEST

/* Names that begin with a dash, and a dash alone, are operands where they can only be that. */
START_TEST(two_dashes_end_the_flags)
{
	ck_assert_int_eq(parse("-f", "--", "-b", "--help", NULL), 0);
	ck_assert_str_eq(options.backing, "-b");
	ck_assert_str_eq(options.mountpoint, "--help");
	ck_assert_int_eq(parse("-", "/m", NULL), 0);
	ck_assert_str_eq(options.backing, "-");
}
END_TEST

/* -d and libfuse's word debug keep the daemon in the foreground and log everything. */
START_TEST(debug_means_foreground_and_log_level_debug)
{
	ck_assert_int_eq(parse("-d", "/b", "/m", "-o", "log_level=error", NULL), 0);
	ck_assert(options.debug && options.foreground && options.log_level == LEVEL_DEBUG);
	accept("debug");
	ck_assert(options.debug && options.foreground && options.log_level == LEVEL_DEBUG);
	ck_assert_str_eq(options.mount_words, PRESET_WORDS);
}
END_TEST

/* Whoever asks for help gets it, whatever else the line says. */
START_TEST(help_and_version_are_answered_whatever_else_is_wrong)
{
	ck_assert_int_eq(parse("-h", NULL), 0);
	ck_assert(options.help && !options.version && options.backing == NULL);
	ck_assert_int_eq(parse("-x", "-o", "sinc", "a", "b", "c", "--help", NULL), 0);
	ck_assert(options.help);
	ck_assert_ptr_null(error);
	ck_assert_int_eq(parse("-V", NULL), 0);
	ck_assert(options.version && !options.help);
	ck_assert_int_eq(parse("/b", "--version", NULL), 0);
	ck_assert(options.version && options.backing == NULL && options.mount_words == NULL);
	ck_assert_int_eq(parse("-hV", NULL), 0);
	ck_assert(options.help && options.version);
}
END_TEST

/* The argument of -o is never taken for a flag. */
START_TEST(an_argument_of_o_that_looks_like_a_flag_is_an_option)
{
	ck_assert_int_eq(parse("/b", "/m", "-o", "-h", NULL), -EINVAL);
	ck_assert_str_eq(error, "unknown option '-h'; see memmapfs-fuse --help");
}
END_TEST

/* Unknown flags are refused by name, the first of them. */
START_TEST(unknown_flags_are_refused_by_name)
{
	ck_assert_int_eq(parse("-fx", "/b", "/m", "-y", NULL), -EINVAL);
	ck_assert_str_eq(error, "unknown flag '-x'; see memmapfs-fuse --help");
	ck_assert_int_eq(parse("-s", "/b", "/m", NULL), -EINVAL);
	ck_assert_str_eq(error, "unknown flag '-s'; see memmapfs-fuse --help");
	ck_assert_int_eq(parse("/b", "/m", "--hello", NULL), -EINVAL);
	ck_assert_str_eq(error, "unknown flag '--hello'; see memmapfs-fuse --help");
	ck_assert_int_eq(parse("/b", "/m", "--help=all", NULL), -EINVAL);
	ck_assert_str_eq(error, "unknown flag '--help=all'; see memmapfs-fuse --help");
	ck_assert_int_eq(parse("/b", "/m", "-o", NULL), -EINVAL);
	ck_assert_str_eq(error, "missing options after '-o'; see memmapfs-fuse --help");
}
END_TEST

/* One line each for BACKING and MOUNTPOINT missing or empty, and for a third operand. */
START_TEST(missing_and_extra_operands_are_named)
{
	ck_assert_int_eq(parse("-f", NULL), -EINVAL);
	ck_assert_ptr_nonnull(strstr(error, "missing BACKING and MOUNTPOINT; usage: memmapfs-fuse "));
	ck_assert_int_eq(parse("/b", NULL), -EINVAL);
	ck_assert_ptr_nonnull(strstr(error, "missing MOUNTPOINT behind '/b'; usage: "));
	ck_assert_int_eq(parse("", "/m", NULL), -EINVAL);
	ck_assert_ptr_nonnull(strstr(error, "BACKING is empty; usage: "));
	ck_assert_int_eq(parse("/b", "", NULL), -EINVAL);
	ck_assert_ptr_nonnull(strstr(error, "MOUNTPOINT is empty; usage: "));
	ck_assert_int_eq(parse("/b", "/m", "more", "and", NULL), -EINVAL);
	ck_assert_ptr_nonnull(strstr(error, "extra operand 'more'; usage: "));
}
END_TEST

/* A program started with an empty argv still gets a line and no crash. */
START_TEST(an_empty_argv_is_a_missing_operand)
{
	char *argv[] = {NULL};

	ck_assert_int_eq(options_parse(0, argv, &options, &error), -EINVAL);
	ck_assert_ptr_nonnull(strstr(error, "missing BACKING"));
}
END_TEST

/* The caller's argv is not reordered, and its struct stays as it was on failure. */
START_TEST(argv_and_a_failed_calls_result_stay_untouched)
{
	char a[] = "memmapfs-fuse", b[] = "/b", c[] = "/m", d[] = "-f", e[] = "-omode=qq";
	char *argv[] = {a, b, c, d, e, NULL};

	options.max_threads = 77;
	ck_assert_int_eq(options_parse(5, argv, &options, &error), -EINVAL);
	ck_assert(argv[0] == a && argv[1] == b && argv[2] == c && argv[3] == d && argv[4] == e);
	ck_assert_uint_eq(options.max_threads, 77);
	ck_assert_ptr_null(options.backing);
}
END_TEST

/* An error stays one line when the user's word has a newline in it. */
START_TEST(control_characters_in_a_word_do_not_break_the_line)
{
	refuse("xy\nzzy", "unknown option 'xy?zzy'; see memmapfs-fuse --help");
}
END_TEST

/* ---- splitting ----------------------------------------------------------------------------- */

/* Repeated -o add up and the last of one name wins. */
START_TEST(repeated_o_accumulate_and_the_last_of_a_name_wins)
{
	ck_assert_int_eq(
		parse("-o", "mode=ro,cache=none", "/b", "-omode=rw", "/m", "-o", "writes=window,nodev", NULL),
		0);
	ck_assert_int_eq(options.mode, MODE_RW);
	ck_assert_int_eq(options.cache, CACHE_NONE);
	ck_assert_int_eq(options.writes, WRITES_WINDOW);
	ck_assert_str_eq(options.given, "mode=ro,cache=none,mode=rw,writes=window,nodev");
	accept("sync=immediate,sync=periodic");
	accept("mode=cow,mode=rw,sync=lazy,sync=never,layer_max=1M,layer_max=0");
}
END_TEST

/* fstab lines edited by hand have empty words. */
START_TEST(empty_words_are_passed_over)
{
	accept("rw,,ro");
	ck_assert(options.mount_read_only);
	accept(",");
	accept("");
	ck_assert_str_eq(options.given, "");
	ck_assert_int_eq(parse("-o", "", "-o", ",nodev,", "/b", "/m", NULL), 0);
	ck_assert_str_eq(options.mount_words, PRESET_WORDS ",nodev");
}
END_TEST

/* A backslash takes the meaning from the next character, or makes three octal digits a byte. */
START_TEST(backslashes_escape_as_in_libfuse)
{
	accept("fsname=a\\,b,nodev");
	ck_assert_str_eq(options.mount_words, "default_permissions,fsname=a\\,b,subtype=memmapfs-fuse,nodev");
	accept("fsname=a\\\\b");
	ck_assert_str_eq(options.mount_words, "default_permissions,fsname=a\\\\b,subtype=memmapfs-fuse");
	accept("fsname=a\\054b\\x");
	ck_assert_str_eq(options.mount_words, "default_permissions,fsname=a\\,bx,subtype=memmapfs-fuse");
	accept("fsname=a\\");
	ck_assert_str_eq(options.mount_words, "default_permissions,fsname=a\\\\,subtype=memmapfs-fuse");
	accept("fsname=a\\0009");
	ck_assert_str_eq(options.mount_words, "default_permissions,fsname=a0009,subtype=memmapfs-fuse");
	accept("mo\\de=r\\o");
	ck_assert_int_eq(options.mode, MODE_RO);
	ck_assert_str_eq(options.given, "mo\\de=r\\o");
	/* The escape at the end of one -o does not reach into the next. */
	ck_assert_int_eq(parse("/b", "/m", "-o", "fsname=a\\", "-o", "mode=ro", NULL), 0);
	ck_assert_int_eq(options.mode, MODE_RO);
}
END_TEST

/* SELinux contexts have commas, and mount(8) passes them in double quotes. */
START_TEST(double_quotes_keep_the_commas_of_a_context)
{
	accept("context=\"u:r:t:s0:c1,c2\",nodev");
	ck_assert_str_eq(options.mount_words, PRESET_WORDS ",context=\"u:r:t:s0:c1\\,c2\",nodev");
	accept("fsname=\"half,nodev");
	ck_assert_str_eq(options.mount_words,
			 "default_permissions,fsname=\"half,subtype=memmapfs-fuse,nodev");
}
END_TEST

/* ---- words of mount(8) and libfuse --------------------------------------------------------- */

/* fsname is BACKING as given with its commas escaped, unless the user names another. */
START_TEST(fsname_and_subtype_have_defaults_that_can_be_replaced)
{
	ck_assert_int_eq(parse("a,b\\c", "/m", NULL), 0);
	ck_assert_str_eq(options.mount_words, "default_permissions,fsname=a\\,b\\\\c,subtype=memmapfs-fuse");
	ck_assert_str_eq(options.backing, "a,b\\c");
	accept("subtype=x,fsname=one,fsname=two,subtype=y\\,z");
	ck_assert_str_eq(options.mount_words, "default_permissions,fsname=two,subtype=y\\,z");
}
END_TEST

/* What libfuse 3.14's option table knows reaches it, in the order given. */
START_TEST(words_that_libfuse_knows_are_passed_on_in_order)
{
	static const char *const words[] = {"ro",	 "allow_other", "allow_root",	"dev",
					    "nodev",	 "suid",	"nosuid",	"exec",
					    "noexec",	 "atime",	"noatime",	"sync",
					    "async",	 "dirsync",	"auto_unmount", "max_read=65536",
					    "context=c", "fscontext=f", "defcontext=d", "rootcontext=r"};

	for (size_t i = 0; i < ARRAY_LENGTH(words); i++) {
		char expected[200];
		accept(words[i]);
		snprintf(expected, sizeof(expected), "%s,%s", PRESET_WORDS, words[i]);
		ck_assert_str_eq(options.mount_words, expected);
	}
	accept("nodev,dev,noexec,nodev,max_read=4096,noexec,max_read=8192");
	ck_assert_str_eq(options.mount_words, PRESET_WORDS ",dev,nodev,noexec,max_read=8192");
}
END_TEST

/* What only mount(8), fstab or another kernel part reads is taken and goes nowhere. */
START_TEST(words_for_other_readers_are_ignored)
{
	static const char *const words[] = {"rw",
					    "default_permissions",
					    "defaults",
					    "auto",
					    "noauto",
					    "user",
					    "user=joe",
					    "users",
					    "nouser",
					    "nousers",
					    "owner",
					    "noowner",
					    "group",
					    "nogroup",
					    "nofail",
					    "fail",
					    "_netdev",
					    "_rnetdev",
					    "x-systemd.automount",
					    "x-systemd.requires=a.service",
					    "X-mount.mkdir=0755",
					    "x-",
					    "comment=hi",
					    "comment",
					    "mand",
					    "nomand",
					    "silent",
					    "loud",
					    "nonempty",
					    "diratime",
					    "nodiratime",
					    "relatime",
					    "norelatime",
					    "strictatime",
					    "nostrictatime",
					    "lazytime",
					    "nolazytime"};

	for (size_t i = 0; i < ARRAY_LENGTH(words); i++) {
		accept(words[i]);
		ck_assert_str_eq(options.mount_words, PRESET_WORDS);
		ck_assert_str_eq(options.given, words[i]);
	}
}
END_TEST

/* rw is added by mount(8) to every line, so it undoes nothing; ro stays. */
START_TEST(rw_does_not_undo_ro)
{
	accept("rw");
	ck_assert(!options.mount_read_only && options.mode == MODE_RW);
	accept("ro,rw");
	ck_assert(options.mount_read_only && options.mode == MODE_RW);
	ck_assert_str_eq(options.mount_words, PRESET_WORDS ",ro");
	accept("rw,mode=ro");
	ck_assert(!options.mount_read_only && options.mode == MODE_RO);
	ck_assert_str_eq(options.mount_words, PRESET_WORDS);
}
END_TEST

/* The daemon must know these words too. */
START_TEST(atime_and_allow_words_are_kept_for_the_daemon)
{
	accept("noatime");
	ck_assert(options.noatime);
	accept("noatime,atime");
	ck_assert(!options.noatime);
	accept("allow_other");
	ck_assert(options.allow_other);
	accept("allow_root");
	ck_assert(options.allow_other);
}
END_TEST

/* `sync` alone is mount(8)'s flag and leaves `sync=` alone. */
START_TEST(bare_sync_is_the_mount_flag)
{
	accept("sync");
	ck_assert_int_eq(options.sync, SYNC_PERIODIC);
	ck_assert_str_eq(options.mount_words, PRESET_WORDS ",sync");
	accept("sync=never,sync");
	ck_assert_int_eq(options.sync, SYNC_NEVER);
	ck_assert_str_eq(options.mount_words, PRESET_WORDS ",sync");
}
END_TEST

/* max_read goes to the kernel as written, so it has to be a number the kernel takes. */
START_TEST(max_read_takes_plain_bytes_only)
{
	accept("max_read=4096");
	accept("max_read=4294967295");
	refuse("max_read=4095", "bad value '4095' for 'max_read': expected bytes from 4096 to 4294967295");
	refuse_with("max_read=4294967296", "bad value '4294967296' for 'max_read'");
	refuse_with("max_read=99999999999999999999", "bad value");
	refuse_with("max_read=128K", "bad value '128K'");
	refuse_with("max_read=-1", "bad value '-1'");
	refuse("max_read=", "'max_read' needs a value: max_read=BYTES");
}
END_TEST

/* mount -o remount would start a second daemon. */
START_TEST(remount_is_refused)
{
	refuse("remount,ro", "'remount' is not possible: unmount and mount again");
}
END_TEST

/* ---- values -------------------------------------------------------------------------------- */

/* Every value that can be chosen today lands in its field. */
START_TEST(every_available_choice_is_accepted)
{
	accept("mode=rw");
	ck_assert_int_eq(options.mode, MODE_RW);
	accept("mode=ro");
	ck_assert_int_eq(options.mode, MODE_RO);
	accept("mode=cow,layer=/var/layer");
	ck_assert_str_eq(options.layer, "/var/layer");
	accept("mode=cow,layer_max=64M");
	ck_assert_int_eq(options.mode, MODE_COW);
	ck_assert_uint_eq(options.layer_max, 64 << 20);
	accept("sync=periodic");
	ck_assert_int_eq(options.sync, SYNC_PERIODIC);
	accept("sync=never");
	ck_assert_int_eq(options.sync, SYNC_NEVER);
	accept("fsync=honor");
	ck_assert_int_eq(options.fsync, FSYNC_HONOR);
	accept("fsync=ignore");
	ck_assert_int_eq(options.fsync, FSYNC_IGNORE);
	accept("writes=auto");
	ck_assert_int_eq(options.writes, WRITES_AUTO);
	accept("writes=pwrite");
	ck_assert_int_eq(options.writes, WRITES_PWRITE);
	accept("writes=window");
	ck_assert_int_eq(options.writes, WRITES_WINDOW);
	accept("cache=auto");
	ck_assert_int_eq(options.cache, CACHE_AUTO);
	accept("cache=none");
	ck_assert_int_eq(options.cache, CACHE_NONE);
	accept("cache=always");
	ck_assert_int_eq(options.cache, CACHE_ALWAYS);
	accept("watch=auto");
	ck_assert_int_eq(options.watch, WATCH_AUTO);
	accept("watch=off");
	ck_assert_int_eq(options.watch, WATCH_OFF);
	accept("log_level=error");
	ck_assert_int_eq(options.log_level, LEVEL_ERROR);
	accept("log_level=warning");
	ck_assert_int_eq(options.log_level, LEVEL_WARNING);
	accept("log_level=info");
	ck_assert_int_eq(options.log_level, LEVEL_INFO);
	accept("log_level=debug");
	ck_assert_int_eq(options.log_level, LEVEL_DEBUG);
	ck_assert(!options.foreground && !options.debug);
	accept("io=passthrough");
	ck_assert_int_eq(options.io, IO_PASSTHROUGH);
	accept("opens=skip");
	ck_assert_int_eq(options.opens, OPENS_SKIP);
	accept("io=window,opens=track,advise=normal,preload=off,idle=0,sync_bytes=0,layer_max=0");
}
END_TEST

/* Sizes are counted in 1024s, and their letter may be small. */
START_TEST(sizes_take_the_suffixes_k_to_p)
{
	static const struct {
		const char *words;
		uint64_t size;
	} cases[] = {
		{"max_mapped=0", 0},
		{"max_mapped=4097", 4097},
		{"max_mapped=1K", UINT64_C(1) << 10},
		{"max_mapped=3M", UINT64_C(3) << 20},
		{"max_mapped=2g", UINT64_C(2) << 30},
		{"max_mapped=1T", UINT64_C(1) << 40},
		{"max_mapped=1P", UINT64_C(1) << 50},
		{"max_mapped=16383P", UINT64_C(16383) << 50},
		{"max_mapped=18446744073709551615", UINT64_MAX},
		{"max_mapped=007", 7},
	};

	for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
		accept(cases[i].words);
		ck_assert_uint_eq(options.max_mapped, cases[i].size);
	}
}
END_TEST

/* Junk, signs and blanks are bad values; what does not fit in 64 bits is out of range. */
START_TEST(malformed_sizes_are_refused)
{
	static const char *const bad[] = {"K",	  "1KB",  "1KiB", "1E",	 "1 ",	" 1", "-1",  "+1",
					  "1.5G", "0x10", "nan",  "inf", "1e3", "K1", "full"};

	for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
		char words[64];
		char line[128];
		snprintf(words, sizeof(words), "max_mapped=%s", bad[i]);
		snprintf(line, sizeof(line),
			 "bad value '%s' for 'max_mapped': expected a size such as 64M, or 0", bad[i]);
		refuse(words, line);
	}
	refuse_with("max_mapped=18446744073709551616", "value out of range '18446744073709551616'");
	refuse_with("max_mapped=16384P", "value out of range '16384P' for 'max_mapped'");
	refuse_with("max_mapped=99999999999999999999999x", "bad value");
	refuse_with("max_mapped=", "'max_mapped' needs a value");
}
END_TEST

/* A window is one page or more, whole pages, at most 2^46 bytes, or the file. */
START_TEST(window_size_is_whole_pages_or_full)
{
	char words[64];

	snprintf(words, sizeof(words), "window_size=%zu", page_size());
	accept(words);
	ck_assert_uint_eq(options.window_size, page_size());
	accept("window_size=64T");
	ck_assert_uint_eq(options.window_size, UINT64_C(1) << 46);
	accept("window_size=3M");
	ck_assert_uint_eq(options.window_size, 3 << 20);
	accept("window_size=full");
	ck_assert_uint_eq(options.window_size, WINDOW_SIZE_FULL);

	snprintf(words, sizeof(words), "window_size=%zu", page_size() - 1);
	refuse_with(words, "value out of range");
	snprintf(words, sizeof(words), "window_size=%zu", page_size() + 1);
	refuse_with(words, "for 'window_size': expected a multiple of ");
	refuse_with("window_size=0", "value out of range '0' for 'window_size'");
	refuse_with("window_size=65T", "up to 64T, or full");
	refuse_with("window_size=70368744181760", "value out of range");
	refuse_with("window_size=18446744073709551615", "value out of range");
	refuse_with("window_size=fulll", "bad value 'fulll'");
	refuse_with("window_size=Full", "bad value 'Full'");
	refuse_with("window_size=", "'window_size' needs a value");
	refuse_with("window_size", "'window_size' needs a value");
}
END_TEST

/* The mount's read-ahead may be off and may be 1G. */
START_TEST(readahead_ranges_from_0_to_1g)
{
	accept("readahead=0");
	ck_assert_uint_eq(options.readahead, 0);
	accept("readahead=1G");
	ck_assert_uint_eq(options.readahead, 1 << 30);
	refuse("readahead=1073741825",
	       "value out of range '1073741825' for 'readahead': expected a size from 0 to 1G");
	refuse_with("readahead=much", "bad value 'much'");
}
END_TEST

/* Times have a unit or are seconds, and may have decimals. */
START_TEST(intervals_take_units_and_decimals)
{
	static const struct {
		const char *words;
		uint64_t ms;
	} cases[] = {
		{"sync_interval=10ms", 10},	   {"sync_interval=500ms", 500},
		{"sync_interval=5s", 5000},	   {"sync_interval=5", 5000},
		{"sync_interval=0.5", 500},	   {"sync_interval=.5", 500},
		{"sync_interval=0.5s", 500},	   {"sync_interval=1.5m", 90000},
		{"sync_interval=1m", 60000},	   {"sync_interval=1h", 3600000},
		{"sync_interval=24h", 86400000},   {"sync_interval=1d", 86400000},
		{"sync_interval=86400", 86400000}, {"sync_interval=0.01", 10},
		{"sync_interval=10.6ms", 11},
	};

	for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
		accept(cases[i].words);
		ck_assert_uint_eq(options.sync_interval_ms, cases[i].ms);
	}
}
END_TEST

/* The range is 10ms to 1d, edges included, and the line says so. */
START_TEST(intervals_outside_10ms_to_1d_are_refused)
{
	refuse("sync_interval=9ms", "value out of range '9ms' for 'sync_interval': "
				    "expected a time from 10ms to 1d, such as 500ms, 5s or 1m");
	refuse_with("sync_interval=9.9ms", "value out of range '9.9ms'");
	refuse_with("sync_interval=0", "value out of range '0'");
	refuse_with("sync_interval=86401", "value out of range '86401'");
	refuse_with("sync_interval=1.01d", "value out of range");
	refuse_with("sync_interval=25h", "value out of range");
	refuse_with("sync_interval=99999999999999999999999d", "value out of range");
}
END_TEST

/* strtod() would take most of these. */
START_TEST(malformed_intervals_are_refused)
{
	static const char *const bad[] = {"s",	   "5x",  "5 s", "5S",	"-5",	"+5",
					  " 5",	   "nan", "inf", "1e3", "0x5",	"5ss",
					  "1.2.3", ".",	  "5s ", "ms",	"5m5s", "infinity"};

	for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
		char words[64];
		char line[64];
		snprintf(words, sizeof(words), "sync_interval=%s", bad[i]);
		snprintf(line, sizeof(line), "bad value '%s' for 'sync_interval': ", bad[i]);
		refuse_with(words, line);
	}
	refuse_with("sync_interval=", "'sync_interval' needs a value");
	refuse_with("sync_interval", "'sync_interval' needs a value");
}
END_TEST

/* Timeouts are seconds from 0 up, kept with their decimals. */
START_TEST(timeouts_are_seconds_from_zero_up)
{
	accept("attr_timeout=0,entry_timeout=0.25,negative_timeout=86400");
	ck_assert_double_eq(options.attr_timeout_s, 0);
	ck_assert_double_eq_tol(options.entry_timeout_s, 0.25, 1e-12);
	ck_assert_double_eq(options.negative_timeout_s, 86400);
	accept("attr_timeout=500ms,entry_timeout=1m,negative_timeout=1000000000000");
	ck_assert_double_eq_tol(options.attr_timeout_s, 0.5, 1e-12);
	ck_assert_double_eq(options.entry_timeout_s, 60);
	ck_assert_double_eq(options.negative_timeout_s, 1e12);
	refuse("attr_timeout=-1",
	       "bad value '-1' for 'attr_timeout': expected seconds, 0 or more, such as 0, 0.5 or 60");
	refuse_with("entry_timeout=nan", "bad value 'nan' for 'entry_timeout'");
	refuse_with("negative_timeout=inf", "bad value 'inf' for 'negative_timeout'");
	refuse_with("negative_timeout=1,attr_timeout=", "'attr_timeout' needs a value");
}
END_TEST

/* cache=none means no cache of sizes and names either, wherever it stands, unless that was asked for. */
START_TEST(cache_none_turns_off_the_timeouts_that_were_not_given)
{
	accept("cache=none,negative_timeout=3");
	ck_assert_double_eq(options.attr_timeout_s, 0);
	ck_assert_double_eq(options.entry_timeout_s, 0);
	ck_assert_double_eq(options.negative_timeout_s, 3);
	accept("attr_timeout=1,cache=none");
	ck_assert_double_eq(options.attr_timeout_s, 1);
	ck_assert_double_eq(options.entry_timeout_s, 0);
	accept("cache=none,cache=auto");
	ck_assert_double_lt(options.attr_timeout_s, 0);
	ck_assert_double_lt(options.entry_timeout_s, 0);
}
END_TEST

/* A number of seconds with hundreds of digits is infinite to a double. */
START_TEST(an_endless_timeout_is_out_of_range)
{
	char words[500] = "attr_timeout=";

	memset(words + strlen(words), '9', 400);
	refuse_with(words, "value out of range");
}
END_TEST

/* 1 to 1024 threads, as a plain number. */
START_TEST(max_threads_ranges_from_1_to_1024)
{
	accept("max_threads=1");
	ck_assert_uint_eq(options.max_threads, 1);
	accept("max_threads=1024");
	ck_assert_uint_eq(options.max_threads, 1024);
	refuse("max_threads=0", "value out of range '0' for 'max_threads': expected a number from 1 to 1024");
	refuse_with("max_threads=1025", "value out of range '1025'");
	refuse_with("max_threads=4294967297", "value out of range");
	refuse_with("max_threads=99999999999999999999", "value out of range");
	refuse_with("max_threads=1K", "bad value '1K'");
	refuse_with("max_threads=-1", "bad value '-1'");
	refuse_with("max_threads=two", "bad value 'two'");
	refuse_with("max_threads=", "'max_threads' needs a value");
}
END_TEST

/* idle= needs a time and an action, or is off. */
START_TEST(idle_needs_its_action)
{
	accept("idle=0");
	accept("idle=0s");
	refuse("idle=30s", "bad value '30s' for 'idle': expected 0, or a time and what to do, "
			   "such as 30s:cold, 5m:pageout or 10m:unmap");
	refuse_with("idle=30s:", "bad value '30s:'");
	refuse_with("idle=:cold", "bad value ':cold'");
	refuse_with("idle=30s:warm", "bad value '30s:warm'");
	refuse_with("idle=x:cold", "bad value 'x:cold'");
	refuse_with("idle=0:cold", "value out of range '0:cold'");
	refuse_with("idle=366d:cold", "value out of range '366d:cold'");
	accept("idle=365d:pageout");
	ck_assert_uint_eq(options.idle_ms, UINT64_C(365) * 24 * 60 * 60 * 1000);
	ck_assert_int_eq(options.idle_action, IDLE_PAGEOUT);
	accept("idle=30s:cold,idle=10m:unmap");
	ck_assert_uint_eq(options.idle_ms, 600000);
	ck_assert_int_eq(options.idle_action, IDLE_UNMAP);
	refuse_with("idle=0000000000000000000000000000000000000000000000000000000000000000000001:cold",
		    "bad value");
	refuse_with("idle=", "'idle' needs a value");
}
END_TEST

/* What is wrong with a value, and what would be right. */
START_TEST(malformed_values_get_their_own_error)
{
	refuse("sync_bytes=many", "bad value 'many' for 'sync_bytes': expected a size such as 64M, or 0");
	refuse("sync_bytes=", "'sync_bytes' needs a value: expected a size such as 64M, or 0");
	refuse("mode=cow,layer=", "'layer' needs a value: expected a path");
	refuse("rules", "'rules' needs a value: expected a path");
	refuse("profile=", "'profile' needs a value: expected a path");
	refuse_with("mode=cow,layer_max=1X", "bad value '1X' for 'layer_max'");
	refuse_with("mode=cow,layer_base=/a::/b", "bad value '/a::/b' for 'layer_base'");
	refuse_with("mode=cow,layer_base=:/b", "bad value ':/b' for 'layer_base'");
	refuse_with("mode=cow,layer_base=/a:", "one or more directories with a colon between them");
	refuse("writeback=on", "'writeback' takes no value");
	refuse("hugepages=", "'hugepages' takes no value");
	refuse("mlock=1", "'mlock' takes no value");
}
END_TEST

/* Options with a value and words without one are told apart. */
START_TEST(a_value_too_many_or_too_few_is_named)
{
	refuse("mode", "'mode' needs a value: expected rw, ro or cow");
	refuse("mode=", "'mode' needs a value: expected rw, ro or cow");
	refuse("cache", "'cache' needs a value: expected auto, none or always");
	refuse("sync=", "'sync' needs a value: expected periodic, immediate, lazy or never");
	refuse("nodev=1", "'nodev' takes no value");
	refuse("ro=", "'ro' takes no value");
	refuse("allow_other=yes", "'allow_other' takes no value");
	refuse("fsname", "'fsname' needs a value: fsname=TEXT");
	refuse("fsname=", "'fsname' needs a value: fsname=TEXT");
	refuse("subtype=", "'subtype' needs a value: subtype=TEXT");
	refuse("context", "'context' needs a value: context=TEXT");
}
END_TEST

/* ---- nearest match ------------------------------------------------------------------------- */

/* A slip in a name is answered by the name meant: a letter lost, added, changed, or two swapped. */
START_TEST(a_mistyped_option_is_answered_by_the_nearest)
{
	refuse("sinc", "unknown option 'sinc': did you mean 'sync'?");
	refuse("sinc=periodic", "unknown option 'sinc': did you mean 'sync'?");
	refuse("snyc=periodic", "unknown option 'snyc': did you mean 'sync'?");
	refuse("mod=rw", "unknown option 'mod': did you mean 'mode'?");
	refuse("modes=rw", "unknown option 'modes': did you mean 'mode'?");
	refuse("MODE=rw", "unknown option 'MODE': did you mean 'mode'?");
	refuse("sync-interval=5s", "unknown option 'sync-interval': did you mean 'sync_interval'?");
	refuse("windowsize=1G", "unknown option 'windowsize': did you mean 'window_size'?");
	refuse("read_ahead=1M", "unknown option 'read_ahead': did you mean 'readahead'?");
	refuse("maxthreads=4", "unknown option 'maxthreads': did you mean 'max_threads'?");
	refuse("nofial", "unknown option 'nofial': did you mean 'nofail'?");
	refuse("allow-other", "unknown option 'allow-other': did you mean 'allow_other'?");
	refuse("writebak", "unknown option 'writebak': did you mean 'writeback'?");
}
END_TEST

/* No suggestion is better than a silly one. */
START_TEST(a_word_near_nothing_points_to_the_help)
{
	char words[9000];

	refuse("xyzzy", "unknown option 'xyzzy'; see memmapfs-fuse --help");
	refuse("xyzzy=1", "unknown option 'xyzzy'; see memmapfs-fuse --help");
	refuse("rx", "unknown option 'rx'; see memmapfs-fuse --help");
	refuse("q", "unknown option 'q'; see memmapfs-fuse --help");
	refuse("=5", "unknown option ''; see memmapfs-fuse --help");
	memset(words, 'w', sizeof(words) - 1);
	words[sizeof(words) - 1] = '\0';
	refuse_with(words, "see memmapfs-fuse --help");
}
END_TEST

/* The same for values; the line names option and value, or lists what there is. */
START_TEST(a_mistyped_value_is_answered_by_the_nearest_or_the_list)
{
	refuse("sync=perodic", "unknown value 'perodic' for 'sync': did you mean 'periodic'?");
	refuse("sync=lasy", "unknown value 'lasy' for 'sync': did you mean 'lazy'?");
	refuse("sync=PERIODIC", "unknown value 'PERIODIC' for 'sync': did you mean 'periodic'?");
	refuse("cache=alwasy", "unknown value 'alwasy' for 'cache': did you mean 'always'?");
	refuse("mode=qq", "unknown value 'qq' for 'mode': expected rw, ro or cow");
	refuse("cache=off", "unknown value 'off' for 'cache': expected auto, none or always");
	refuse("sync=5s", "unknown value '5s' for 'sync': expected periodic, immediate, lazy or never");
	refuse("advise=x", "unknown value 'x' for 'advise': expected normal, random, sequential or willneed");
	refuse("log_level=verbose", "unknown value 'verbose' for 'log_level': "
				    "expected error, warning, info or debug");
}
END_TEST

/* ---- conflicts ----------------------------------------------------------------------------- */

/* Each pair that DESIGN rules out, both sides named. */
START_TEST(every_conflict_is_refused_with_both_sides_named)
{
	static const struct {
		const char *words;
		const char *sides;
	} cases[] = {
		{"mode=cow,io=passthrough", "'mode=cow' conflicts with 'io=passthrough': "},
		{"mode=cow,writes=window", "'mode=cow' conflicts with 'writes=window': "},
		{"writeback,sync=immediate", "'writeback' conflicts with 'sync=immediate': "},
		{"writeback,cache=none", "'writeback' conflicts with 'cache=none': "},
		{"writeback,io=passthrough", "'writeback' conflicts with 'io=passthrough': "},
		{"writeback,mode=ro", "'writeback' conflicts with 'mode=ro': "},
		{"layer=/l", "'layer=/l' conflicts with 'mode=rw': it needs mode=cow"},
		{"layer=/l,mode=ro", "'layer=/l' conflicts with 'mode=ro': it needs mode=cow"},
		{"layer_max=1M", "'layer_max=1M' conflicts with 'mode=rw': it needs mode=cow"},
		{"layer_base=/a:/b", "'layer_base=/a:/b' conflicts with 'mode=rw': it needs mode=cow"},
		{"mode=cow,layer=/l,layer_max=1M", "'layer=/l' conflicts with 'layer_max=1M': "},
		{"sync=immediate,fsync=ignore", "'sync=immediate' conflicts with 'fsync=ignore': "},
		{"sync=never,sync_interval=1s", "'sync_interval=1s' conflicts with 'sync=never': "},
		{"sync_interval=5s,sync=lazy", "'sync_interval=5s' conflicts with 'sync=lazy': "},
		{"sync=immediate,sync_interval=5s", "'sync_interval=5s' conflicts with 'sync=immediate': "},
		{"sync=never,sync_bytes=1M",
		 "'sync_bytes=1M' conflicts with 'sync=never': it needs sync=periodic"},
		{"sync=never,sync_bytes=0",
		 "'sync_bytes=0' conflicts with 'sync=never': it needs sync=periodic"},
		{"io=passthrough,sync=immediate", "'io=passthrough' conflicts with 'sync=immediate': "},
		{"io=passthrough,sync_bytes=1M", "'io=passthrough' conflicts with 'sync_bytes=1M': "},
		{"opens=skip,sync=lazy", "'opens=skip' conflicts with 'sync=lazy': "},
		{"opens=skip,io=passthrough", "'opens=skip' conflicts with 'io=passthrough': "},
		{"opens=skip,cache=none", "'opens=skip' conflicts with 'cache=none': "},
	};

	for (size_t i = 0; i < ARRAY_LENGTH(cases); i++)
		refuse_with(cases[i].words, cases[i].sides);
}
END_TEST

/* What only looks like a conflict is taken. */
START_TEST(neighbours_of_conflicts_are_accepted)
{
	accept("sync=periodic,sync_interval=1s,sync_bytes=0");
	accept("sync_interval=1s");
	accept("sync=never,fsync=ignore");
	accept("cache=none,mode=ro");
	accept("layer_max=0");
	accept("mode=ro,ro");
	accept("sync=never,sync=periodic,sync_interval=1s");
}
END_TEST

/* ---- help and describe --------------------------------------------------------------------- */

/* The help has one line an option. */
START_TEST(the_help_lists_every_option)
{
	static const char *const shown[] = {"mode=rw|ro|cow ",
					    "layer_max=SIZE",
					    "layer=PATH",
					    "layer_base=",
					    "sync=periodic|immediate|lazy|never ",
					    "sync_bytes=SIZE",
					    "sync_interval=TIME ",
					    "fsync=honor|ignore ",
					    "window_size=SIZE|full ",
					    "max_mapped=SIZE ",
					    "writes=auto|pwrite|window ",
					    "advise=normal|random|sequential|willneed ",
					    "preload=off|async|sync|populate ",
					    "hugepages ",
					    "mlock ",
					    "idle=0|TIME:cold|TIME:pageout|TIME:unmap ",
					    "rules=PATH ",
					    "cache=auto|none|always ",
					    "writeback ",
					    "io=window|passthrough ",
					    "opens=track|skip ",
					    "watch=auto|off ",
					    "attr_timeout=SECONDS ",
					    "entry_timeout=SECONDS ",
					    "negative_timeout=SECONDS ",
					    "readahead=SIZE ",
					    "io_uring ",
					    "max_threads=NUMBER ",
					    "log_level=error|warning|info|debug "};
	CLEANUP(free_pointer) char *usage = options_usage();

	ck_assert_ptr_nonnull(usage);
	ck_assert_int_eq(strncmp(usage, "usage: memmapfs-fuse ", 21), 0);
	for (size_t i = 0; i < ARRAY_LENGTH(shown); i++) {
		char row[80];
		snprintf(row, sizeof(row), "\n    %s", shown[i]);
		ck_assert_msg(strstr(usage, row) != NULL, "the help has no row '%s'", shown[i]);
	}
	ck_assert_ptr_nonnull(strstr(usage, "(default 5s)"));
	ck_assert_ptr_nonnull(strstr(usage, "(default by CPU count)"));
}
END_TEST

/* The statistics show the options in the spelling of the command line. */
START_TEST(options_are_described_as_the_user_would_write_them)
{
	accept("mode=ro");
	expect_described("mode", "ro");
	expect_described("sync", "periodic");
	expect_described("sync_interval", "5s");
	expect_described("fsync", "honor");
	expect_described("window_size", "1G");
	expect_described("max_mapped", "0");
	expect_described("writes", "auto");
	expect_described("cache", "auto");
	expect_described("watch", "auto");
	expect_described("attr_timeout", "by watch");
	expect_described("entry_timeout", "by watch");
	expect_described("negative_timeout", "by watch");
	expect_described("readahead", "1M");
	expect_described("max_threads", "by CPU count");
	expect_described("log_level", "info");
	accept("sync_interval=1.5s,window_size=full,max_mapped=4097,attr_timeout=0.1,max_threads=7");
	expect_described("sync_interval", "1500ms");
	expect_described("window_size", "full");
	expect_described("max_mapped", "4097");
	expect_described("attr_timeout", "0.1");
	expect_described("max_threads", "7");
	accept("sync_interval=120,max_mapped=2048P,readahead=1536K,window_size=8192K");
	expect_described("sync_interval", "2m");
	expect_described("max_mapped", "2048P");
	expect_described("readahead", "1536K");
	expect_described("window_size", "8M");
}
END_TEST

/* The walk ends, and past its end nothing is handed out. */
START_TEST(describing_ends_with_null_and_leaves_ret_value_untouched)
{
	char mark[] = "untouched";
	char *value = mark;
	size_t count = 0;

	accept("rw");
	for (; options_describe(&options, count, &value) != NULL; count++)
		free(value);
	value = mark;
	ck_assert_uint_eq(count, 30);
	ck_assert_ptr_null(options_describe(&options, count, &value));
	ck_assert_ptr_null(options_describe(&options, 1000, &value));
	ck_assert_ptr_eq(value, mark);
}
END_TEST

/* Every described value is read back as the same value. */
START_TEST(a_described_value_can_be_given_again)
{
	char *value;
	const char *name;
	char words[1000] = "";

	accept("sync_interval=90,max_mapped=10G,attr_timeout=0.1,negative_timeout=7,max_threads=3,cache=none,"
	       "window_size=64K");
	for (size_t i = 0; (name = options_describe(&options, i, &value)) != NULL; i++) {
		size_t length = strlen(words);
		/* A flag is a word of its own, and rules= without a file is not to be given. */
		if (strcmp(value, "off") != 0 || strcmp(name, "preload") == 0) {
			if (*value != '\0')
				snprintf(words + length, sizeof(words) - length, "%s%s=%s", i == 0 ? "" : ",",
					 name, value);
		}
		free(value);
	}
	accept(words);
	ck_assert_uint_eq(options.sync_interval_ms, 90000);
	ck_assert_uint_eq(options.max_mapped, UINT64_C(10) << 30);
	ck_assert_double_eq(options.attr_timeout_s, 0.1);
	ck_assert_uint_eq(options.max_threads, 3);
	ck_assert_int_eq(options.cache, CACHE_NONE);
	ck_assert_uint_eq(options.window_size, 64 << 10);
}
END_TEST

/* A zeroed struct, and one released twice, hold nothing to free. */
START_TEST(fini_accepts_a_zeroed_struct)
{
	struct options zeroed = {0};

	options_fini(&zeroed);
	accept("rw");
	options_fini(&options);
	options_fini(&options);
	ck_assert_ptr_null(options.backing);
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, without_options_every_default_applies);
	tcase_add_test(tests, flags_may_stand_before_between_and_behind_the_operands);
	tcase_add_test(tests, posixly_correct_in_the_environment_changes_nothing);
	tcase_add_test(tests, two_dashes_end_the_flags);
	tcase_add_test(tests, debug_means_foreground_and_log_level_debug);
	tcase_add_test(tests, help_and_version_are_answered_whatever_else_is_wrong);
	tcase_add_test(tests, an_argument_of_o_that_looks_like_a_flag_is_an_option);
	tcase_add_test(tests, unknown_flags_are_refused_by_name);
	tcase_add_test(tests, missing_and_extra_operands_are_named);
	tcase_add_test(tests, an_empty_argv_is_a_missing_operand);
	tcase_add_test(tests, argv_and_a_failed_calls_result_stay_untouched);
	tcase_add_test(tests, control_characters_in_a_word_do_not_break_the_line);
	tcase_add_test(tests, repeated_o_accumulate_and_the_last_of_a_name_wins);
	tcase_add_test(tests, empty_words_are_passed_over);
	tcase_add_test(tests, backslashes_escape_as_in_libfuse);
	tcase_add_test(tests, double_quotes_keep_the_commas_of_a_context);
	tcase_add_test(tests, fsname_and_subtype_have_defaults_that_can_be_replaced);
	tcase_add_test(tests, words_that_libfuse_knows_are_passed_on_in_order);
	tcase_add_test(tests, words_for_other_readers_are_ignored);
	tcase_add_test(tests, rw_does_not_undo_ro);
	tcase_add_test(tests, atime_and_allow_words_are_kept_for_the_daemon);
	tcase_add_test(tests, bare_sync_is_the_mount_flag);
	tcase_add_test(tests, max_read_takes_plain_bytes_only);
	tcase_add_test(tests, remount_is_refused);
	tcase_add_test(tests, every_available_choice_is_accepted);
	tcase_add_test(tests, sizes_take_the_suffixes_k_to_p);
	tcase_add_test(tests, malformed_sizes_are_refused);
	tcase_add_test(tests, window_size_is_whole_pages_or_full);
	tcase_add_test(tests, readahead_ranges_from_0_to_1g);
	tcase_add_test(tests, intervals_take_units_and_decimals);
	tcase_add_test(tests, intervals_outside_10ms_to_1d_are_refused);
	tcase_add_test(tests, malformed_intervals_are_refused);
	tcase_add_test(tests, timeouts_are_seconds_from_zero_up);
	tcase_add_test(tests, cache_none_turns_off_the_timeouts_that_were_not_given);
	tcase_add_test(tests, an_endless_timeout_is_out_of_range);
	tcase_add_test(tests, max_threads_ranges_from_1_to_1024);
	tcase_add_test(tests, idle_needs_its_action);
	tcase_add_test(tests, malformed_values_get_their_own_error);
	tcase_add_test(tests, a_value_too_many_or_too_few_is_named);
	tcase_add_test(tests, a_mistyped_option_is_answered_by_the_nearest);
	tcase_add_test(tests, a_word_near_nothing_points_to_the_help);
	tcase_add_test(tests, a_mistyped_value_is_answered_by_the_nearest_or_the_list);
	tcase_add_test(tests, every_conflict_is_refused_with_both_sides_named);
	tcase_add_test(tests, neighbours_of_conflicts_are_accepted);
	tcase_add_test(tests, the_help_lists_every_option);
	tcase_add_test(tests, options_are_described_as_the_user_would_write_them);
	tcase_add_test(tests, describing_ends_with_null_and_leaves_ret_value_untouched);
	tcase_add_test(tests, a_described_value_can_be_given_again);
	tcase_add_test(tests, fini_accepts_a_zeroed_struct);
}
