/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_REVALIDATE_H
#define MEMMAPFS_REVALIDATE_H

/*
 * cache=auto for files that stay open: the kernel asks for nothing while it reads from its own cache, so
 * the daemon looks whether somebody changed an open file directly in BACKING. So it does for files that are kept
 * in memory and may be removed there.
 */

#include <stdbool.h>

struct fs;

/** revalidate_is_wanted() - is there a file to look at? Takes no lock. */
bool revalidate_is_wanted(struct fs *fs);

/**
 * revalidate_files() - have the kernel drop what it cached of open files that others changed; see also locked_look()
 *
 * From a thread that serves no request: dropping pages waits for requests that read them. One call at a time.
 */
void revalidate_files(struct fs *fs);

#endif
