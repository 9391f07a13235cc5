/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control_value.h"
#include "unit.h"

static struct control_value value;

static void accept(const char *text)
{
	const char *why = NULL;

	ck_assert_msg(control_value_read(text, &value, &why) == 0, "'%s': %s", text, why);
}

static void refuse(const char *text)
{
	struct control_value untouched = {.word = "before", .offset = 4711};
	const char *why = NULL;

	ck_assert_msg(control_value_read(text, &untouched, &why) == -EINVAL, "'%s' is taken", text);
	ck_assert_ptr_nonnull(why);
	ck_assert_str_eq(untouched.word, "before");
	ck_assert_uint_eq(untouched.offset, 4711);
}

/* A word alone is about the whole file; an empty one is for the command to judge. */
START_TEST(a_word_alone_has_no_range)
{
	accept("random");
	ck_assert_str_eq(value.word, "random");
	ck_assert(!value.ranged);
	accept("");
	ck_assert_str_eq(value.word, "");
	ck_assert(!value.ranged);
}
END_TEST

/* Bytes, with units, of any alignment. */
START_TEST(ranges_are_read)
{
	accept("now:4095:1");
	ck_assert(value.ranged);
	ck_assert_uint_eq(value.offset, 4095);
	ck_assert_uint_eq(value.length, 1);
	accept("cold:64K:2G");
	ck_assert_uint_eq(value.offset, 64 << 10);
	ck_assert_uint_eq(value.length, UINT64_C(2) << 30);
	accept(":0:1");
	ck_assert_str_eq(value.word, "");
}
END_TEST

/* Half a range, none at all, numbers that are none, and sums that no file reaches. */
START_TEST(malformed_ranges_are_refused)
{
	refuse("now:");
	refuse("now:1");
	refuse("now:1:");
	refuse("now::1");
	refuse("now:1:1:1");
	refuse("now:-1:1");
	refuse("now: 1:1");
	refuse("now:1:0");
	refuse("now:0x10:1");
	refuse("now:9223372036854775807:1");
	refuse("now:18446744073709551615:18446744073709551615");
	refuse("now:99999999999999999999:1");
	refuse("now:00000000000000000000000000000000000000000000001:1");
	refuse("a_word_that_is_longer_than_any_command_has:0:1");
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_test(tests, a_word_alone_has_no_range);
	tcase_add_test(tests, ranges_are_read);
	tcase_add_test(tests, malformed_ranges_are_refused);
}
