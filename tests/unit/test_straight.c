/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "request.h"
#include "straight.h"
#include "unit.h"
#include "util.h"

#define PAGES 64
#define HEADER "sixteen bytes it"

static unsigned char *pages;
static int file = -1, ends[2] = {-1, -1};

static void set_up(void)
{
	file = memfd_create("straight", MFD_CLOEXEC);
	ck_assert_int_ge(file, 0);
	ck_assert_int_eq(ftruncate(file, (off_t)(PAGES * page_size())), 0);
	pages = mmap(NULL, PAGES * page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	ck_assert_ptr_ne(pages, MAP_FAILED);
	for (size_t i = 0; i < PAGES * page_size(); i++)
		pages[i] = (unsigned char)(i / page_size() + i % 251);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
}

static void tear_down(void)
{
	straight_thread_end();
	munmap(pages, PAGES * page_size());
	close_fd(&file);
	close_fd(&ends[0]);
	close_fd(&ends[1]);
}

static void expect_sent(const unsigned char *bytes, size_t length)
{
	unsigned char *got = malloc(16 + length);

	ck_assert_ptr_nonnull(got);
	ck_assert(straight_held());
	ck_assert_int_eq(straight_send(ends[0], HEADER), (ssize_t)(16 + length));
	ck_assert(!straight_held());
	ck_assert_int_eq(recv(ends[1], got, 16 + length, MSG_WAITALL), (ssize_t)(16 + length));
	ck_assert_mem_eq(got, HEADER, 16);
	ck_assert_mem_eq(got + 16, bytes, length);
	free(got);
}

START_TEST(bytes_arrive_behind_the_header)
{
	/* One after the other, aligned and not, in one page and in many. */
	ck_assert(straight_hold(pages, 8 * page_size()));
	expect_sent(pages, 8 * page_size());
	ck_assert(straight_hold(pages + 100, 5000));
	expect_sent(pages + 100, 5000);
	ck_assert(straight_hold(pages + 4095, 1));
	expect_sent(pages + 4095, 1);
}
END_TEST

START_TEST(a_missing_page_holds_nothing)
{
	ck_assert_int_eq(ftruncate(file, (off_t)(4 * page_size())), 0);
	ck_assert(!straight_hold(pages, 8 * page_size()));
	ck_assert(!straight_held());
	ck_assert(!straight_hold(pages + 5 * page_size(), page_size()));
	/* The next one finds nothing of it. */
	ck_assert(straight_hold(pages, 4 * page_size()));
	expect_sent(pages, 4 * page_size());
}
END_TEST

START_TEST(what_is_dropped_is_not_sent)
{
	ck_assert(straight_hold(pages, 2 * page_size()));
	straight_drop();
	ck_assert(!straight_held());
	ck_assert(straight_hold(pages + page_size(), page_size()));
	expect_sent(pages + page_size(), page_size());
}
END_TEST

START_TEST(more_than_the_pipe_takes_is_refused)
{
	size_t length = 2 * MAX_WRITE;
	unsigned char *large = mmap(NULL, length, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(large, MAP_FAILED);
	ck_assert(!straight_hold(large, length));
	ck_assert(!straight_held());
	/* A read-ahead's request fits, with its header. */
	ck_assert_uint_eq(straight_readahead(123), 123);
	ck_assert_uint_eq(straight_readahead(MAX_WRITE), MAX_WRITE - page_size());
	ck_assert(straight_hold(large, straight_readahead(MAX_WRITE)));
	straight_drop();
	munmap(large, length);
}
END_TEST

START_TEST(a_refused_reply_leaves_nothing_behind)
{
	int closed = dup(ends[0]);

	close(closed);
	ck_assert(straight_hold(pages, page_size()));
	ck_assert_int_eq(straight_send(closed, HEADER), -1);
	ck_assert(!straight_held());
	ck_assert(straight_hold(pages, page_size()));
	expect_sent(pages, page_size());
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, bytes_arrive_behind_the_header);
	tcase_add_test(tests, a_missing_page_holds_nothing);
	tcase_add_test(tests, what_is_dropped_is_not_sent);
	tcase_add_test(tests, more_than_the_pipe_takes_is_refused);
	tcase_add_test(tests, a_refused_reply_leaves_nothing_behind);
}
