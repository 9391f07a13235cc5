/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handle.h"
#include "unit.h"
#include "util.h"

#define THREADS 4

/* Too large for the stack, and mostly untouched. */
static struct handle_table *table;
/* Handles keep inodes and look into none: any address does. */
static char inodes[16];

static void set_up(void)
{
	table = calloc(1, sizeof(*table));
	ck_assert_ptr_nonnull(table);
	ck_assert_int_eq(handle_table_init(table), 0);
}

static void tear_down(void)
{
	handle_table_fini(table);
	free(table);
}

static struct inode *inode(int number)
{
	return (struct inode *)(void *)&inodes[number];
}

static struct handle *make(int number)
{
	struct handle *handle = NULL;

	ck_assert_int_eq(handle_new(table, inode(number), O_RDWR, &handle), 0);
	ck_assert_ptr_nonnull(handle);
	return handle;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* What was put in is what is there, and nothing else is. */
START_TEST(a_new_handle_has_its_inode_and_flags)
{
	struct handle *handle = make(3);

	ck_assert_ptr_eq(handle->inode, inode(3));
	ck_assert_int_eq(handle->flags, O_RDWR);
	ck_assert_int_eq(handle->fd, -1);
	ck_assert_int_eq(atomic_load(&handle->flock_fd), -1);
	ck_assert_uint_eq(atomic_load(&handle->error_seen), 0);
	ck_assert_ptr_null(handle->entries);
	ck_assert_uint_eq(atomic_load(&table->count), 1);
}
END_TEST

/* Requests without an OPEN carry 0: it must never be somebody's number. */
START_TEST(the_id_0_is_nobody_s)
{
	struct handle *handle = make(0);

	ck_assert_uint_ne(handle->id, 0);
	ck_assert_ptr_null(handle_find(table, 0));
}
END_TEST

/* A handle is found by its id, from the first chunk of the table into the third. */
START_TEST(every_handle_is_found_by_its_id)
{
	static struct handle *handles[2 * HANDLE_CHUNK + 2];

	for (size_t i = 0; i < ARRAY_LENGTH(handles); i++)
		handles[i] = make(0);
	ck_assert_uint_eq(atomic_load(&table->count), ARRAY_LENGTH(handles));
	for (size_t i = 0; i < ARRAY_LENGTH(handles); i++) {
		ck_assert_ptr_eq(handle_find(table, handles[i]->id), handles[i]);
		ck_assert(i == 0 || handles[i]->id != handles[i - 1]->id);
	}
}
END_TEST

/* Numbers that were never given out lead nowhere, however large. */
START_TEST(unknown_ids_find_nothing)
{
	struct handle *handle = make(0);

	ck_assert_ptr_null(handle_find(table, handle->id + 1));
	ck_assert_ptr_null(handle_find(table, HANDLE_CHUNK + 1));
	ck_assert_ptr_null(handle_find(table, (uint64_t)HANDLE_CHUNK * HANDLE_CHUNKS));
	ck_assert_ptr_null(handle_find(table, (uint64_t)HANDLE_CHUNK * HANDLE_CHUNKS + 1));
	ck_assert_ptr_null(handle_find(table, UINT64_MAX));
}
END_TEST

/* A number is free again once its handle is, and leads to nobody in between. */
START_TEST(an_id_given_back_is_used_again)
{
	struct handle *first = make(1), *second = make(2);
	uint64_t id = first->id, other = second->id;

	handle_free(table, first);
	ck_assert_ptr_null(handle_find(table, id));
	ck_assert_ptr_eq(handle_find(table, other), second);
	ck_assert_uint_eq(atomic_load(&table->count), 1);
	struct handle *third = make(3);

	ck_assert_uint_eq(third->id, id);
	ck_assert_ptr_eq(handle_find(table, id)->inode, inode(3));
	ck_assert_uint_eq(table->used, 2);
}
END_TEST

/* However often files are opened, the table is as large as it had to be at once. */
START_TEST(the_table_grows_with_handles_open_at_once_only)
{
	static struct handle *handles[200];

	for (int round = 0; round < 50; round++) {
		for (size_t i = 0; i < ARRAY_LENGTH(handles); i++)
			handles[i] = make(0);
		for (size_t i = 0; i < ARRAY_LENGTH(handles); i++)
			handle_free(table, handles[i]);
	}
	ck_assert_uint_eq(table->used, ARRAY_LENGTH(handles));
	ck_assert_uint_eq(atomic_load(&table->count), 0);
}
END_TEST

/* A handle's descriptors and its directory buffer are its own. */
START_TEST(freeing_closes_the_handle_s_descriptors)
{
	struct handle *handle = make(0);
	int directory = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int flock_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	handle->fd = directory;
	atomic_store(&handle->flock_fd, flock_fd);
	handle->entries = malloc(100);
	ck_assert(is_open(directory) && is_open(flock_fd));
	handle_free(table, handle);
	ck_assert(!is_open(directory) && !is_open(flock_fd));
}
END_TEST

/* Handles still open at the end go with the table. */
START_TEST(the_table_takes_its_handles_with_it)
{
	int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	make(0);
	make(1)->fd = fd;
	handle_table_fini(table);
	ck_assert(!is_open(fd));
	memset(table, 0, sizeof(*table));
	ck_assert_int_eq(handle_table_init(table), 0);
}
END_TEST

/* When all numbers are given out: ENFILE, ret_handle as before, and a number given back helps. */
START_TEST(after_the_last_id_comes_enfile)
{
	struct handle *handle = make(0), *untouched = handle, *again;
	uint64_t used = table->used;

	table->used = (uint64_t)HANDLE_CHUNK * HANDLE_CHUNKS;
	ck_assert_int_eq(handle_new(table, inode(0), 0, &untouched), -ENFILE);
	ck_assert_ptr_eq(untouched, handle);
	ck_assert_uint_eq(atomic_load(&table->count), 1);
	handle_free(table, handle);
	ck_assert_int_eq(handle_new(table, inode(0), 0, &again), 0);
	table->used = used;
}
END_TEST

static int references;

static void count_reference(struct inode *referenced)
{
	ck_assert(referenced == inode(1) || referenced == inode(2));
	references++;
}

/* A walk meets each open handle once, passes over closed ones and ends with 0. */
START_TEST(a_walk_meets_every_open_handle)
{
	struct inode *found = inode(9);
	uint64_t id;

	ck_assert_uint_eq(handle_table_next(table, 0, count_reference, &found), 0);
	ck_assert_ptr_eq(found, inode(9));
	struct handle *first = make(1), *gone = make(3), *last = make(2);

	handle_free(table, gone);
	id = handle_table_next(table, 0, count_reference, &found);
	ck_assert_uint_eq(id, first->id);
	ck_assert_ptr_eq(found, inode(1));
	id = handle_table_next(table, id, count_reference, &found);
	ck_assert_uint_eq(id, last->id);
	ck_assert_ptr_eq(found, inode(2));
	ck_assert_int_eq(references, 2);
	ck_assert_uint_eq(handle_table_next(table, id, count_reference, &found), 0);
	ck_assert_int_eq(references, 2);
}
END_TEST

static _Atomic unsigned wrong;

static void *open_and_close(void *number)
{
	struct inode *own = inode(*(int *)number);

	for (int round = 0; round < 300; round++) {
		struct handle *mine[16];

		for (size_t i = 0; i < ARRAY_LENGTH(mine); i++) {
			if (handle_new(table, own, 0, &mine[i]) < 0)
				atomic_fetch_add(&wrong, 1);
		}
		for (size_t i = 0; i < ARRAY_LENGTH(mine); i++) {
			if (handle_find(table, mine[i]->id) != mine[i] || mine[i]->inode != own)
				atomic_fetch_add(&wrong, 1);
			handle_free(table, mine[i]);
		}
	}
	return NULL;
}

static _Atomic bool stop;

static void ignore_reference(struct inode *referenced)
{
	if ((char *)referenced < inodes || (char *)referenced >= inodes + sizeof(inodes))
		atomic_fetch_add(&wrong, 1);
}

static void *walk(void *unused)
{
	while (!atomic_load(&stop)) {
		struct inode *found;
		uint64_t id = 0;

		while ((id = handle_table_next(table, id, ignore_reference, &found)) != 0)
			;
	}
	return unused;
}

/* No number is given to two threads at once, and a walk meanwhile meets living handles only. */
START_TEST(threads_open_and_close_side_by_side)
{
	pthread_t threads[THREADS], walker;
	int numbers[THREADS];

	ck_assert_int_eq(pthread_create(&walker, NULL, walk, NULL), 0);
	for (int i = 0; i < THREADS; i++) {
		numbers[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, open_and_close, &numbers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&stop, true);
	pthread_join(walker, NULL);
	ck_assert_uint_eq(atomic_load(&wrong), 0);
	ck_assert_uint_eq(atomic_load(&table->count), 0);
	ck_assert_uint_le(table->used, THREADS * 16);
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, a_new_handle_has_its_inode_and_flags);
	tcase_add_test(tests, the_id_0_is_nobody_s);
	tcase_add_test(tests, every_handle_is_found_by_its_id);
	tcase_add_test(tests, unknown_ids_find_nothing);
	tcase_add_test(tests, an_id_given_back_is_used_again);
	tcase_add_test(tests, the_table_grows_with_handles_open_at_once_only);
	tcase_add_test(tests, freeing_closes_the_handle_s_descriptors);
	tcase_add_test(tests, the_table_takes_its_handles_with_it);
	tcase_add_test(tests, after_the_last_id_comes_enfile);
	tcase_add_test(tests, a_walk_meets_every_open_handle);
	tcase_add_test(tests, threads_open_and_close_side_by_side);
}
