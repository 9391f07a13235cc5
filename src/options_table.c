/* SPDX-License-Identifier: MIT */
#include "options_private.h"

#include "util.h"

#define FIELD(name) offsetof(struct options, name)

#define DAY_MS UINT64_C(86400000)
#define GIB (UINT64_C(1) << 30)

static const struct option_choice mode_choices[] = {
	{"rw", MODE_RW},
	{"ro", MODE_RO},
	{"cow", MODE_COW},
	{NULL, 0},
};

static const struct option_choice sync_choices[] = {
	{"periodic", SYNC_PERIODIC},
	{"immediate", SYNC_IMMEDIATE},
	{"lazy", SYNC_LAZY},
	{"never", SYNC_NEVER},
	{NULL, 0},
};

static const struct option_choice fsync_choices[] = {
	{"honor", FSYNC_HONOR},
	{"ignore", FSYNC_IGNORE},
	{NULL, 0},
};

static const struct option_choice writes_choices[] = {
	{"auto", WRITES_AUTO},
	{"pwrite", WRITES_PWRITE},
	{"window", WRITES_WINDOW},
	{NULL, 0},
};

static const struct option_choice advise_choices[] = {
	{"normal", ADVISE_NORMAL},
	{"random", ADVISE_RANDOM},
	{"sequential", ADVISE_SEQUENTIAL},
	{"willneed", ADVISE_WILLNEED},
	{NULL, 0},
};

static const struct option_choice preload_choices[] = {
	{"off", PRELOAD_OFF},
	{"async", PRELOAD_ASYNC},
	{"sync", PRELOAD_SYNC},
	{"populate", PRELOAD_POPULATE},
	{NULL, 0},
};

static const struct option_choice idle_choices[] = {
	{"cold", IDLE_COLD},
	{"pageout", IDLE_PAGEOUT},
	{"unmap", IDLE_UNMAP},
	{NULL, 0},
};

static const struct option_choice cache_choices[] = {
	{"auto", CACHE_AUTO},
	{"none", CACHE_NONE},
	{"always", CACHE_ALWAYS},
	{NULL, 0},
};

static const struct option_choice io_choices[] = {
	{"window", IO_WINDOW},
	{"passthrough", IO_PASSTHROUGH},
	{NULL, 0},
};

static const struct option_choice opens_choices[] = {
	{"track", OPENS_TRACK},
	{"skip", OPENS_SKIP},
	{NULL, 0},
};

static const struct option_choice watch_choices[] = {
	{"auto", WATCH_AUTO},
	{"off", WATCH_OFF},
	{NULL, 0},
};

static const struct option_choice log_level_choices[] = {
	{"error", LEVEL_ERROR},
	{"warning", LEVEL_WARNING},
	{"info", LEVEL_INFO},
	{"debug", LEVEL_DEBUG},
	{NULL, 0},
};

