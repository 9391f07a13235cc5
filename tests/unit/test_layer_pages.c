/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "layer/pages.h"
#include "unit.h"
#include "util.h"

#define PAGE LAYER_PAGE

static struct pages pages;

static void set_up(void)
{
	pages = (struct pages){.clean = 10 * PAGE + 100};
}

static void tear_down(void)
{
	pages_fini(&pages);
}

static void expect_run(uint64_t offset, uint64_t end, enum page_kind kind, uint64_t to)
{
	enum page_kind found;

	ck_assert_uint_eq(pages_run(&pages, offset, end, &found), to);
	ck_assert_int_eq(found, kind);
}

/* Nothing is noted: BACKING's bytes up to where they end, inside a page, zeros from there. */
START_TEST(a_file_without_notes_is_clean_and_then_zero)
{
	expect_run(0, 20 * PAGE, PAGES_CLEAN, 10 * PAGE + 100);
	expect_run(5, 7, PAGES_CLEAN, 7);
	expect_run(10 * PAGE + 100, 20 * PAGE, PAGES_ZERO, 20 * PAGE);
	ck_assert_uint_eq(pages_clean(&pages), 11);
	ck_assert_uint_eq(pages_data(&pages), 0);
}
END_TEST

/* A page that was written is data, its neighbours are what they were. */
START_TEST(a_written_page_divides_a_clean_run)
{
	pages_set_data(&pages, 3, 5);
	expect_run(0, 20 * PAGE, PAGES_CLEAN, 3 * PAGE);
	expect_run(3 * PAGE + 1, 20 * PAGE, PAGES_DATA, 5 * PAGE);
	expect_run(3 * PAGE, 4 * PAGE + 7, PAGES_DATA, 4 * PAGE + 7);
	expect_run(5 * PAGE, 20 * PAGE, PAGES_CLEAN, 10 * PAGE + 100);
	ck_assert_uint_eq(pages_clean(&pages), 9);
}
END_TEST

/* The last clean page, once written, is data to its end. */
START_TEST(the_page_at_the_clean_end_becomes_data_whole)
{
	pages_set_data(&pages, 10, 11);
	expect_run(9 * PAGE, 20 * PAGE, PAGES_CLEAN, 10 * PAGE);
	expect_run(10 * PAGE, 20 * PAGE, PAGES_DATA, 11 * PAGE);
	expect_run(11 * PAGE, 20 * PAGE, PAGES_ZERO, 20 * PAGE);
}
END_TEST

/* Zeroing gives data back and hides clean pages; past the clean ones nothing need be noted. */
START_TEST(zeroed_pages_count_what_was_data)
{
	pages_set_data(&pages, 2, 4);
	pages_set_data(&pages, 15, 16);
	ck_assert_uint_eq(pages_set_zero(&pages, 3, 17), 2);
	expect_run(2 * PAGE, 20 * PAGE, PAGES_DATA, 3 * PAGE);
	expect_run(3 * PAGE, 20 * PAGE, PAGES_ZERO, 11 * PAGE);
	expect_run(11 * PAGE, 20 * PAGE, PAGES_ZERO, 20 * PAGE);
	ck_assert_uint_eq(pages_data(&pages), 1);
	pages_set_data(&pages, 5, 6);
	expect_run(5 * PAGE, 20 * PAGE, PAGES_DATA, 6 * PAGE);
}
END_TEST

/* What was cut off never comes back, however the file grows. */
START_TEST(cut_bytes_are_zero_for_ever)
{
	pages_set_data(&pages, 4, 8);
	ck_assert_uint_eq(pages_cut(&pages, 5 * PAGE + 1), 2);
	ck_assert_uint_eq(pages_cut(&pages, 100 * PAGE), 0);
	expect_run(4 * PAGE, 20 * PAGE, PAGES_DATA, 6 * PAGE);
	expect_run(6 * PAGE, 20 * PAGE, PAGES_ZERO, 20 * PAGE);
	ck_assert_uint_eq(pages_cut(&pages, 100), 2);
	expect_run(0, 20 * PAGE, PAGES_CLEAN, 100);
	expect_run(100, 20 * PAGE, PAGES_ZERO, 20 * PAGE);
}
END_TEST

/* What a write would add to a layer. */
START_TEST(missing_pages_are_those_that_are_no_data)
{
	pages_set_data(&pages, 4, 8);
	ck_assert_uint_eq(pages_missing(&pages, 0, 4), 4);
	ck_assert_uint_eq(pages_missing(&pages, 4, 8), 0);
	ck_assert_uint_eq(pages_missing(&pages, 2, 10), 4);
}
END_TEST

