/* SPDX-License-Identifier: MIT */
#include "settled.h"

#include <time.h>

#include "util.h"

/* The coarsest time stamps of a local file system are vfat's: two seconds. */
#define SETTLED_NS INT64_C(3000000000)

void settled_note(struct settled *settled, const struct stat *info)
{
	int64_t ctime_ns = timespec_ns(&info->st_ctim);
	uint64_t size = (uint64_t)info->st_size;
	struct timespec now;

	/* Most looks find nothing new, and need not take the line from other readers. */
	if (ctime_ns == atomic_load_explicit(&settled->ctime_ns, memory_order_relaxed) &&
	    size == atomic_load_explicit(&settled->size, memory_order_relaxed))
		return;
	/* The clock that time stamps are taken from, or one that is behind it. */
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	if ((int64_t)((uint64_t)timespec_ns(&now) - (uint64_t)ctime_ns) < SETTLED_NS)
		return;
	atomic_store_explicit(&settled->size, size, memory_order_relaxed);
	atomic_store_explicit(&settled->ctime_ns, ctime_ns, memory_order_release);
}

bool settled_last(const struct settled *settled, struct settled_look *ret_look)
{
	ret_look->ctime_ns = atomic_load_explicit(&settled->ctime_ns, memory_order_acquire);
	ret_look->size = atomic_load_explicit(&settled->size, memory_order_relaxed);
	return ret_look->ctime_ns != 0;
}

void settled_drop(struct settled *settled)
{
	atomic_store_explicit(&settled->ctime_ns, 0, memory_order_relaxed);
}

bool settled_since(const struct settled_look *look, const struct stat *now)
{
	return (uint64_t)now->st_size == look->size && timespec_ns(&now->st_ctim) == look->ctime_ns;
}
