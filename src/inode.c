/* SPDX-License-Identifier: MIT */
/*
 * Two hash tables in shards: by key, whose shard's lock also guards the kernel's lookup counts, and by
 * nodeid. An inode is reaped under both locks once nobody holds it, so that finding one and counting
 * oneself in is one critical section.
 */
#include "inode.h"

#include <errno.h>

#include "file.h"
#include "fs.h"
#include "inode_private.h"
#include "layer/layer.h"
#include "layer/serve.h"
#include "util.h"

#define BUCKETS_MIN 16
#define ROOT_ID 1
/* Ids of objects whose handle makes none; far from inode numbers with small generations. */
#define FIRST_MADE_ID (UINT64_C(0xfff) << 52)

int inode_table_init(struct inode_table *table)
{
	for (int i = 0; i < 2 * INODE_SHARDS; i++) {
		struct inode_shard *shard = i < INODE_SHARDS ? &table->by_key[i]
							     : &table->by_id[i - INODE_SHARDS];

		pthread_mutex_init(&shard->lock, NULL);
		shard->mask = BUCKETS_MIN - 1;
		shard->buckets = calloc(BUCKETS_MIN, sizeof(shard->buckets[0]));
		if (shard->buckets == NULL)
			return -ENOMEM;
	}
	atomic_init(&table->next_id, FIRST_MADE_ID);
	return 0;
}

static uint64_t mix(uint64_t value)
{
	value ^= value >> 31;
	value *= UINT64_C(0x9E3779B97F4A7C15);
	return value ^ value >> 29;
}

static uint64_t hash_of(const struct inode *inode, bool by_id)
{
	return by_id ? mix(inode->nodeid) : mix(inode->key.dev ^ mix(inode->key.ino));
}

static struct inode **next_of(struct inode *inode, bool by_id)
{
	return by_id ? &inode->id_next : &inode->key_next;
}

static struct inode_shard *shard_of(struct inode_table *table, uint64_t hash, bool by_id)
{
	return by_id ? &table->by_id[hash % INODE_SHARDS] : &table->by_key[hash % INODE_SHARDS];
}

static struct inode **bucket_of(struct inode_shard *shard, uint64_t hash)
{
	return &shard->buckets[(hash / INODE_SHARDS) & shard->mask];
}

/* Twice or half as many buckets; without memory the chains just stay as they are. */
static void resize_locked(struct inode_shard *shard, size_t buckets, bool by_id)
{
	struct inode_shard resized = {.mask = buckets - 1, .count = shard->count};

	resized.buckets = calloc(buckets, sizeof(resized.buckets[0]));
	if (resized.buckets == NULL)
		return;
	for (size_t i = 0; i <= shard->mask; i++) {
		for (struct inode *inode = shard->buckets[i], *next; inode != NULL; inode = next) {
			struct inode **bucket = bucket_of(&resized, hash_of(inode, by_id));

			next = *next_of(inode, by_id);
			*next_of(inode, by_id) = *bucket;
			*bucket = inode;
		}
	}
	free(shard->buckets);
	shard->buckets = resized.buckets;
	shard->mask = resized.mask;
}

static void insert_locked(struct inode_shard *shard, struct inode *inode, bool by_id)
{
	struct inode **bucket;

	if (++shard->count > shard->mask + 1)
		resize_locked(shard, 2 * (shard->mask + 1), by_id);
	bucket = bucket_of(shard, hash_of(inode, by_id));
	*next_of(inode, by_id) = *bucket;
	*bucket = inode;
}

static void remove_locked(struct inode_shard *shard, struct inode *inode, bool by_id)
{
	struct inode **link = bucket_of(shard, hash_of(inode, by_id));

	while (*link != inode)
		link = next_of(*link, by_id);
	*link = *next_of(inode, by_id);
	if (--shard->count < (shard->mask + 1) / 4 && shard->mask + 1 > BUCKETS_MIN)
		resize_locked(shard, (shard->mask + 1) / 2, by_id);
}

static struct inode *find_id_locked(struct inode_shard *shard, uint64_t hash, uint64_t nodeid)
{
	struct inode *inode = *bucket_of(shard, hash);

	while (inode != NULL && inode->nodeid != nodeid)
		inode = inode->id_next;
	return inode;
}

static struct inode *find_id(struct fs *fs, uint64_t nodeid, bool hold)
{
	uint64_t hash = mix(nodeid);
	struct inode_shard *shard = shard_of(&fs->inodes, hash, true);
	struct inode *inode;

	LOCK_SCOPE(&shard->lock);
	inode = find_id_locked(shard, hash, nodeid);
	if (inode != NULL && hold)
		inode_ref(inode);
	return inode;
}

struct inode *inode_find(struct fs *fs, uint64_t nodeid)
{
	return nodeid == ROOT_ID ? fs->root : find_id(fs, nodeid, false);
}

struct inode *inode_hold_id(struct fs *fs, uint64_t nodeid)
{
	return find_id(fs, nodeid, true);
}