/* The largest page number there is can be used like any other. */
START_TEST(the_last_page_of_the_largest_file_works)
{
	uint64_t last = (UINT64_C(1) << 32) - 1;

	pages_set_data(&pages, last, last + 1);
	expect_run(last * PAGE, LAYER_FILE_MAX, PAGES_DATA, LAYER_FILE_MAX);
	expect_run(20 * PAGE, LAYER_FILE_MAX, PAGES_ZERO, last * PAGE);
	ck_assert_uint_eq(pages_cut(&pages, last * PAGE), 1);
}
END_TEST

/* Runs of all lengths end where they end, and the longest is not gone through page by page. */
START_TEST(a_long_run_is_found_at_once)
{
	const uint64_t all = UINT64_C(1) << 32;

	for (uint64_t length = 1; length < 5000; length += 1 + length / 7) {
		pages_set_data(&pages, 100, 100 + length);
		expect_run(100 * PAGE, 1 << 30, PAGES_DATA, (100 + length) * PAGE);
		expect_run(100 * PAGE, (99 + length) * PAGE + 1, PAGES_DATA, (99 + length) * PAGE + 1);
		pages_cut(&pages, 0);
	}
	pages.clean = LAYER_FILE_MAX;
	pages_set_zero(&pages, 0, all - 3);
	for (int i = 0; i < 100; i++) {
		expect_run(0, LAYER_FILE_MAX, PAGES_ZERO, (all - 3) * PAGE);
		expect_run((uint64_t)i * PAGE, (all - 5) * PAGE, PAGES_ZERO, (all - 5) * PAGE);
	}
	expect_run((all - 3) * PAGE, LAYER_FILE_MAX, PAGES_CLEAN, LAYER_FILE_MAX);
}
END_TEST

/* A set comes back from its packed form; anything else is refused. */
START_TEST(sets_survive_packing)
{
	struct page_set none = {0}, again;
	size_t size;
	void *packed;

	ck_assert_int_eq(page_set_pack(&none, &packed, &size), 0);
	ck_assert_ptr_null(packed);
	ck_assert_uint_eq(size, 0);
	for (int runs = 1; runs <= 2; runs++) {
		pages_set_data(&pages, 4, 8);
		if (runs == 2)
			pages_set_data(&pages, 100000, 170000);
		ck_assert_int_eq(page_set_pack(&pages.data, &packed, &size), 0);
		ck_assert_ptr_nonnull(packed);
		ck_assert_int_eq(page_set_unpack(packed, size, &again), 0);
		pages_fini(&pages);
		pages.data = again;
		ck_assert_uint_eq(pages_data(&pages), runs == 1 ? 4 : 70004);
		expect_run(4 * PAGE, 20 * PAGE, PAGES_DATA, 8 * PAGE);
		ck_assert_int_eq(page_set_unpack(packed, 5, &again), -EINVAL);
		ck_assert_int_eq(page_set_unpack("nonsense", 8, &again), -EINVAL);
		free(packed);
	}
}
END_TEST

/* What a run in a word cannot say: more runs, and more pages than half of all. */
START_TEST(runs_and_bitmaps_are_the_same_sets)
{
	const uint64_t all = UINT64_C(1) << 32, half = all / 2;
	struct page_set set = {0}, copy;

	page_set_add(&set, half, all);
	ck_assert_uint_eq(page_set_count(&set, 0, all), half);
	page_set_add(&set, half - 1, half);
	ck_assert_uint_eq(page_set_count(&set, 0, all), half + 1);
	ck_assert_int_eq(page_set_copy(&set, &copy), 0);
	ck_assert_uint_eq(page_set_remove(&set, 0, all), half + 1);
	ck_assert(page_set_is_empty(&set));
	ck_assert_uint_eq(page_set_count(&copy, half, half + 7), 7);
	page_set_fini(&copy);
	page_set_add(&set, 10, 20);
	ck_assert_uint_eq(page_set_remove(&set, 0, 12), 2);
	ck_assert_uint_eq(page_set_remove(&set, 18, 30), 2);
	ck_assert_uint_eq(page_set_remove(&set, 14, 15), 1);
	ck_assert_uint_eq(page_set_count(&set, 0, all), 5);
	page_set_add(&set, 14, 15);
	ck_assert_uint_eq(page_set_count(&set, 12, 18), 6);
	page_set_fini(&set);
}
END_TEST

