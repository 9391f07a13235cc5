/* SPDX-License-Identifier: MIT */

#include "again.h"
#include "unit.h"

static struct again again;

static void begin(void)
{
	again = (struct again){.count = 0};
}

static uint64_t take(uint64_t now_ms)
{
	bool all;
	uint64_t id = again_take(&again, now_ms, &all);

	ck_assert(!all);
	return id;
}

/* Each event is followed by two looks, and then there is nothing to wait for. */
START_TEST(an_event_is_looked_at_soon_and_once_more_late)
{
	begin();
	ck_assert_int_eq(again_wait_ms(&again, 1000), -1);
	again_note(&again, 7, 1000);
	ck_assert_int_eq(again_wait_ms(&again, 1000), AGAIN_SOON_MS);
	ck_assert_uint_eq(take(1000 + AGAIN_SOON_MS - 1), 0);
	ck_assert_uint_eq(take(1000 + AGAIN_SOON_MS), 7);
	ck_assert_uint_eq(take(1000 + AGAIN_SOON_MS), 0);
	ck_assert_int_eq(again_wait_ms(&again, 1000 + AGAIN_SOON_MS), AGAIN_LATE_MS);
	ck_assert_uint_eq(take(5000), 7);
	ck_assert_uint_eq(take(50000), 0);
	ck_assert_int_eq(again_wait_ms(&again, 5000), -1);
	ck_assert_int_eq(again_wait_ms(&again, 50000), -1);
}
END_TEST

/* Events that go on neither put the first look off nor do without the last one. */
START_TEST(more_events_do_not_put_the_first_look_off)
{
	begin();
	for (uint64_t now = 1000; now < 1000 + AGAIN_SOON_MS; now++)
		again_note(&again, 9, now);
	ck_assert_uint_eq(take(1000 + AGAIN_SOON_MS), 9);
	again_note(&again, 9, 2000);
	ck_assert_uint_eq(take(2000 + AGAIN_SOON_MS), 9);
	ck_assert_uint_eq(take(2000 + AGAIN_SOON_MS), 0);
	ck_assert_uint_eq(take(2000 + AGAIN_SOON_MS + AGAIN_LATE_MS), 9);
	ck_assert_int_eq(again_wait_ms(&again, 9000), -1);
}
END_TEST

/* Where there is no room for all of them, everything is looked at once. */
START_TEST(more_ids_than_there_is_room_for_are_due_all_together)
{
	uint64_t taken = 0;
	bool all = false;

	begin();
	for (uint64_t id = 1; id <= 3 * AGAIN_SLOTS; id++)
		again_note(&again, id, 1000);
	while (again_take(&again, 1000 + AGAIN_SOON_MS, &all) != 0)
		taken++;
	ck_assert(!all);
	ck_assert_uint_gt(taken, AGAIN_SLOTS / 2);
	ck_assert_uint_eq(again_take(&again, 1000 + AGAIN_LATE_MS, &all), 0);
	ck_assert(all);
	ck_assert_uint_eq(again_take(&again, 9000, &all), 0);
	ck_assert(!all);
	ck_assert_int_eq(again_wait_ms(&again, 9000), -1);
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_test(tests, an_event_is_looked_at_soon_and_once_more_late);
	tcase_add_test(tests, more_events_do_not_put_the_first_look_off);
	tcase_add_test(tests, more_ids_than_there_is_room_for_are_due_all_together);
}