void inode_free(struct fs *fs, struct inode *inode)
{
	watch_forget(fs, inode);
	for (int kind = 0; kind < FD_KINDS; kind++)
		fd_slot_close(&fs->fds, &inode->slots[kind]);
	layer_forget(fs, inode);
	file_free(fs, file_peek(inode));
	free(inode->handle);
	free(inode);
	atomic_fetch_sub(&fs->inodes.count, 1);
}

void inode_table_fini(struct fs *fs)
{
	for (int i = 0; i < INODE_SHARDS; i++) {
		struct inode_shard *shard = &fs->inodes.by_id[i];

		for (size_t k = 0; shard->buckets != NULL && k <= shard->mask; k++) {
			for (struct inode *inode = shard->buckets[k], *next; inode != NULL; inode = next) {
				next = inode->id_next;
				inode_free(fs, inode);
			}
		}
		free(shard->buckets);
		free(fs->inodes.by_key[i].buckets);
		pthread_mutex_destroy(&shard->lock);
		pthread_mutex_destroy(&fs->inodes.by_key[i].lock);
	}
}

/* Frees the inode if nobody holds it. The key shard's lock is held and released. */
static void reap_unlock(struct fs *fs, struct inode_shard *key_shard, struct inode *inode)
{
	uint64_t hash = hash_of(inode, true);
	struct inode_shard *id_shard = shard_of(&fs->inodes, hash, true);
	bool reap;

	pthread_mutex_lock(&id_shard->lock);
	reap = inode->lookups == 0 && atomic_load(&inode->refs) == 0 && inode != fs->root;
	if (reap) {
		remove_locked(id_shard, inode, true);
		if (inode->indexed)
			remove_locked(key_shard, inode, false);
	}
	pthread_mutex_unlock(&id_shard->lock);
	pthread_mutex_unlock(&key_shard->lock);
	if (reap)
		inode_free(fs, inode);
}

static struct inode_shard *key_shard_of(struct fs *fs, const struct inode *inode)
{
	return shard_of(&fs->inodes, hash_of(inode, false), false);
}

void inode_forget(struct fs *fs, uint64_t nodeid, uint64_t lookups)
{
	struct inode *inode = inode_find(fs, nodeid);
	struct inode_shard *shard;
	bool stays_locked;

	if (inode == NULL)
		return;
	LAYER_SERVE_SCOPE(fs);
	shard = key_shard_of(fs, inode);
	pthread_mutex_lock(&shard->lock);
	inode->lookups -= MIN(lookups, inode->lookups);
	/* No client comes back to an object without a name: its descriptors may go, synced or not. */
	if (inode->lookups == 0 && inode->handle != NULL)
		atomic_store(&inode->sticky, false);
	stays_locked = inode->lookups == 0 && locked_is_held(file_peek(inode));
	if (stays_locked)
		inode_ref(inode);
	reap_unlock(fs, shard, inode);
	if (stays_locked)
		locked_forgotten(fs, inode);
}

bool inode_is_looked_up(struct fs *fs, struct inode *inode)
{
	LOCK_SCOPE(&key_shard_of(fs, inode)->lock);
	return inode->lookups > 0;
}

void inode_ref(struct inode *inode)
{
	atomic_fetch_add(&inode->refs, 1);
}

void inode_unref(struct fs *fs, struct inode *inode)
{
	struct inode_shard *shard;

	LAYER_SERVE_SCOPE(fs);
	shard = key_shard_of(fs, inode);
	/* Under the lock, so that of two who let go at once only the last looks at the inode. */
	pthread_mutex_lock(&shard->lock);
	atomic_fetch_sub(&inode->refs, 1);
	reap_unlock(fs, shard, inode);
}

static struct inode *find_key_locked(struct inode_shard *shard, const struct identity_key *key)
{
	struct inode probe = {.key = *key};
	struct inode *inode = *bucket_of(shard, hash_of(&probe, false));

	while (inode != NULL && (inode->key.ino != key->ino || inode->key.dev != key->dev))
		inode = inode->key_next;
	/* The number was given to a new object; whoever holds the old one finds it by its id. */
	if (inode != NULL && inode->key.birth_ns != key->birth_ns) {
		remove_locked(shard, inode, false);
		inode->indexed = false;
		return NULL;
	}
	return inode;
}

static struct inode_shard *key_shard_for(struct fs *fs, const struct identity_key *key)
{
	struct inode probe = {.key = *key};

	return key_shard_of(fs, &probe);
}

/* Counts a lookup of an inode that is in the table; false if it is not. */
bool inode_count_lookup(struct fs *fs, const struct identity_key *key, struct inode **ret_inode)
{
	struct inode_shard *shard = key_shard_for(fs, key);
	struct inode *inode;

	LOCK_SCOPE(&shard->lock);
	inode = find_key_locked(shard, key);
	if (inode == NULL)
		return false;
	inode->lookups++;
	*ret_inode = inode;
	return true;
}

