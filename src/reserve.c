/* SPDX-License-Identifier: MIT */
#include "reserve.h"

#include <sys/statfs.h>
#include <time.h>

#include "util.h"

#define SCARCE (INT64_C(256) << 20)
#define ASK_EVERY (INT64_C(64) << 20)

static bool ask(struct reserve *reserve, int fd, int64_t length)
{
	struct statfs info;
	uint64_t left;
	bool scarce;

	if (fstatfs(fd, &info) < 0)
		return false;
	left = (uint64_t)info.f_bavail * (uint64_t)info.f_bsize;
	scarce = info.f_bfree > info.f_bavail && left < (uint64_t)length + (uint64_t)SCARCE;
	atomic_store_explicit(&reserve->scarce, scarce, memory_order_relaxed);
	atomic_store_explicit(&reserve->unasked, ASK_EVERY, memory_order_relaxed);
	return scarce;
}

bool reserve_near(struct reserve *reserve, int fd, uint64_t length)
{
	int64_t bytes = (int64_t)MIN(length, (uint64_t)INT64_MAX / 4);
	uint32_t second = atomic_load_explicit(&reserve->second, memory_order_relaxed);
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if (second == (uint32_t)now.tv_sec && !atomic_load_explicit(&reserve->scarce, memory_order_relaxed) &&
	    bytes < ASK_EVERY &&
	    atomic_fetch_sub_explicit(&reserve->unasked, bytes, memory_order_relaxed) > bytes)
		return false;
	atomic_store_explicit(&reserve->second, (uint32_t)now.tv_sec, memory_order_relaxed);
	return ask(reserve, fd, bytes);
}
