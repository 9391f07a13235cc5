/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CONTROL_PAGES_H
#define MEMMAPFS_CONTROL_PAGES_H

/*
 * The commands of control.h that are about a file's pages. Whether the caller may, has been asked before.
 */

#include "control.h"

/* One request on its way through the table. */
struct control_call {
	struct fs *fs;
	struct inode *inode;
	const char *value;
	const struct control_caller *caller;
	char *reply; /* malloc'ed */
};

/** control_refuse() - set the line for the user. Return: @error. */
__attribute__((format(printf, 3, 4))) int control_refuse(struct control_call *call, int error,
							 const char *format, ...);

int control_advice(struct control_call *call);
int control_sync(struct control_call *call);
int control_preload(struct control_call *call);
int control_evict(struct control_call *call);
int control_lock(struct control_call *call);
int control_unlock(struct control_call *call);

/** control_get_advice() - the advice in force: malloc'ed, or NULL without memory */
char *control_get_advice(struct fs *fs, struct inode *inode);

#endif