const struct option_row option_rows[OPTION_COUNT] = {
	[OPTION_MODE] =
		{"mode", KIND_CHOICE, .offset = FIELD(mode), .choices = mode_choices, .preset = "rw",
		 .meaning =
			 "shared windows that can be written, read-only ones, or private copies in a layer"},
	[OPTION_LAYER] = {"layer", KIND_PATH, .offset = FIELD(layer), .preset = "",
			  .preset_note = "in memory",
			  .meaning = "mode=cow: keep the layer in this directory across mounts"},
	[OPTION_LAYER_MAX] = {"layer_max", KIND_SIZE, .offset = FIELD(layer_max), .max = UINT64_MAX,
			      .preset = "0",
			      .meaning = "mode=cow in memory: past this size writes get ENOSPC; 0: no limit"},
	[OPTION_LAYER_BASE] = {"layer_base", KIND_PATHS, .offset = FIELD(layer_base), .preset = "",
			       .preset_note = "none",
			       .meaning = "mode=cow: kept layers to read below, topmost first"},
	[OPTION_SYNC] = {"sync", KIND_CHOICE, .offset = FIELD(sync), .choices = sync_choices,
			 .preset = "periodic", .meaning = "when written data goes to disk"},
	[OPTION_SYNC_INTERVAL] = {"sync_interval", KIND_INTERVAL, .offset = FIELD(sync_interval_ms),
				  .min = 10, .max = DAY_MS, .preset = "5s",
				  .meaning = "sync=periodic: longest time written data waits for msync"},
	[OPTION_SYNC_BYTES] = {"sync_bytes", KIND_SIZE, .offset = FIELD(sync_bytes), .max = UINT64_MAX,
			       .preset = "0",
			       .meaning = "sync=periodic: dirty bytes that start a sync early; 0: off"},
	[OPTION_FSYNC] = {"fsync", KIND_CHOICE, .offset = FIELD(fsync), .choices = fsync_choices,
			  .preset = "honor",
			  .meaning = "ignore answers fsync without syncing, for throw-away data only"},
	[OPTION_WINDOW_SIZE] = {"window_size", KIND_WINDOW, .offset = FIELD(window_size),
				.max = UINT64_C(1) << 46, .preset = "1G",
				.meaning = "span of one window; full maps each file whole"},
	[OPTION_MAX_MAPPED] = {"max_mapped", KIND_SIZE, .offset = FIELD(max_mapped), .max = UINT64_MAX,
			       .preset = "0",
			       .meaning = "address space for windows; 0: only the kernel's limits"},
	[OPTION_WRITES] = {"writes", KIND_CHOICE, .offset = FIELD(writes), .choices = writes_choices,
			   .preset = "auto",
			   .meaning = "how a write reaches the page cache; auto decides by BACKING's kind"},
	[OPTION_ADVISE] = {"advise", KIND_CHOICE, .offset = FIELD(advise), .choices = advise_choices,
			   .preset = "normal", .meaning = "madvise applied to every new window"},
	[OPTION_PRELOAD] = {"preload", KIND_CHOICE, .offset = FIELD(preload), .choices = preload_choices,
			    .preset = "off", .meaning = "read pages ahead when a file is first mapped"},
	[OPTION_HUGEPAGES] = {"hugepages", KIND_FLAG, .offset = FIELD(hugepages), .preset = "off",
			      .meaning = "ask for huge pages and align windows to them"},
	[OPTION_MLOCK] = {"mlock", KIND_FLAG, .offset = FIELD(mlock), .preset = "off",
			  .meaning = "keep windows' pages in RAM"},
	[OPTION_IDLE] = {"idle", KIND_IDLE, .offset = FIELD(idle_ms), .choices = idle_choices, .min = 1,
			 .max = 365 * DAY_MS, .preset = "0",
			 .meaning = "what happens to a window not touched for so long; 0: nothing"},
	[OPTION_RULES] = {"rules", KIND_PATH, .offset = FIELD(rules), .preset = "", .preset_note = "none",
			  .meaning = "file of policies per path"},
	[OPTION_PROFILE] = {"profile", KIND_PATH, .offset = FIELD(profile), .preset = "",
			    .preset_note = "none", .meaning = "residency to bring back at mount"},
	[OPTION_CACHE] = {"cache", KIND_CHOICE, .offset = FIELD(cache), .choices = cache_choices,
			  .preset = "auto",
			  .meaning = "the kernel's cache: until the file changes, not used, kept regardless"},
	[OPTION_WRITEBACK] = {"writeback", KIND_FLAG, .offset = FIELD(writeback), .preset = "off",
			      .meaning = "let the kernel collect writes"},
	[OPTION_IO] = {"io", KIND_CHOICE, .offset = FIELD(io), .choices = io_choices, .preset = "window",
		       .meaning = "who reads and writes: the daemon's windows, or the kernel itself"},
	[OPTION_OPENS] = {"opens", KIND_CHOICE, .offset = FIELD(opens), .choices = opens_choices,
			  .preset = "track", .meaning = "whether the kernel tells of open and close"},
	[OPTION_WATCH] = {"watch", KIND_CHOICE, .offset = FIELD(watch), .choices = watch_choices,
			  .preset = "auto", .meaning = "learn of changes made directly in BACKING"},
	[OPTION_ATTR_TIMEOUT] = {"attr_timeout", KIND_SECONDS, .offset = FIELD(attr_timeout_s), .preset = "",
				 .preset_note = "by watch",
				 .meaning =
					 "seconds the kernel trusts a file's attributes; 0 with cache=none"},
	[OPTION_ENTRY_TIMEOUT] = {"entry_timeout", KIND_SECONDS, .offset = FIELD(entry_timeout_s),
				  .preset = "", .preset_note = "by watch",
				  .meaning = "seconds the kernel trusts a name; 0 with cache=none"},
	[OPTION_NEGATIVE_TIMEOUT] = {"negative_timeout", KIND_SECONDS, .offset = FIELD(negative_timeout_s),
				     .preset = "", .preset_note = "by watch",
				     .meaning = "seconds the kernel trusts that a name does not exist"},
	[OPTION_READAHEAD] = {"readahead", KIND_SIZE, .offset = FIELD(readahead), .max = GIB, .preset = "1M",
			      .meaning = "how far the kernel reads ahead in a file of the mount"},
	[OPTION_IO_URING] = {"io_uring", KIND_FLAG, .offset = FIELD(io_uring), .preset = "off",
			     .meaning = "take requests through io_uring, where the kernel offers it"},
	[OPTION_MAX_THREADS] = {"max_threads", KIND_COUNT, .offset = FIELD(max_threads), .min = 1,
				.max = 1024, .preset = "", .preset_note = "by CPU count",
				.meaning = "threads that serve requests"},
	[OPTION_LOG_LEVEL] = {"log_level", KIND_CHOICE, .offset = FIELD(log_level),
			      .choices = log_level_choices, .preset = "info",
			      .meaning = "how much is logged"},
};

