/* SPDX-License-Identifier: MIT */
#include "handle.h"

#include <errno.h>
#include <stdlib.h>

#include "util.h"

int handle_table_init(struct handle_table *table)
{
	return -pthread_mutex_init(&table->lock, NULL);
}

void handle_table_fini(struct handle_table *table)
{
	for (uint64_t id = 1; id <= table->used; id++) {
		struct handle *handle = handle_find(table, id);

		if (handle != NULL)
			handle_free(table, handle);
	}
	for (size_t i = 0; i < HANDLE_CHUNKS; i++)
		free(atomic_load(&table->chunks[i]));
	free(table->unused);
	pthread_mutex_destroy(&table->lock);
}

/* A free id, its chunk allocated; ids start at 1, as 0 is what requests without an OPEN carry. */
static int take_id_locked(struct handle_table *table, uint64_t *ret_id)
{
	uint64_t chunk;

	if (table->unused_count > 0) {
		*ret_id = table->unused[--table->unused_count];
		return 0;
	}
	chunk = table->used / HANDLE_CHUNK;
	if (chunk >= HANDLE_CHUNKS)
		return -ENFILE;
	if (atomic_load(&table->chunks[chunk]) == NULL) {
		_Atomic(struct handle *) *fresh = calloc(HANDLE_CHUNK, sizeof(*fresh));

		if (fresh == NULL)
			return -ENOMEM;
		atomic_store(&table->chunks[chunk], fresh);
	}
	*ret_id = ++table->used;
	return 0;
}

static _Atomic(struct handle *) *slot_of(struct handle_table *table, uint64_t id)
{
	_Atomic(struct handle *) *chunk;

	if (id == 0 || (id - 1) / HANDLE_CHUNK >= HANDLE_CHUNKS)
		return NULL;
	chunk = atomic_load_explicit(&table->chunks[(id - 1) / HANDLE_CHUNK], memory_order_acquire);
	return chunk == NULL ? NULL : &chunk[(id - 1) % HANDLE_CHUNK];
}

int handle_new(struct handle_table *table, struct inode *inode, int flags, struct handle **ret_handle)
{
	struct handle *handle = calloc(1, sizeof(*handle));
	int result;

	if (handle == NULL)
		return -ENOMEM;
	pthread_mutex_lock(&table->lock);
	result = take_id_locked(table, &handle->id);
	pthread_mutex_unlock(&table->lock);
	if (result < 0) {
		free(handle);
		return result;
	}
	handle->inode = inode;
	handle->flags = flags;
	handle->fd = -1;
	atomic_init(&handle->flock_fd, -1);
	pthread_mutex_init(&handle->lock, NULL);
	atomic_fetch_add(&table->count, 1);
	atomic_store_explicit(slot_of(table, handle->id), handle, memory_order_release);
	*ret_handle = handle;
	return 0;
}

struct handle *handle_find(struct handle_table *table, uint64_t id)
{
	_Atomic(struct handle *) *slot = slot_of(table, id);

	return slot == NULL ? NULL : atomic_load_explicit(slot, memory_order_acquire);
}

uint64_t handle_table_next(struct handle_table *table, uint64_t after, void (*reference)(struct inode *inode),
			   struct inode **ret_inode)
{
	LOCK_SCOPE(&table->lock);
	for (uint64_t id = after + 1; id <= table->used; id++) {
		struct handle *handle = handle_find(table, id);

		if (handle == NULL)
			continue;
		reference(handle->inode);
		*ret_inode = handle->inode;
		return id;
	}
	return 0;
}

/* Remembers an id for the next handle; without memory for that the id is never used again. */
static void give_id_back_locked(struct handle_table *table, uint64_t id)
{
	if (table->unused_count == table->unused_size) {
		size_t size = table->unused_size == 0 ? 64 : 2 * table->unused_size;
		uint64_t *larger = realloc(table->unused, size * sizeof(*larger));

		if (larger == NULL)
			return;
		table->unused = larger;
		table->unused_size = size;
	}
	table->unused[table->unused_count++] = id;
}

void handle_free(struct handle_table *table, struct handle *handle)
{
	pthread_mutex_lock(&table->lock);
	atomic_store(slot_of(table, handle->id), NULL);
	give_id_back_locked(table, handle->id);
	pthread_mutex_unlock(&table->lock);
	atomic_fetch_sub(&table->count, 1);
	if (handle->fd >= 0)
		close(handle->fd);
	if (atomic_load(&handle->flock_fd) >= 0)
		close(atomic_load(&handle->flock_fd));
	free(handle->entries);
	pthread_mutex_destroy(&handle->lock);
	free(handle);
}
