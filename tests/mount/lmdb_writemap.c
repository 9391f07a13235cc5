/* SPDX-License-Identifier: MIT */
/*
 * LMDB as its heaviest users drive it: the map written directly (MDB_WRITEMAP) or by write(2) beside a
 * shared read-only map, one writer and several readers in processes of their own, then everything
 * checked. Every value names its key and the transaction that wrote it, so a reader knows a stale or
 * torn page when it sees one.
 *
 *	lmdb_writemap DIRECTORY writemap|mapasync|plain TRANSACTIONS
 *	lmdb_writemap DIRECTORY check
 */
#include <lmdb.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KEYS = 3000, PER_TRANSACTION = 60, READERS = 3, MAP_SIZE = 64 << 20 };

struct value {
	uint64_t transaction;
	uint32_t key;
	uint32_t length;
	unsigned char fill[1200];
};

static void must(int result, const char *what)
{
	if (result != 0) {
		fprintf(stderr, "%s: %s\n", what, mdb_strerror(result));
		exit(1);
	}
}

static void complain(const char *what, uint32_t key, uint64_t found)
{
	fprintf(stderr, "key %u: %s (%llu)\n", key, what, (unsigned long long)found);
	exit(1);
}

static MDB_env *open_env(const char *directory, unsigned flags)
{
	MDB_env *env;

	must(mdb_env_create(&env), "mdb_env_create");
	must(mdb_env_set_mapsize(env, MAP_SIZE), "mdb_env_set_mapsize");
	must(mdb_env_open(env, directory, flags, 0644), "mdb_env_open");
	return env;
}

static MDB_txn *begin(MDB_env *env, unsigned flags, MDB_dbi *ret_dbi)
{
	MDB_txn *txn;

	must(mdb_txn_begin(env, NULL, flags, &txn), "mdb_txn_begin");
	must(mdb_dbi_open(txn, NULL, 0, ret_dbi), "mdb_dbi_open");
	return txn;
}

static size_t fill_value(struct value *value, uint32_t key, uint64_t transaction)
{
	value->transaction = transaction;
	value->key = key;
	value->length = (uint32_t)((key * 31 + transaction * 17) % sizeof(value->fill));
	memset(value->fill, (int)((key + transaction) & 0xff), value->length);
	return offsetof(struct value, fill) + value->length;
}

/* Check each value of one snapshot; return how many keys it has and the newest transaction seen. */
static size_t check_snapshot(MDB_env *env, uint64_t *ret_newest)
{
	MDB_val key, data;
	MDB_cursor *cursor;
	MDB_dbi dbi;
	MDB_txn *txn = begin(env, MDB_RDONLY, &dbi);
	size_t count = 0;
	uint64_t newest = 0;

	must(mdb_cursor_open(txn, dbi, &cursor), "mdb_cursor_open");
	while (mdb_cursor_get(cursor, &key, &data, MDB_NEXT) == 0) {
		struct value value;
		uint32_t number;

		memset(&value, 0, sizeof(value));
		memcpy(&number, key.mv_data, sizeof(number));
		memcpy(&value, data.mv_data, data.mv_size < sizeof(value) ? data.mv_size : sizeof(value));
		if (value.key != number)
			complain("another key's value", number, value.key);
		if (data.mv_size != offsetof(struct value, fill) + value.length)
			complain("length of another value", number, data.mv_size);
		for (uint32_t n = 0; n < value.length; n++)
			if (value.fill[n] != ((number + value.transaction) & 0xff))
				complain("bytes of another transaction", number, value.transaction);
		if (value.transaction > newest)
			newest = value.transaction;
		count++;
	}
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	*ret_newest = newest;
	return count;
}

static int read_until_done(const char *directory, uint64_t transactions)
{
	MDB_env *env = open_env(directory, MDB_RDONLY);
	uint64_t newest = 0, last = 0;

	while (newest + 1 < transactions) {
		check_snapshot(env, &newest);
		if (newest < last)
			complain("a snapshot older than the one before", 0, newest);
		last = newest;
	}
	mdb_env_close(env);
	return 0;
}

static void write_transactions(MDB_env *env, uint64_t transactions)
{
	uint64_t random = 88172645463325252ULL;

	for (uint64_t t = 0; t < transactions; t++) {
		MDB_dbi dbi;
		MDB_txn *txn = begin(env, 0, &dbi);

		for (int n = 0; n < PER_TRANSACTION; n++) {
			struct value value;
			uint32_t number;
			MDB_val key, data;

			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			number = (uint32_t)(random % KEYS);
			key = (MDB_val){sizeof(number), &number};
			if (random % 5 == 0 && n > 0) {
				int result = mdb_del(txn, dbi, &key, NULL);

				if (result != MDB_NOTFOUND)
					must(result, "mdb_del");
				continue;
			}
			data = (MDB_val){fill_value(&value, number, t), &value};
			must(mdb_put(txn, dbi, &key, &data, 0), "mdb_put");
		}
		if (t % 10 == 9)
			mdb_txn_abort(txn);
		else
			must(mdb_txn_commit(txn), "mdb_txn_commit");
	}
}

int main(int argc, char **argv)
{
	uint64_t transactions, newest;
	unsigned flags;
	MDB_env *env;
	size_t count;
	int failed = 0;

	if (argc < 3)
		return 2;
	if (strcmp(argv[2], "check") == 0) {
		env = open_env(argv[1], 0);
		count = check_snapshot(env, &newest);
		printf("%zu keys, newest transaction %llu\n", count, (unsigned long long)newest);
		mdb_env_close(env);
		return count > 0 ? 0 : 1;
	}
	flags = strcmp(argv[2], "writemap") == 0   ? MDB_WRITEMAP
		: strcmp(argv[2], "mapasync") == 0 ? MDB_WRITEMAP | MDB_MAPASYNC
						   : 0;
	/* Not a multiple of ten: the last transaction commits. */
	transactions = argc > 3 ? strtoull(argv[3], NULL, 10) / 10 * 10 + 1 : 101;
	/* LMDB keeps an environment within one process: the readers open theirs after the fork. */
	mdb_env_close(open_env(argv[1], flags));
	for (int n = 0; n < READERS; n++)
		if (fork() == 0)
			_exit(read_until_done(argv[1], transactions));
	env = open_env(argv[1], flags);
	write_transactions(env, transactions);
	must(mdb_env_sync(env, 1), "mdb_env_sync");
	for (int n = 0; n < READERS; n++) {
		int status;

		wait(&status);
		failed |= status != 0;
	}
	count = check_snapshot(env, &newest);
	printf("%zu keys, newest transaction %llu\n", count, (unsigned long long)newest);
	mdb_env_close(env);
	return failed || count == 0;
}
