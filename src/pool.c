/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include <stdlib.h>
#include <sys/resource.h>

/* So many files are synced at a time. */
#define POOL_THREADS "8"
#define POOL_STACK ((rlim_t)2 << 20)

/*
 * The pool's threads get as much stack as the limit says, and the library aborts where there is no room for
 * them: they are asked to be small, and to be there before address space can run out.
 */
void pool_prepare(void)
{
	struct rlimit limit;

	/* Read when the pool is first used. */
	setenv("UV_THREADPOOL_SIZE", POOL_THREADS, 0);
	if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur > POOL_STACK) {
		limit.rlim_cur = POOL_STACK;
		setrlimit(RLIMIT_STACK, &limit);
	}
}
