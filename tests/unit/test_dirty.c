/* SPDX-License-Identifier: MIT */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mapping/dirty.h"
#include "unit.h"

static struct dirty_set set;

static void set_up(void)
{
	memset(&set, 0, sizeof(set));
}

static void expect_extent(size_t at, uint64_t start, uint64_t end)
{
	ck_assert_uint_lt(at, set.count);
	ck_assert_uint_eq(set.extents[at].start, start);
	ck_assert_uint_eq(set.extents[at].end, end);
}

/* What the header says of every set: not too many, none empty, ascending, a byte apart. */
static void expect_sound(void)
{
	ck_assert_uint_le(set.count, DIRTY_EXTENTS);
	for (size_t i = 0; i < set.count; i++) {
		ck_assert_uint_lt(set.extents[i].start, set.extents[i].end);
		if (i > 0)
			ck_assert_uint_lt(set.extents[i - 1].end, set.extents[i].start);
	}
}

static bool covered(uint64_t byte)
{
	for (size_t i = 0; i < set.count; i++) {
		if (set.extents[i].start <= byte && byte < set.extents[i].end)
			return true;
	}
	return false;
}

/* Nothing was written where the length is 0, wherever that nothing lies. */
START_TEST(a_length_of_0_adds_nothing)
{
	dirty_add(&set, 0, 0);
	dirty_add(&set, UINT64_MAX, 0);
	ck_assert_uint_eq(set.count, 0);
	ck_assert_uint_eq(dirty_bytes(&set), 0);
}
END_TEST

/* Writes that come in any order stand in the order of the file. */
START_TEST(separate_extents_stay_separate_and_ascend)
{
	dirty_add(&set, 200, 10);
	dirty_add(&set, 0, 10);
	dirty_add(&set, 100, 10);
	ck_assert_uint_eq(set.count, 3);
	expect_extent(0, 0, 10);
	expect_extent(1, 100, 110);
	expect_extent(2, 200, 210);
	ck_assert_uint_eq(dirty_bytes(&set), 30);
}
END_TEST

/* A sequential writer keeps one extent, forwards and backwards. */
START_TEST(extents_that_touch_become_one)
{
	dirty_add(&set, 100, 10);
	dirty_add(&set, 110, 10);
	dirty_add(&set, 90, 10);
	ck_assert_uint_eq(set.count, 1);
	expect_extent(0, 90, 120);
}
END_TEST

/* A single clean byte is enough to keep two extents apart. */
START_TEST(extents_a_byte_apart_stay_two)
{
	dirty_add(&set, 0, 10);
	dirty_add(&set, 11, 10);
	ck_assert_uint_eq(set.count, 2);
	ck_assert_uint_eq(dirty_bytes(&set), 20);
}
END_TEST

/* One write over several extents and the gaps between them leaves one, as wide as all of them. */
START_TEST(an_extent_swallows_all_that_it_overlaps)
{
	for (uint64_t i = 0; i < 5; i++)
		dirty_add(&set, i * 100, 10);
	dirty_add(&set, 105, 200);
	ck_assert_uint_eq(set.count, 3);
	expect_extent(0, 0, 10);
	expect_extent(1, 100, 310);
	expect_extent(2, 400, 410);
}
END_TEST

/* Rewriting what is dirty changes nothing. */
START_TEST(an_extent_inside_another_adds_nothing)
{
	dirty_add(&set, 100, 100);
	dirty_add(&set, 120, 10);
	dirty_add(&set, 100, 100);
	ck_assert_uint_eq(set.count, 1);
	ck_assert_uint_eq(dirty_bytes(&set), 100);
}
END_TEST

/* The last byte that an offset can name is no special case. */
START_TEST(an_extent_may_end_at_the_largest_offset)
{
	dirty_add(&set, UINT64_MAX - 10, 10);
	dirty_add(&set, UINT64_MAX - 20, 10);
	ck_assert_uint_eq(set.count, 1);
	expect_extent(0, UINT64_MAX - 20, UINT64_MAX);
}
END_TEST

/* When one more is needed, the smallest gap is what gets synced without need. */
START_TEST(a_full_set_closes_its_smallest_gap)
{
	for (uint64_t i = 0; i < DIRTY_EXTENTS; i++)
		dirty_add(&set, i * 1000 - (i == 7 ? 5 : 0), 10);
	ck_assert_uint_eq(set.count, DIRTY_EXTENTS);
	dirty_add(&set, 1000 * DIRTY_EXTENTS, 10);
	ck_assert_uint_eq(set.count, DIRTY_EXTENTS);
	expect_extent(6, 6000, 7005);
	ck_assert_uint_eq(dirty_bytes(&set), 10 * (DIRTY_EXTENTS + 1) + 985);
}
END_TEST

/* The newcomer is one of those that may be merged: a write beside another must not dirty a gigabyte. */
START_TEST(a_newcomer_close_to_a_neighbour_joins_it_in_a_full_set)
{
	for (uint64_t i = 0; i < DIRTY_EXTENTS; i++)
		dirty_add(&set, i << 30, 4096);
	dirty_add(&set, 8192, 4096);
	expect_sound();
	ck_assert_uint_eq(dirty_bytes(&set), 4096 * (DIRTY_EXTENTS + 2));
}
END_TEST

/* The gap that had to be closed may be the one the newcomer lies in. */
START_TEST(a_newcomer_inside_the_closed_gap_is_covered)
{
	for (uint64_t i = 0; i < DIRTY_EXTENTS; i++)
		dirty_add(&set, i * 1000 + (i == 0 ? 900 : 0), 10);
	dirty_add(&set, 950, 10);
	expect_sound();
	ck_assert(covered(950) && covered(959));
	ck_assert_uint_le(dirty_bytes(&set), 10 * DIRTY_EXTENTS + 90);
}
END_TEST

/* Whatever is written, no byte of it is forgotten and the set keeps its shape. */
START_TEST(random_writes_lose_no_byte)
{
	static unsigned char written[20000];
	unsigned seed = 1;

	for (int round = 0; round < 50; round++) {
		memset(&set, 0, sizeof(set));
		memset(written, 0, sizeof(written));
		for (int i = 0; i < 60; i++) {
			size_t length = (size_t)rand_r(&seed) % 100;
			size_t offset = (size_t)rand_r(&seed) % (sizeof(written) - length);

			dirty_add(&set, offset, length);
			memset(written + offset, 1, length);
			expect_sound();
		}
		for (size_t byte = 0; byte < sizeof(written); byte++) {
			if (written[byte] && !covered(byte))
				ck_abort_msg("round %d lost byte %zu", round, byte);
		}
		for (size_t i = 0; i < set.count; i++)
			ck_assert(written[set.extents[i].start] && written[set.extents[i].end - 1]);
	}
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, a_length_of_0_adds_nothing);
	tcase_add_test(tests, separate_extents_stay_separate_and_ascend);
	tcase_add_test(tests, extents_that_touch_become_one);
	tcase_add_test(tests, extents_a_byte_apart_stay_two);
	tcase_add_test(tests, an_extent_swallows_all_that_it_overlaps);
	tcase_add_test(tests, an_extent_inside_another_adds_nothing);
	tcase_add_test(tests, an_extent_may_end_at_the_largest_offset);
	tcase_add_test(tests, a_full_set_closes_its_smallest_gap);
	tcase_add_test(tests, a_newcomer_close_to_a_neighbour_joins_it_in_a_full_set);
	tcase_add_test(tests, a_newcomer_inside_the_closed_gap_is_covered);
	tcase_add_test(tests, random_writes_lose_no_byte);
}
