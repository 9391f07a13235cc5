/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "ctl/picture.h"
#include "unit.h"
#include "util.h"

#define PAGE UINT64_C(4096)

static struct picture make(uint64_t size, size_t max)
{
	struct picture picture;

	ck_assert_int_eq(picture_new(size, PAGE, max, &picture), 0);
	return picture;
}

/* Never more parts than asked for, every page in one part. */
START_TEST(a_file_is_cut_into_equal_parts_that_hold_all_pages)
{
	static const uint64_t pages[] = {0, 1, 2, 9, 10, 11, 99, 1000, 12345};

	for (size_t i = 0; i < ARRAY_LENGTH(pages); i++) {
		CLEANUP(picture_fini) struct picture picture = make(pages[i] * PAGE, 10);

		ck_assert_uint_le(picture.count, 10);
		ck_assert_uint_eq(picture_sum(&picture).pages, pages[i]);
		for (size_t k = 0; k + 1 < picture.count; k++)
			ck_assert_uint_eq(picture.parts[k].pages, picture.part_bytes / PAGE);
	}
}
END_TEST

/* One byte has a page. */
START_TEST(the_page_that_the_file_ends_in_counts)
{
	CLEANUP(picture_fini) struct picture picture = make(PAGE + 1, 100);

	ck_assert_uint_eq(picture.count, 2);
	ck_assert_uint_eq(picture_sum(&picture).pages, 2);
}
END_TEST

/* A page with a byte of data in it is no hole. */
START_TEST(holes_count_their_whole_pages)
{
	CLEANUP(picture_fini) struct picture picture = make(10 * PAGE + 5, 4);

	picture_add_hole(&picture, PAGE + 1, 4 * PAGE - 1);
	ck_assert_uint_eq(picture_sum(&picture).hole, 1);
	picture_add_hole(&picture, 5 * PAGE, 10 * PAGE + 5);
	ck_assert_uint_eq(picture_sum(&picture).hole, 7);
	for (size_t i = 0; i < picture.count; i++)
		ck_assert_uint_le(picture.parts[i].hole, picture.parts[i].pages);
	picture_add_hole(&picture, 3 * PAGE, 3 * PAGE);
	ck_assert_uint_eq(picture_sum(&picture).hole, 7);
}
END_TEST

/* What matters more hides what matters less. */
START_TEST(a_part_shows_the_strongest_state_of_its_pages)
{
	struct picture_part part = {.pages = 4};

	ck_assert_int_eq(picture_character(&part), '.');
	part.hole = 4;
	ck_assert_int_eq(picture_character(&part), ' ');
	part.hole = 3;
	ck_assert_int_eq(picture_character(&part), '.');
	part.cached = 1;
	ck_assert_int_eq(picture_character(&part), '+');
	part.cached = 4;
	ck_assert_int_eq(picture_character(&part), '#');
	part.dirty = 1;
	ck_assert_int_eq(picture_character(&part), 'D');
	part.locked = 1;
	ck_assert_int_eq(picture_character(&part), 'L');
}
END_TEST

/* Lines with their offsets. */
START_TEST(the_picture_has_bars_and_offsets)
{
	CLEANUP(picture_fini) struct picture picture = make(5 * PAGE, 100);
	CLEANUP(free_pointer) char *text = NULL;
	size_t length;
	FILE *stream = open_memstream(&text, &length);

	picture.parts[0].cached = 1;
	picture.parts[4].cached = picture.parts[4].dirty = 1;
	picture_print(stream, &picture, 4);
	fclose(stream);
	ck_assert_str_eq(text, "     0 B |#...|\n"
			       "16.0 KiB |D|\n");
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_test(tests, a_file_is_cut_into_equal_parts_that_hold_all_pages);
	tcase_add_test(tests, the_page_that_the_file_ends_in_counts);
	tcase_add_test(tests, holes_count_their_whole_pages);
	tcase_add_test(tests, a_part_shows_the_strongest_state_of_its_pages);
	tcase_add_test(tests, the_picture_has_bars_and_offsets);
}
