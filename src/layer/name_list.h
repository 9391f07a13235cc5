/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_NAME_LIST_H
#define MEMMAPFS_LAYER_NAME_LIST_H

/* Names of extended attributes or of entries, one after the other, each with a zero behind it, as listxattr(2) has them. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct name_list {
	char *names; /* the owner's to free */
	size_t length;
};

/** name_list_add() - Return: 0, or -ENOMEM with the list as it was */
static inline int name_list_add(struct name_list *list, const char *name)
{
	size_t size = strlen(name) + 1;
	char *names = realloc(list->names, list->length + size);

	if (names == NULL)
		return -ENOMEM;
	memcpy(names + list->length, name, size);
	list->names = names;
	list->length += size;
	return 0;
}

#endif