#ifndef SANITIZED
/* All memory that the process may have, in pieces, the large ones first. */
static size_t take_all(void **blocks, size_t count)
{
	struct rlimit limit = {256 << 20, 256 << 20};
	size_t taken = 0;

	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
	for (size_t size = 32 << 10; size >= 16; size /= 2) {
		while (taken < count && (blocks[taken] = malloc(size)) != NULL)
			taken++;
	}
	return taken;
}

/* Memory comes back piece by piece: each change is either refused before it begins, or made. */
START_TEST(without_memory_a_change_is_refused_and_nothing_breaks)
{
	static void *blocks[1 << 20];
	static struct pages sets[64];
	unsigned made = 0, refused = 0, wrong = 0;
	size_t taken;
	bool zero;

	/* Nothing is asserted before memory is back: that needs some. */
	taken = take_all(blocks, ARRAY_LENGTH(blocks));
	srandom(11);
	for (int change = 0; change < 40000; change++) {
		struct pages *one = &sets[random() % (long)ARRAY_LENGTH(sets)];
		uint64_t first = (uint64_t)random() % (20 << 16), end = first + 1;

		if (random() % 8 == 0)
			end += (uint64_t)random() % (1 << 17);
		one->clean = PAGE << 21;
		if (pages_reserve(one, first, end) < 0) {
			refused++;
			for (int i = 0; i < 3 && taken > 0; i++)
				free(blocks[--taken]);
			continue;
		}
		made++;
		zero = random() % 3 == 0;
		if (zero)
			pages_set_zero(one, first, end);
		else
			pages_set_data(one, first, end);
		wrong += pages_missing(one, first, end) != (zero ? end - first : 0);
	}
	for (size_t i = 0; i < ARRAY_LENGTH(sets); i++)
		pages_fini(&sets[i]);
	while (taken > 0)
		free(blocks[--taken]);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_gt(refused, 100);
	ck_assert_uint_gt(made, 10000);
}
END_TEST
#endif

/* Against a model of one letter a byte: no byte changes hands but by what was asked. */
START_TEST(random_changes_agree_with_a_model)
{
	static unsigned char model[40 * PAGE];

	srandom(7);
	for (int round = 0; round < 20; round++) {
		pages_fini(&pages);
		pages.clean = (uint64_t)random() % (30 * PAGE);
		memset(model, PAGES_ZERO, sizeof(model));
		memset(model, PAGES_CLEAN, pages.clean);
		for (int change = 0; change < 60; change++) {
			uint64_t first = (uint64_t)random() % 39, end = first + 1 + (uint64_t)random() % 4;

			end = end > 40 ? 40 : end;
			switch (random() % 4) {
			case 0:
			case 1:
				pages_set_data(&pages, first, end);
				memset(model + first * PAGE, PAGES_DATA, (end - first) * PAGE);
				break;
			case 2:
				pages_set_zero(&pages, first, end);
				memset(model + first * PAGE, PAGES_ZERO, (end - first) * PAGE);
				break;
			default:
				if (random() % 8 != 0)
					break;
				first = first * PAGE + (uint64_t)random() % PAGE;
				pages_cut(&pages, first);
				/* A data page that the cut goes through stays data. */
				end = model[first] == PAGES_DATA ? (first / PAGE + 1) * PAGE : first;
				memset(model + end, PAGES_ZERO, sizeof(model) - end);
			}
		}
		for (uint64_t at = 0, next; at < sizeof(model); at = next) {
			enum page_kind kind;

			next = pages_run(&pages, at, sizeof(model), &kind);
			ck_assert_uint_gt(next, at);
			for (uint64_t byte = at; byte < next; byte++)
				if (model[byte] != kind)
					ck_abort_msg("round %d byte %#lx is %d, not %d", round,
						     (unsigned long)byte, kind, model[byte]);
		}
	}
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, a_file_without_notes_is_clean_and_then_zero);
	tcase_add_test(tests, a_written_page_divides_a_clean_run);
	tcase_add_test(tests, the_page_at_the_clean_end_becomes_data_whole);
	tcase_add_test(tests, zeroed_pages_count_what_was_data);
	tcase_add_test(tests, cut_bytes_are_zero_for_ever);
	tcase_add_test(tests, missing_pages_are_those_that_are_no_data);
	tcase_add_test(tests, the_last_page_of_the_largest_file_works);
	tcase_add_test(tests, a_long_run_is_found_at_once);
	tcase_add_test(tests, sets_survive_packing);
	tcase_add_test(tests, runs_and_bitmaps_are_the_same_sets);
#ifndef SANITIZED
	tcase_add_test(tests, without_memory_a_change_is_refused_and_nothing_breaks);
#endif
	tcase_add_test(tests, random_changes_agree_with_a_model);
}
