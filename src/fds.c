/* SPDX-License-Identifier: MIT */
/*
 * A slot's state goes empty -> filled (under the lock) -> used and unused any number of times (without
 * it) -> empty (under the lock, from unused only). A slot closed while in use is marked; the last
 * use empties it. As the use count and the descriptor share one word, nobody can use a descriptor
 * that the sweep has just closed.
 */
#include "fds.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "util.h"

#define SWEEP_STEPS ((size_t)8192)
#define SLOT_FD UINT64_C(0xffffffff)
#define SLOT_USER (UINT64_C(1) << 32)
#define SLOT_USERS (((UINT64_C(1) << 30) - 1) << 32)
#define SLOT_TOUCHED (UINT64_C(1) << 62)
#define SLOT_CLOSING (UINT64_C(1) << 63)

static int slot_fd(uint64_t state)
{
	return (int)(state & SLOT_FD) - 1;
}

int fd_cache_init(struct fd_cache *cache, size_t limit, size_t capacity,
		  bool (*keeps)(const void *object, enum fd_kind kind))
{
	*cache = (struct fd_cache){.limit = limit, .capacity = capacity, .keeps = keeps};
	cache->owners = calloc(capacity, sizeof(cache->owners[0]));
	if (cache->owners == NULL)
		return -ENOMEM;
	return -pthread_mutex_init(&cache->lock, NULL);
}

void fd_cache_fini(struct fd_cache *cache)
{
	if (cache->owners == NULL)
		return;
	free(cache->owners);
	cache->owners = NULL;
	pthread_mutex_destroy(&cache->lock);
}

int fd_slot_peek(const struct fd_slot *slot)
{
	return slot_fd(atomic_load(&((struct fd_slot *)slot)->state));
}

bool fd_slot_use(struct fd_cache *cache, struct fd_slot *slot, struct fd_use *ret_use)
{
	uint64_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);

	while (state != 0 && !(state & SLOT_CLOSING)) {
		if (!atomic_compare_exchange_weak(&slot->state, &state, (state + SLOT_USER) | SLOT_TOUCHED))
			continue;
		*ret_use = (struct fd_use){.cache = cache, .slot = slot, .fd = slot_fd(state)};
		return true;
	}
	return false;
}

/* The slot's state was just set to 0 by the caller, who saw @state in it. */
static void forget_locked(struct fd_cache *cache, uint64_t state)
{
	int fd = slot_fd(state);

	cache->owners[fd].slot = NULL;
	atomic_fetch_sub(&cache->count, 1);
	close(fd);
}

void fd_use_end(struct fd_use *use)
{
	uint64_t state;

	if (use->fd < 0)
		return;
	if (use->slot == NULL) {
		close(use->fd);
	} else {
		state = atomic_fetch_sub(&use->slot->state, SLOT_USER) - SLOT_USER;
		if ((state & SLOT_CLOSING) && (state & SLOT_USERS) == 0) {
			LOCK_SCOPE(&use->cache->lock);
			/* Nobody starts a use while it is closing, so the count stays at 0. */
			if (atomic_compare_exchange_strong(&use->slot->state, &state, 0))
				forget_locked(use->cache, state);
		}
	}
	use->fd = -1;
}

static size_t sweep_locked(struct fd_cache *cache, size_t wanted, size_t most_steps)
{
	size_t closed = 0;

	/* Bounded, so that a cache full of descriptors that must stay does not make every open slow. */
	for (size_t steps = MIN(2 * cache->capacity, most_steps); steps > 0 && closed < wanted; steps--) {
		struct fd_owner *owner = &cache->owners[cache->hand];
		uint64_t state;

		cache->hand = (cache->hand + 1) % cache->capacity;
		if (owner->slot == NULL || cache->keeps(owner->object, owner->kind))
			continue;
		state = atomic_load_explicit(&owner->slot->state, memory_order_relaxed);
		if (state & (SLOT_USERS | SLOT_CLOSING))
			continue;
		if (state & SLOT_TOUCHED) {
			atomic_fetch_and_explicit(&owner->slot->state, ~SLOT_TOUCHED, memory_order_relaxed);
			continue;
		}
		if (!atomic_compare_exchange_strong(&owner->slot->state, &state, 0))
			continue;
		forget_locked(cache, state);
		closed++;
	}
	return closed;
}

void fd_slot_fill(struct fd_cache *cache, struct fd_slot *slot, void *object, enum fd_kind kind, int fd,
		  struct fd_use *ret_use)
{
	uint64_t empty = 0;

	pthread_mutex_lock(&cache->lock);
	if ((size_t)fd < cache->capacity &&
	    atomic_compare_exchange_strong(&slot->state, &empty,
					   (uint64_t)(fd + 1) | SLOT_USER | SLOT_TOUCHED)) {
		cache->owners[fd] = (struct fd_owner){.slot = slot, .object = object, .kind = kind};
		*ret_use = (struct fd_use){.cache = cache, .slot = slot, .fd = fd};
		if (atomic_fetch_add(&cache->count, 1) + 1 > cache->limit)
			sweep_locked(cache, 1 + cache->limit / 32, SWEEP_STEPS);
		pthread_mutex_unlock(&cache->lock);
		return;
	}
	pthread_mutex_unlock(&cache->lock);
	if (fd_slot_use(cache, slot, ret_use))
		close(fd);
	else
		*ret_use = (struct fd_use){.cache = cache, .slot = NULL, .fd = fd};
}

int fd_slot_renew(struct fd_cache *cache, struct fd_slot *slot, int fd)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;

	return fd_slot_use(cache, slot, &use) && dup3(fd, use.fd, O_CLOEXEC) < 0 ? -errno : 0;
}

void fd_slot_close(struct fd_cache *cache, struct fd_slot *slot)
{
	uint64_t state;

	/* Acquires what a sweep that emptied it did before: the owner may be freed next. */
	if (atomic_load_explicit(&slot->state, memory_order_acquire) == 0)
		return;
	LOCK_SCOPE(&cache->lock);
	state = atomic_fetch_or(&slot->state, SLOT_CLOSING) | SLOT_CLOSING;
	if (state == SLOT_CLOSING)
		atomic_store(&slot->state, 0); /* it was empty after all */
	else if ((state & SLOT_USERS) == 0 && atomic_compare_exchange_strong(&slot->state, &state, 0))
		forget_locked(cache, state);
}

size_t fd_cache_shrink(struct fd_cache *cache, size_t wanted)
{
	LOCK_SCOPE(&cache->lock);
	return sweep_locked(cache, wanted, SIZE_MAX);
}

bool fd_cache_relieve(struct fd_cache *cache, int error)
{
	return (error == EMFILE || error == ENFILE) && fd_cache_shrink(cache, 8) > 0;
}
