/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_JSON_NAME_H
#define MEMMAPFS_JSON_NAME_H

#include <jansson.h>

/** json_name() - a name or path as a JSON string: bytes beyond ASCII of what is no UTF-8 become '?' */
json_t *json_name(const char *name);

#endif
