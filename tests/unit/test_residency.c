/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mapping/residency.h"
#include "unit.h"
#include "util.h"

#define PAGES 1200
#define CACHESTAT 451

static int file = -1;
static uint64_t page;

/* On memory, a page is cached once it was written, and a hole is not. */
static void set_up(void)
{
	page = page_size();
	file = memfd_create("test", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(file, (off_t)(PAGES * page)), 0);
}

static void tear_down(void)
{
	close(file);
}

static void touch(uint64_t from, uint64_t to)
{
	for (; from < to; from++)
		ck_assert_int_eq(pwrite(file, "x", 1, (off_t)(from * page)), 1);
}

static uint64_t cached(uint64_t offset, uint64_t length)
{
	struct residency residency;

	ck_assert_int_eq(residency_count(file, offset, length, &residency), 0);
	ck_assert_uint_eq(residency.cached % page, 0);
	return residency.cached / page;
}

/* Offsets of any alignment; the pages that a range touches count. */
START_TEST(pages_of_a_range_are_counted)
{
	ck_assert_uint_eq(cached(0, PAGES * page), 0);
	touch(3, 5);
	touch(700, 701);
	ck_assert_uint_eq(cached(0, PAGES * page), 3);
	ck_assert_uint_eq(cached(3 * page, page), 1);
	ck_assert_uint_eq(cached(3 * page + 5, page), 2);
	ck_assert_uint_eq(cached(5 * page, 0), 0);
	ck_assert_uint_eq(cached(5 * page, 695 * page), 0);
	ck_assert_uint_eq(cached(PAGES * page, 100 * page), 0);
}
END_TEST

/* Runs across the chunks that are asked for at once are one run. */
START_TEST(runs_are_whole_and_ascending)
{
	struct extent runs[8];
	uint64_t next;
	size_t count;

	touch(0, 1);
	touch(500, 530);
	touch(PAGES - 1, PAGES);
	ck_assert_int_eq(residency_runs(file, 0, PAGES * page, NULL, runs, 8, &count, &next), 0);
	ck_assert_uint_eq(count, 3);
	ck_assert_uint_eq(next, PAGES * page);
	ck_assert_uint_eq(runs[0].start, 0);
	ck_assert_uint_eq(runs[0].end, page);
	ck_assert_uint_eq(runs[1].start, 500 * page);
	ck_assert_uint_eq(runs[1].end, 530 * page);
	ck_assert_uint_eq(runs[2].start, (PAGES - 1) * page);
}
END_TEST

/* The caller comes back for the rest, and misses none. */
START_TEST(a_full_answer_says_where_to_go_on)
{
	uint64_t at = 0, seen = 0;

	for (uint64_t i = 0; i < 40; i += 2)
		touch(i, i + 1);
	while (at < PAGES * page) {
		struct extent runs[3];
		size_t count;

		ck_assert_int_eq(residency_runs(file, at, PAGES * page - at, NULL, runs, 3, &count, &at), 0);
		for (size_t i = 0; i < count; i++) {
			ck_assert_uint_eq(runs[i].start, seen * 2 * page);
			ck_assert_uint_eq(runs[i].end, runs[i].start + page);
			seen++;
		}
	}
	ck_assert_uint_eq(seen, 20);
}
END_TEST

static bool stops_at_once(void *context)
{
	(void)context;
	return true;
}

/* A hole as large as files can be is no work, at either side of the only page. */
START_TEST(huge_holes_are_passed_over)
{
	const uint64_t end = INT64_MAX - page, middle = end / 2 / page;
	struct mapping_stop stop = {.asked = stops_at_once};
	struct extent runs[8];
	uint64_t next;
	size_t count;

	ck_assert_int_eq(ftruncate(file, (off_t)end), 0);
	touch(middle, middle + 1);
	touch(3, 4);
	ck_assert_int_eq(residency_runs(file, 0, end, NULL, runs, 8, &count, &next), 0);
	ck_assert_uint_eq(count, 2);
	ck_assert_uint_eq(runs[0].start, 3 * page);
	ck_assert_uint_eq(runs[1].start, middle * page);
	ck_assert_uint_eq(runs[1].end, (middle + 1) * page);
	ck_assert_uint_eq(cached(0, end), 2);
	ck_assert_int_eq(residency_runs(file, 0, end, &stop, runs, 8, &count, &next), -EINTR);
}
END_TEST

static void forget_cachestat(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CACHESTAT, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = ARRAY_LENGTH(filter), .filter = filter};

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
	ck_assert_int_eq(syscall(CACHESTAT, file, NULL, NULL, 0), -1);
	ck_assert_int_eq(errno, ENOSYS);
}

/* The same answers on a kernel that is older than cachestat(2). */
START_TEST(mincore_answers_where_cachestat_does_not)
{
	const uint64_t end = UINT64_C(1) << 50;
	struct extent runs[8];
	uint64_t next;
	size_t count;

	forget_cachestat();
	touch(3, 5);
	touch(500, 530);
	ck_assert_uint_eq(cached(0, PAGES * page), 32);
	ck_assert_int_eq(ftruncate(file, (off_t)end), 0);
	ck_assert_uint_eq(cached(0, end), 32);
	ck_assert_int_eq(residency_runs(file, 0, end, NULL, runs, 8, &count, &next), 0);
	ck_assert_uint_eq(count, 2);
	ck_assert_uint_eq(next, end);
	ck_assert_uint_eq(runs[1].start, 500 * page);
	ck_assert_uint_eq(runs[1].end, 530 * page);
	if (geteuid() == 0) {
		CLEANUP(close_fd) int passwd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
		struct residency residency;

		ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
		ck_assert_int_eq(residency_count(passwd, 0, page, &residency), -EPERM);
	}
}
END_TEST

/* An error is told, and no number. */
START_TEST(a_descriptor_that_is_none_is_refused)
{
	struct residency residency = {.cached = 4711};
	uint64_t next;
	size_t count;

	ck_assert_int_eq(residency_count(-1, 0, page, &residency), -EBADF);
	ck_assert_uint_eq(residency.cached, 4711);
	ck_assert_int_eq(residency_runs(-1, 0, page, NULL, NULL, 0, &count, &next), -EBADF);
}
END_TEST

/* Who may neither write nor owns a file gets no answer rather than a wrong one. */
START_TEST(a_stranger_is_told_nothing)
{
	CLEANUP(close_fd) int passwd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
	struct residency residency;
	int result;

	if (geteuid() != 0 || passwd < 0)
		return;
	ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
	result = residency_count(passwd, 0, page, &residency);
	/* Kernels from 6.5 to 6.13 tell everybody, and the truth. */
	ck_assert(result == -EPERM || (result == 0 && residency.cached <= page));
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, pages_of_a_range_are_counted);
	tcase_add_test(tests, runs_are_whole_and_ascending);
	tcase_add_test(tests, a_full_answer_says_where_to_go_on);
	tcase_add_test(tests, huge_holes_are_passed_over);
	tcase_add_test(tests, mincore_answers_where_cachestat_does_not);
	tcase_add_test(tests, a_descriptor_that_is_none_is_refused);
	tcase_add_test(tests, a_stranger_is_told_nothing);
}
