/* SPDX-License-Identifier: MIT */
#include <locale.h>
#include <string.h>

#include "ctl/progress.h"
#include "ctl/text.h"
#include "unit.h"
#include "util.h"

#define KIB UINT64_C(1024)

static char buffer[TEXT_SIZE];

/* Three digits or one decimal, and never "1024 KiB". */
START_TEST(bytes_are_told_in_the_unit_that_fits)
{
	ck_assert_str_eq(text_bytes(0, buffer), "0 B");
	ck_assert_str_eq(text_bytes(1023, buffer), "1023 B");
	ck_assert_str_eq(text_bytes(KIB, buffer), "1.0 KiB");
	ck_assert_str_eq(text_bytes(1536, buffer), "1.5 KiB");
	ck_assert_str_eq(text_bytes(100 * KIB, buffer), "100 KiB");
	ck_assert_str_eq(text_bytes(1023 * KIB + 1000, buffer), "1.0 MiB");
	ck_assert_str_eq(text_bytes(5 * KIB * KIB * KIB, buffer), "5.0 GiB");
	ck_assert_str_eq(text_bytes(UINT64_MAX, buffer), "16.0 EiB");
}
END_TEST

/* Whatever is told fits into the eight columns that tables leave for it. */
START_TEST(bytes_never_take_more_than_eight_columns)
{
	for (uint64_t value = 1; value < UINT64_MAX / 3; value += value / 7 + 1)
		ck_assert_uint_le(strlen(text_bytes(value, buffer)), 8);
}
END_TEST

/* Seconds, minutes, hours, days. */
START_TEST(durations_are_told_as_clocks_do)
{
	ck_assert_str_eq(text_duration(0, buffer), "0:00");
	ck_assert_str_eq(text_duration(754, buffer), "12:34");
	ck_assert_str_eq(text_duration(3723, buffer), "1:02:03");
	ck_assert_str_eq(text_duration(3 * 86400 + 4 * 3600 + 5 * 60 + 6, buffer), "3 d 04:05");
}
END_TEST

/* Nothing rounds to "none" or "all" that is not. */
START_TEST(percentages_say_none_and_all_only_when_it_is_so)
{
	ck_assert_str_eq(text_percent(0, 10, buffer), "0 %");
	ck_assert_str_eq(text_percent(0, 0, buffer), "0 %");
	ck_assert_str_eq(text_percent(10, 10, buffer), "100 %");
	ck_assert_str_eq(text_percent(1, 1000000, buffer), "0.1 %");
	ck_assert_str_eq(text_percent(999999, 1000000, buffer), "99.9 %");
	ck_assert_str_eq(text_percent(1, 8, buffer), "12.5 %");
}
END_TEST

static void fits(const char *name, size_t columns, const char *expected)
{
	CLEANUP(free_pointer) char *text = text_fit(name, columns);

	ck_assert_str_eq(text, expected);
}

/* The end of a path tells more than its beginning. */
START_TEST(names_lose_their_beginning_when_they_are_too_long)
{
	fits("short", 5, "short");
	fits("a/long/name", 8, ".../name");
	fits("a/long/name", 7, "...name");
	fits("name", 3, "...");
	fits("name", 2, "");
	fits("", 0, "");
}
END_TEST

/* A name cannot steer the terminal. */
START_TEST(names_are_shown_without_control_characters_and_broken_ones)
{
	fits("a\x1b[31mb\nc", 20, "a?[31mb?c");
	fits("caf\xc3\xa9", 4, "caf\xc3\xa9");
	fits("bad\xff\xfe", 20, "bad??");
	fits("\xe4\xb8\xad\xe6\x96\x87/\xe4\xb8\xad", 5, "...\xe4\xb8\xad");
}
END_TEST

/* Nor can what a message quotes, whatever the locale takes for characters. */
START_TEST(messages_lose_their_control_characters_and_nothing_else)
{
	char text[] = "caf\xc3\xa9 \x1b[31m\xc2\x9b"
		      "1m\n\x7f\xff\xc2\xa9\xc2";

	text_clean(text);
	ck_assert_str_eq(text, "caf\xc3\xa9 ?[31m?1m??\xff\xc2\xa9\xc2");
}
END_TEST

/* What the options take. */
START_TEST(seconds_are_read_within_their_range_only)
{
	static const char *const wrong[] = {"", "x", "1x", "-1", " 1", "0.05", "11", "nan", "inf", "1e99"};
	double seconds = 4711;

	for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++)
		ck_assert_msg(!text_seconds(wrong[i], 0.1, 10, &seconds), "%s", wrong[i]);
	ck_assert_double_eq(seconds, 4711);
	ck_assert(text_seconds("0.5", 0.1, 10, &seconds));
	ck_assert_double_eq(seconds, 0.5);
}
END_TEST

/* The line of preload --progress, before and after a rate is known, and at the end. */
START_TEST(progress_tells_bytes_rate_and_time_left)
{
	struct progress progress = {.done = 0, .all = 4096 * KIB * KIB};
	char line[80];

	progress_line(&progress, 0, line, sizeof(line));
	ck_assert_str_eq(line, "[....................] 0 B of 4.0 GiB, 0 %");
	progress.done = 1024 * KIB * KIB;
	progress.rate = 128 * KIB * KIB;
	progress_line(&progress, 8, line, sizeof(line));
	ck_assert_str_eq(line, "[#####...............] 1.0 GiB of 4.0 GiB, 25.0 %, 128 MiB/s, 0:24 left");
	progress.done = progress.all;
	progress_line(&progress, 32, line, sizeof(line));
	ck_assert_str_eq(line, "[####################] 4.0 GiB in 0:32, 128 MiB/s");
	progress.done = progress.all = 0;
	progress_line(&progress, 0, line, sizeof(line));
	ck_assert_ptr_nonnull(strstr(line, "0 B in 0:00"));
}
END_TEST

void add_tests(TCase *tests)
{
	setlocale(LC_ALL, "C.UTF-8");
	tcase_add_test(tests, bytes_are_told_in_the_unit_that_fits);
	tcase_add_test(tests, bytes_never_take_more_than_eight_columns);
	tcase_add_test(tests, durations_are_told_as_clocks_do);
	tcase_add_test(tests, percentages_say_none_and_all_only_when_it_is_so);
	tcase_add_test(tests, names_lose_their_beginning_when_they_are_too_long);
	tcase_add_test(tests, names_are_shown_without_control_characters_and_broken_ones);
	tcase_add_test(tests, messages_lose_their_control_characters_and_nothing_else);
	tcase_add_test(tests, seconds_are_read_within_their_range_only);
	tcase_add_test(tests, progress_tells_bytes_rate_and_time_left);
}
