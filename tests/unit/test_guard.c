/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mapping/guard.h"
#include "unit.h"
#include "util.h"

#define PAGES 8
#define THREADS 4

/* PAGES pages of a file are mapped; those from `end` on cannot appear. */
static unsigned char *pages;
static size_t page;
static int file = -1;

static void set_up(void)
{
	page = page_size();
	file = memfd_create("guard", MFD_CLOEXEC);
	ck_assert_int_ge(file, 0);
	ck_assert_int_eq(ftruncate(file, (off_t)(PAGES * page)), 0);
	pages = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	ck_assert_ptr_ne(pages, MAP_FAILED);
	memset(pages, 'x', PAGES * page);
	ck_assert_int_eq(guard_init(), 0);
}

static void tear_down(void)
{
	munmap(pages, PAGES * page);
	close_fd(&file);
}

static void cut_to(size_t count)
{
	ck_assert_int_eq(ftruncate(file, (off_t)(count * page)), 0);
}

/* Where every page is there it is a memcpy(), also of nothing and across pages. */
START_TEST(a_copy_of_present_pages_copies_them)
{
	char buffer[64];

	memset(buffer, 'y', sizeof(buffer));
	ck_assert_int_eq(guarded_copy(buffer, pages + page - 16, 32), 0);
	for (size_t i = 0; i < sizeof(buffer); i++)
		ck_assert_int_eq(buffer[i], i < 32 ? 'x' : 'y');
	ck_assert_int_eq(guarded_copy(pages + 2 * page - 1, "ab", 2), 0);
	ck_assert_int_eq(pages[2 * page - 1], 'a');
	ck_assert_int_eq(pages[2 * page], 'b');
	ck_assert_int_eq(guarded_copy(buffer, pages, 0), 0);
}
END_TEST

/* A file cut behind our back is an errno and not the end of the process, for loads as for stores. */
START_TEST(a_page_past_the_end_of_the_file_is_efault)
{
	char buffer[64] = {0};

	cut_to(4);
	ck_assert_int_eq(guarded_copy(buffer, pages + 4 * page, sizeof(buffer)), -EFAULT);
	ck_assert_int_eq(guarded_copy(pages + 5 * page, buffer, sizeof(buffer)), -EFAULT);
}
END_TEST

/* Stored bytes can be driven out of the processor's caches; where their page is gone that is an errno, too. */
START_TEST(bytes_of_present_pages_persist_and_others_are_efault)
{
	ck_assert_int_eq(guarded_persist(pages + page - 100, 200), 0);
	ck_assert_int_eq(guarded_persist(pages, 0), 0);
	ck_assert_int_eq(pages[page], 'x');
	cut_to(4);
	if (guard_can_persist())
		ck_assert_int_eq(guarded_persist(pages + 4 * page - 64, 128), -EFAULT);
}
END_TEST

/* The copy is said to have failed even where most of it had been done. */
START_TEST(a_copy_that_runs_into_a_missing_page_is_efault)
{
	char *buffer = malloc(PAGES * page);

	cut_to(4);
	ck_assert_int_eq(guarded_copy(buffer, pages, PAGES * page), -EFAULT);
	ck_assert_int_eq(guarded_copy(buffer, pages, 4 * page), 0);
	ck_assert_int_eq(buffer[4 * page - 1], 'x');
	free(buffer);
}
END_TEST

/* The guard comes back: a fault leaves neither a blocked signal nor a used-up handler behind. */
START_TEST(faults_can_follow_each_other)
{
	char byte;

	cut_to(4);
	for (int i = 0; i < 1000; i++) {
		ck_assert_int_eq(guarded_copy(&byte, pages + 4 * page, 1), -EFAULT);
		ck_assert_int_eq(guarded_copy(&byte, pages, 1), 0);
	}
}
END_TEST

/* Once the file is long enough again its pages can be copied again. */
START_TEST(a_page_that_came_back_can_be_copied)
{
	char byte = 'y';

	cut_to(4);
	ck_assert_int_eq(guarded_copy(&byte, pages + 4 * page, 1), -EFAULT);
	cut_to(PAGES);
	ck_assert_int_eq(guarded_copy(&byte, pages + 4 * page, 1), 0);
	ck_assert_int_eq(byte, 0);
}
END_TEST

/* Whoever installs the handler twice has the same handler. */
START_TEST(installing_the_handler_twice_is_harmless)
{
	char byte;

	ck_assert_int_eq(guard_init(), 0);
	ck_assert_int_eq(guard_init(), 0);
	cut_to(4);
	ck_assert_int_eq(guarded_copy(&byte, pages + 4 * page, 1), -EFAULT);
}
END_TEST

/* A stray access is a bug and must end in a core dump, not be jumped out of. */
START_TEST(a_fault_outside_a_copy_keeps_its_default_effect)
{
	cut_to(4);
	(void)*(volatile unsigned char *)(pages + 4 * page);
}
END_TEST

/* A guard ends with its copy, be that by the fault or by success. */
START_TEST(a_fault_after_a_copy_is_not_taken_for_the_copy_s)
{
	char byte;

	cut_to(4);
	ck_assert_int_eq(guarded_copy(&byte, pages + 4 * page, 1), -EFAULT);
	ck_assert_int_eq(guarded_copy(&byte, pages, 1), 0);
	(void)*(volatile unsigned char *)(pages + 4 * page);
}
END_TEST

static _Atomic unsigned wrong;

static void *copy_much(void *which)
{
	size_t at = *(size_t *)which;
	unsigned char buffer[256];
	int expected = at < 4 ? 0 : -EFAULT;

	for (int i = 0; i < 2000; i++) {
		if (guarded_copy(buffer, pages + at * page, sizeof(buffer)) != expected)
			atomic_fetch_add(&wrong, 1);
		if (expected == 0 && buffer[255] != 'x')
			atomic_fetch_add(&wrong, 1);
	}
	return NULL;
}

/* The fault of one thread is not another's: those whose pages are there see nothing of it. */
START_TEST(threads_fault_independently)
{
	pthread_t threads[THREADS];
	size_t at[THREADS] = {0, 4, 3, 7};

	cut_to(4);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, copy_much, &at[i]), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(atomic_load(&wrong), 0);
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, a_copy_of_present_pages_copies_them);
	tcase_add_test(tests, a_page_past_the_end_of_the_file_is_efault);
	tcase_add_test(tests, a_copy_that_runs_into_a_missing_page_is_efault);
	tcase_add_test(tests, bytes_of_present_pages_persist_and_others_are_efault);
	tcase_add_test(tests, faults_can_follow_each_other);
	tcase_add_test(tests, a_page_that_came_back_can_be_copied);
	tcase_add_test(tests, installing_the_handler_twice_is_harmless);
	tcase_add_test_raise_signal(tests, a_fault_outside_a_copy_keeps_its_default_effect, SIGBUS);
	tcase_add_test_raise_signal(tests, a_fault_after_a_copy_is_not_taken_for_the_copy_s, SIGBUS);
	tcase_add_test(tests, threads_fault_independently);
}