void inode_become(struct fs *fs, struct inode *inode, const struct identity_key *key,
		  struct identity_handle *handle)
{
	struct inode_shard *shard = key_shard_of(fs, inode);

	pthread_mutex_lock(&shard->lock);
	if (inode->indexed)
		remove_locked(shard, inode, false);
	inode->key = *key;
	free(inode->handle);
	inode->handle = handle;
	pthread_mutex_unlock(&shard->lock);
	shard = key_shard_of(fs, inode);
	pthread_mutex_lock(&shard->lock);
	inode->indexed = true;
	insert_locked(shard, inode, false);
	pthread_mutex_unlock(&shard->lock);
}

struct inode *inode_known(struct fs *fs, int directory_fd, const char *name)
{
	int flags = *name == '\0' ? AT_EMPTY_PATH : AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
	struct statx stx;
	struct identity_key key;
	struct inode_shard *shard;
	struct inode *inode;

	/* Without asking: what the name leads to may be this very mount. */
	if (statx(directory_fd, name, flags | AT_STATX_DONT_SYNC, STATX_WANTED, &stx) < 0)
		return NULL;
	key = identity_of_statx(&stx);
	shard = key_shard_for(fs, &key);
	LOCK_SCOPE(&shard->lock);
	inode = find_key_locked(shard, &key);
	if (inode != NULL)
		inode_ref(inode);
	return inode;
}

/* Gives the inode an id that no other has, and makes it findable by it. */
static void assign_id(struct fs *fs, struct inode *inode)
{
	uint64_t id = 0;

	if (inode->handle != NULL && inode->key.dev == fs->root_dev)
		id = identity_pack(inode->handle);
	for (;; id = 0) {
		struct inode_shard *shard;
		uint64_t hash;
		bool taken;

		if (id <= ROOT_ID)
			id = atomic_fetch_add(&fs->inodes.next_id, 1);
		hash = mix(id);
		shard = shard_of(&fs->inodes, hash, true);
		pthread_mutex_lock(&shard->lock);
		taken = find_id_locked(shard, hash, id) != NULL;
		if (!taken) {
			inode->nodeid = id;
			insert_locked(shard, inode, true);
		}
		pthread_mutex_unlock(&shard->lock);
		if (!taken)
			return;
	}
}

/* Puts @fresh into the table with one lookup, or counts one of the inode that was faster. */
struct inode *inode_publish(struct fs *fs, struct inode *fresh)
{
	struct inode_shard *shard = key_shard_of(fs, fresh);
	struct inode *inode;

	pthread_mutex_lock(&shard->lock);
	inode = find_key_locked(shard, &fresh->key);
	if (inode == NULL) {
		assign_id(fs, fresh);
		fresh->indexed = true;
		insert_locked(shard, fresh, false);
		inode = fresh;
	}
	inode->lookups++;
	pthread_mutex_unlock(&shard->lock);
	if (inode != fresh)
		inode_free(fs, fresh);
	return inode;
}

struct inode *inode_new(struct fs *fs, const struct statx *stx)
{
	struct inode *inode = calloc(1, sizeof(*inode));

	if (inode == NULL)
		return NULL;
	atomic_fetch_add(&fs->inodes.count, 1);
	inode->key = identity_of_statx(stx);
	inode->type = stx->stx_mode & S_IFMT;
	return inode;
}

int inode_root(struct fs *fs, int fd)
{
	struct inode *inode;
	struct statx stx;
	struct fd_use use;
	int mount;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_WANTED, &stx) < 0)
		return -errno;
	inode = inode_new(fs, &stx);
	if (inode == NULL)
		return -ENOMEM;
	inode->nodeid = ROOT_ID;
	inode->lookups = 1;
	inode->indexed = true;
	fs->root_dev = inode->key.dev;
	atomic_store(&inode->sticky, true);
	fd_slot_fill(&fs->fds, &inode->slots[FD_PATH], inode, FD_PATH, fd, &use);
	fd_use_end(&use);
	fs->root = inode;
	pthread_mutex_lock(&key_shard_of(fs, inode)->lock);
	insert_locked(key_shard_of(fs, inode), inode, false);
	pthread_mutex_unlock(&key_shard_of(fs, inode)->lock);
	insert_locked(shard_of(&fs->inodes, hash_of(inode, true), true), inode, true);
	/* The root's handle shows what handles of this file system look like. */
	mount = fs_mount_index(fs, fd, "", &stx);
	if (mount < 0 || identity_handle_new(fd, "", mount, &inode->handle) < 0)
		fs->handles = false;
	return 0;
}

uint64_t inode_number(const struct fs *fs, uint64_t dev, uint64_t ino)
{
	if (dev == fs->root_dev)
		return ino;
	/* Numbers of another file system, moved to where the first one has none. */
	return (mix(dev) | 1) << 40 ^ ino;
}
