/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "glob.h"
#include "unit.h"
#include "util.h"

static bool matches(const char *pattern, const char *path)
{
	struct glob *glob = NULL;
	const char *why = NULL;
	size_t at = 0;
	int result = glob_new(pattern, &glob, &at, &why);
	bool found;

	ck_assert_msg(result == 0, "'%s' at %zu: %s", pattern, at, why == NULL ? "?" : why);
	found = glob_matches(glob, path);
	glob_free(glob);
	return found;
}

static void yes(const char *pattern, const char *path)
{
	ck_assert_msg(matches(pattern, path), "'%s' should match '%s'", pattern, path);
}

static void no(const char *pattern, const char *path)
{
	ck_assert_msg(!matches(pattern, path), "'%s' should not match '%s'", pattern, path);
}

static void refuse(const char *pattern, size_t where, const char *part)
{
	struct glob *glob = (struct glob *)&glob, *before = glob;
	const char *why = NULL;
	size_t at = 4711;

	ck_assert_int_eq(glob_new(pattern, &glob, &at, &why), -EINVAL);
	ck_assert_ptr_eq(glob, before);
	ck_assert_uint_eq(at, where);
	ck_assert_ptr_nonnull(why);
	ck_assert_msg(strstr(why, part) != NULL, "'%s' says: %s", pattern, why);
}

/* As in .gitignore: a bare name means that name wherever it stands. */
START_TEST(a_pattern_without_a_slash_matches_the_last_name_anywhere)
{
	yes("*.db", "a.db");
	yes("*.db", "deep/down/a.db");
	no("*.db", "a.db/file");
	no("*.db", "a.dbx");
	yes("data", "x/data");
	no("data", "data/x");
	yes("*", "a/b/c");
	yes("**", "a/b/c");
}
END_TEST

/* With a slash, the pattern speaks of the whole path. */
START_TEST(a_pattern_with_a_slash_matches_the_whole_path)
{
	yes("/a.db", "a.db");
	no("/a.db", "x/a.db");
	yes("x/*.db", "x/a.db");
	yes("/x/*.db", "x/a.db");
	no("x/*.db", "y/x/a.db");
	no("x/*.db", "x/y/a.db");
	no("x/*", "x");
}
END_TEST

/* Two stars cross slashes; with a slash behind them they stand for no directory, too. */
START_TEST(two_stars_cross_slashes)
{
	yes("/models/**", "models/a");
	yes("/models/**", "models/a/b/c");
	no("/models/**", "models");
	no("/models/**", "modelsx/a");
	no("/models/**", "x/models/a");
	yes("**/a.db", "a.db");
	yes("**/a.db", "x/y/a.db");
	no("**/a.db", "xa.db");
	no("**/a.db", "x/ya.db");
	yes("x/**/y", "x/y");
	yes("x/**/y", "x/1/2/y");
	no("x/**/y", "x1/y");
	no("x/**/y", "xy");
	yes("x/a**z", "x/abc/d/z");
	no("x/a**z", "x/b/z");
	yes("/**/x/**", "x/y");
	yes("/**", "a/b");
}
END_TEST

/* One character, a set, a set's opposite; none of them is ever a slash. */
START_TEST(question_marks_and_sets_stand_for_one_character)
{
	yes("?.db", "a.db");
	no("?.db", ".db");
	no("/a?b", "a/b");
	yes("[abc]x", "bx");
	no("[abc]x", "dx");
	yes("[a-c0-9]x", "7x");
	yes("[!a-c]x", "dx");
	no("[!a-c]x", "bx");
	no("[^a-c]x", "bx");
	no("/a[!x]b", "a/b");
	no("/a[.-0]b", "a/b");
	yes("[]]x", "]x");
	yes("[a-]x", "-x");
	yes("[\\]]x", "]x");
	yes("[\xc3]", "\xc3");
}
END_TEST

/* A backslash makes any character an ordinary one. */
START_TEST(a_backslash_takes_the_meaning_away)
{
	yes("\\*", "*");
	no("\\*", "a");
	yes("a\\ b", "a b");
	yes("\\#x", "#x");
	yes("\\\\", "\\");
	yes("\\[a", "[a");
}
END_TEST

/* Each mistake is told with its place. */
START_TEST(what_is_no_pattern_is_refused_with_its_place)
{
	refuse("", 0, "empty");
	refuse("/", 1, "empty");
	refuse("ab[cd", 2, "']' is missing");
	refuse("[", 0, "']' is missing");
	refuse("[a\\", 0, "']' is missing");
	refuse("[z-a]", 4, "backwards");
	refuse("ab\\", 2, "backslash");
	refuse("dir/", 3, "'/**'");
}
END_TEST

/* What makes a matcher that goes back and tries again run for hours is nothing here. */
START_TEST(no_pattern_takes_long)
{
	char pattern[512] = "/", path[4000];
	struct glob *glob;
	const char *why;
	size_t at;

	memset(path, 'a', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	for (int i = 0; i < 100; i++)
		strcat(pattern, "**a*");
	strcat(pattern, "b");
	ck_assert_int_eq(glob_new(pattern, &glob, &at, &why), 0);
	ck_assert(!glob_matches(glob, path));
	glob_free(glob);
}
END_TEST

/* A pattern that is too long for the matcher's memory is refused, not cut. */
START_TEST(a_pattern_that_is_too_long_is_refused)
{
	char pattern[2000];
	struct glob *glob;
	const char *why = NULL;
	size_t at;

	memset(pattern, 'a', sizeof(pattern) - 1);
	pattern[sizeof(pattern) - 1] = '\0';
	ck_assert_int_eq(glob_new(pattern, &glob, &at, &why), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "too long"));
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_test(tests, a_pattern_without_a_slash_matches_the_last_name_anywhere);
	tcase_add_test(tests, a_pattern_with_a_slash_matches_the_whole_path);
	tcase_add_test(tests, two_stars_cross_slashes);
	tcase_add_test(tests, question_marks_and_sets_stand_for_one_character);
	tcase_add_test(tests, a_backslash_takes_the_meaning_away);
	tcase_add_test(tests, what_is_no_pattern_is_refused_with_its_place);
	tcase_add_test(tests, no_pattern_takes_long);
	tcase_add_test(tests, a_pattern_that_is_too_long_is_refused);
}