/* fuse_opt_parse() of libfuse 3.14 hands to the kernel and to fusermount3 what WAY_PASS lets through;
 * a word it does not know would end the mount. Flags that mean nothing on a FUSE mount are dropped:
 * BACKING's own mount rules its times. */
const struct mount_word mount_words[] = {
	[MOUNT_WORD_FSNAME] = {"fsname", FORM_VALUE, WAY_PASS, EFFECT_NONE},
	[MOUNT_WORD_SUBTYPE] = {"subtype", FORM_VALUE, WAY_PASS, EFFECT_NONE},
	{"ro", FORM_BARE, WAY_PASS, EFFECT_READ_ONLY},
	{"rw", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"allow_other", FORM_BARE, WAY_PASS, EFFECT_ALLOW_OTHER},
	{"allow_root", FORM_BARE, WAY_PASS, EFFECT_ALLOW_OTHER},
	{"default_permissions", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"dev", FORM_BARE, WAY_PASS, EFFECT_NONE},
	{"nodev", FORM_BARE, WAY_PASS, EFFECT_NONE},
	{"suid", FORM_BARE, WAY_PASS, EFFECT_NONE},
	{"nosuid", FORM_BARE, WAY_PASS, EFFECT_NONE},
	{"exec", FORM_BARE, WAY_PASS, EFFECT_NONE},
	{"noexec", FORM_BARE, WAY_PASS, EFFECT_NONE},
	{"atime", FORM_BARE, WAY_PASS, EFFECT_ATIME},
	{"noatime", FORM_BARE, WAY_PASS, EFFECT_NOATIME},
	{"sync", FORM_BARE, WAY_PASS, EFFECT_NONE},
	{"async", FORM_BARE, WAY_PASS, EFFECT_NONE},
	{"dirsync", FORM_BARE, WAY_PASS, EFFECT_NONE},
	{"auto_unmount", FORM_BARE, WAY_PASS, EFFECT_NONE},
	{"max_read", FORM_NUMBER, WAY_PASS, EFFECT_NONE},
	{"context", FORM_VALUE, WAY_PASS, EFFECT_NONE},
	{"fscontext", FORM_VALUE, WAY_PASS, EFFECT_NONE},
	{"defcontext", FORM_VALUE, WAY_PASS, EFFECT_NONE},
	{"rootcontext", FORM_VALUE, WAY_PASS, EFFECT_NONE},
	{"debug", FORM_BARE, WAY_IGNORE, EFFECT_DEBUG},
	{"diratime", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"nodiratime", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"relatime", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"norelatime", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"strictatime", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"nostrictatime", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"lazytime", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"nolazytime", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"mand", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"nomand", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"silent", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"loud", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"nonempty", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"defaults", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"auto", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"noauto", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	/* mount(8) writes user=NAME for the one who mounted */
	{"user", FORM_BARE_OR_VALUE, WAY_IGNORE, EFFECT_NONE},
	{"nouser", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"users", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"nousers", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"owner", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"noowner", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"group", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"nogroup", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"nofail", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"fail", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"_netdev", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"_rnetdev", FORM_BARE, WAY_IGNORE, EFFECT_NONE},
	{"x-*", FORM_BARE_OR_VALUE, WAY_IGNORE, EFFECT_NONE},
	{"X-*", FORM_BARE_OR_VALUE, WAY_IGNORE, EFFECT_NONE},
	{"comment", FORM_BARE_OR_VALUE, WAY_IGNORE, EFFECT_NONE},
	/* mount -o remount runs the helper, which runs us */
	{"remount", FORM_BARE, WAY_REFUSE, EFFECT_NONE},
};

/* clang-format off */
#define IS(option, value) {OPTION_##option, WHEN_IS, value}
#define NOT(option, value) {OPTION_##option, WHEN_NOT, value}
#define SET(option) {OPTION_##option, WHEN_SET, 0}
#define GIVEN(option) {OPTION_##option, WHEN_GIVEN, 0}
/* clang-format on */

const struct option_conflict option_conflicts[] = {
	{IS(MODE, MODE_COW), IS(IO, IO_PASSTHROUGH), "private copies need io=window"},
	{IS(MODE, MODE_COW), IS(WRITES, WRITES_WINDOW), "pages go into a layer by pwrite"},
	{SET(WRITEBACK), IS(SYNC, SYNC_IMMEDIATE), "a write that the kernel keeps is not on disk"},
	{SET(WRITEBACK), IS(CACHE, CACHE_NONE), "collecting writes needs the kernel's cache"},
	{SET(WRITEBACK), IS(IO, IO_PASSTHROUGH), "it needs io=window"},
	{SET(WRITEBACK), IS(MODE, MODE_RO), "there is nothing to write"},
	{SET(LAYER), NOT(MODE, MODE_COW), "it needs mode=cow"},
	{SET(LAYER_MAX), NOT(MODE, MODE_COW), "it needs mode=cow"},
	{SET(LAYER_BASE), NOT(MODE, MODE_COW), "it needs mode=cow"},
	{SET(LAYER), SET(LAYER_MAX), "only a layer in memory has a limit"},
	{IS(SYNC, SYNC_IMMEDIATE), IS(FSYNC, FSYNC_IGNORE), "choose one of them"},
	{GIVEN(SYNC_INTERVAL), NOT(SYNC, SYNC_PERIODIC), "it needs sync=periodic"},
	{GIVEN(SYNC_BYTES), NOT(SYNC, SYNC_PERIODIC), "it needs sync=periodic"},
	{IS(IO, IO_PASSTHROUGH), IS(SYNC, SYNC_IMMEDIATE), "the daemon sees no write; use io=window"},
	{IS(IO, IO_PASSTHROUGH), SET(SYNC_BYTES), "the daemon sees no write; use io=window"},
	{IS(OPENS, OPENS_SKIP), IS(MODE, MODE_COW), "private copies need opens=track"},
	{IS(OPENS, OPENS_SKIP), IS(SYNC, SYNC_LAZY), "the daemon sees no close; use opens=track"},
	{IS(OPENS, OPENS_SKIP), IS(IO, IO_PASSTHROUGH), "the daemon sees no open; use opens=track"},
	{IS(OPENS, OPENS_SKIP), IS(CACHE, CACHE_NONE), "the daemon sees no open; use opens=track"},
	{.remedy = NULL},
};
