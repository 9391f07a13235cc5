/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rules.h"
#include "unit.h"
#include "util.h"

static struct options mount;
static struct options merged;
static unsigned lines[PATH_OPTIONS];
static struct rules *rules;
static char *error;

static void set_up(void)
{
	memset(&mount, 0, sizeof(mount));
	mount.sync_interval_ms = 5000;
	rules = NULL;
	error = NULL;
}

static void tear_down(void)
{
	rules_free(rules);
	free(error);
}

static void accept(const char *text)
{
	int result;

	rules_free(rules);
	rules = NULL;
	result = rules_parse(text, strlen(text), "R", &mount, &rules, &error);
	ck_assert_msg(result == 0, "refused: %s", error);
}

static void refuse(const char *text, const char *line)
{
	struct rules *before = rules;

	free(error);
	error = NULL;
	ck_assert_int_eq(rules_parse(text, strlen(text), "R", &mount, &rules, &error), -EINVAL);
	ck_assert_ptr_eq(rules, before);
	ck_assert_ptr_nonnull(error);
	ck_assert_str_eq(error, line);
}

static void apply(const char *path)
{
	merged = mount;
	memset(lines, 0, sizeof(lines));
	rules_apply(rules, path, &merged, lines);
}

/* The example of the manual, option by option. */
START_TEST(each_rule_gives_its_options_to_the_files_it_matches)
{
	accept("*.db          sync=immediate advise=random\n"
	       "/models/**    preload=async mlock\n"
	       "*.log         advise=sequential idle=30s:pageout\n");
	ck_assert_uint_eq(rules_count(rules), 3);
	apply("x/a.db");
	ck_assert_int_eq(merged.sync, SYNC_IMMEDIATE);
	ck_assert_int_eq(merged.advise, ADVISE_RANDOM);
	ck_assert_uint_eq(lines[PATH_SYNC], 1);
	ck_assert_uint_eq(lines[PATH_ADVISE], 1);
	ck_assert_uint_eq(lines[PATH_MLOCK], 0);
	apply("models/big");
	ck_assert_int_eq(merged.preload, PRELOAD_ASYNC);
	ck_assert(merged.mlock);
	ck_assert_int_eq(merged.sync, SYNC_PERIODIC);
	apply("x.log");
	ck_assert_uint_eq(merged.idle_ms, 30000);
	ck_assert_int_eq(merged.idle_action, IDLE_PAGEOUT);
	apply("other");
	ck_assert_int_eq(merged.advise, ADVISE_NORMAL);
	for (size_t i = 0; i < PATH_OPTIONS; i++)
		ck_assert_uint_eq(lines[i], 0);
}
END_TEST

/* Not rule by rule: what the last one does not speak of stays as an earlier one has it. */
START_TEST(the_last_match_wins_option_by_option)
{
	accept("* advise=random mlock cache=none\n\n"
	       "*.db advise=sequential mlock=off\n");
	apply("a.db");
	ck_assert_int_eq(merged.advise, ADVISE_SEQUENTIAL);
	ck_assert(!merged.mlock);
	ck_assert_int_eq(merged.cache, CACHE_NONE);
	ck_assert_uint_eq(lines[PATH_ADVISE], 3);
	ck_assert_uint_eq(lines[PATH_MLOCK], 3);
	ck_assert_uint_eq(lines[PATH_CACHE], 1);
}
END_TEST

/* A rule can take back what the mount has switched on. */
START_TEST(flags_can_be_switched_off)
{
	mount.mlock = mount.hugepages = true;
	accept("* mlock=off hugepages=off\nb mlock=on hugepages\n");
	apply("a");
	ck_assert(!merged.mlock && !merged.hugepages);
	apply("b");
	ck_assert(merged.mlock && merged.hugepages);
}
END_TEST

/* Blank lines, comments, tabs, the end of a line as other systems write it, and no newline at the end. */
START_TEST(comments_and_blanks_are_passed_over)
{
	accept("# comment\n\n  \t\n\t*.db\tadvise=random # as it is\r\n  #x\n\\#x mlock\na\\ b "
	       "advise=willneed");
	ck_assert_uint_eq(rules_count(rules), 3);
	apply("y.db");
	ck_assert_uint_eq(lines[PATH_ADVISE], 4);
	apply("#x");
	ck_assert(merged.mlock);
	apply("a b");
	ck_assert_int_eq(merged.advise, ADVISE_WILLNEED);
	accept("");
	ck_assert_uint_eq(rules_count(rules), 0);
	apply("y.db");
}
END_TEST

