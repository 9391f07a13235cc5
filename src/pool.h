/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_POOL_H
#define MEMMAPFS_POOL_H

/** pool_prepare() - settle how many threads the loop's pool gets, and their stacks; before the loop is made */
void pool_prepare(void);

#endif