/* Line and column of the word that is wrong, and what would be right. */
START_TEST(mistakes_are_told_with_line_and_column)
{
	refuse("*.db advize=random", "R:1:6: unknown option 'advize': did you mean 'advise'?");
	refuse("\n*.db  advise=rendom", "R:2:7: unknown value 'rendom' for 'advise': did you mean 'random'?");
	refuse("# x\n*.db", "R:2:5: the rule has no options");
	refuse("*.db # mlock", "R:1:6: the rule has no options");
	refuse("a[b advise=random", "R:1:2: ']' is missing");
	refuse("*.db mlock=maybe", "R:1:6: bad value 'maybe' for 'mlock': expected on or off");
	refuse("*.db window_size=4K", "R:1:6: 'window_size' holds for the whole mount: give it after -o");
	refuse("*.db advise",
	       "R:1:6: 'advise' needs a value: expected normal, random, sequential or willneed");
	refuse("* x=1",
	       "R:1:3: unknown option 'x': a rule has sync=, sync_interval=, advise=, preload=, mlock, "
	       "hugepages, idle=, writes= and cache=");
	refuse("* sync=never sync_interval=1s",
	       "R:1:3: 'sync_interval=1s' conflicts with 'sync=never': it needs sync=periodic");
}
END_TEST

/* Bytes that are no text must not break the line of the error, nor hide what follows them. */
START_TEST(zero_bytes_are_refused)
{
	static const char text[] = "*.db mlock\0 advise=random";

	ck_assert_int_eq(rules_parse(text, sizeof(text) - 1, "R", &mount, &rules, &error), -EINVAL);
	ck_assert_str_eq(error, "R:1:11: a zero byte: this is no text");
}
END_TEST

/* Conflicts with the mount's own options count as well. */
START_TEST(conflicts_with_the_mount_are_refused)
{
	mount.fsync = FSYNC_IGNORE;
	refuse("* sync=immediate",
	       "R:1:3: 'sync=immediate' conflicts with 'fsync=ignore': choose one of them");
	accept("* sync=lazy");
}
END_TEST

/* The timer is set by the shortest. */
START_TEST(the_shortest_idle_is_found)
{
	accept("a idle=0\nb mlock\n");
	ck_assert_uint_eq(rules_idle_ms(rules), 0);
	accept("a idle=10s:cold\nb idle=2s:unmap\nc idle=0\n");
	ck_assert_uint_eq(rules_idle_ms(rules), 2000);
}
END_TEST

/* From a file, and from what is none. */
START_TEST(files_are_read_and_their_absence_is_told)
{
	char path[] = "/tmp/memmapfs-rules.XXXXXX";
	CLEANUP(close_fd) int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	for (int i = 0; i < 1000; i++)
		ck_assert_int_gt(dprintf(fd, "/dir%d/** advise=random\n", i), 0);
	ck_assert_int_eq(rules_load(path, &mount, &rules, &error), 0);
	ck_assert_uint_eq(rules_count(rules), 1000);
	apply("dir999/x");
	ck_assert_uint_eq(lines[PATH_ADVISE], 1000);
	unlink(path);
	rules_free(rules);
	rules = NULL;
	ck_assert_int_eq(rules_load(path, &mount, &rules, &error), -ENOENT);
	ck_assert_ptr_nonnull(strstr(error, "No such file or directory"));
	free(error);
	error = NULL;
	ck_assert_int_eq(rules_load("/", &mount, &rules, &error), -EISDIR);
	rules_free(NULL);
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, each_rule_gives_its_options_to_the_files_it_matches);
	tcase_add_test(tests, the_last_match_wins_option_by_option);
	tcase_add_test(tests, flags_can_be_switched_off);
	tcase_add_test(tests, comments_and_blanks_are_passed_over);
	tcase_add_test(tests, mistakes_are_told_with_line_and_column);
	tcase_add_test(tests, zero_bytes_are_refused);
	tcase_add_test(tests, conflicts_with_the_mount_are_refused);
	tcase_add_test(tests, the_shortest_idle_is_found);
	tcase_add_test(tests, files_are_read_and_their_absence_is_told);
}
