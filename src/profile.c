/* SPDX-License-Identifier: MIT */
#include "profile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "below.h"
#include "util.h"

#define MARK "memmapfs_profile"
#define VERSION 1

json_t *profile_new(void)
{
	return json_pack("{si s[]}", MARK, VERSION, "files");
}

static json_t *hex_of(const char *path)
{
	char *text = malloc(2 * strlen(path) + 1);
	json_t *string;

	if (text == NULL)
		return NULL;
	for (size_t i = 0; i < strlen(path); i++)
		snprintf(text + 2 * i, 3, "%02x", (unsigned char)path[i]);
	text[2 * strlen(path)] = '\0';
	string = json_string(text);
	free(text);
	return string;
}

static int64_t mtime_ns(const struct stat *info)
{
	return info->st_mtim.tv_sec * INT64_C(1000000000) + info->st_mtim.tv_nsec;
}

int profile_add(json_t *profile, const char *path, const struct stat *info, json_t *ranges)
{
	json_t *name = json_string(path);
	const char *key = name == NULL ? "path_hex" : "path";
	json_t *entry;

	if (name == NULL)
		name = hex_of(path);
	entry = json_pack("{so sI sI so}", key, name, "size", (json_int_t)info->st_size, "mtime_ns",
			  (json_int_t)mtime_ns(info), "ranges", ranges);
	return json_array_append_new(json_object_get(profile, "files"), entry) < 0 ? -ENOMEM : 0;
}

int profile_write(const json_t *profile, const char *file)
{
	CLEANUP(free_pointer) char *fresh = NULL;
	int fd, result = 0;

	if (asprintf(&fresh, "%s.XXXXXX", file) < 0)
		return -ENOMEM;
	fd = mkostemp(fresh, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	errno = 0;
	if (json_dumpfd(profile, fd, JSON_COMPACT) < 0)
		result = errno != 0 ? -errno : -EIO;
	if (result == 0 && (write(fd, "\n", 1) != 1 || fchmod(fd, 0644) < 0 || fsync(fd) < 0))
		result = errno != 0 ? -errno : -EIO;
	if (close(fd) < 0 && result == 0)
		result = -errno;
	if (result == 0 && rename(fresh, file) < 0)
		result = -errno;
	if (result < 0)
		unlink(fresh);
	return result;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

char *profile_path(const json_t *entry)
{
	const char *path = json_string_value(json_object_get(entry, "path"));
	const char *hex = json_string_value(json_object_get(entry, "path_hex"));
	size_t length = hex == NULL ? 0 : strlen(hex);
	char *text;

	if (path != NULL)
		return strdup(path);
	if (hex == NULL || length % 2 != 0)
		return NULL;
	text = calloc(1, length / 2 + 1);
	for (size_t i = 0; text != NULL && i < length; i += 2) {
		int byte = digit(hex[i]) * 16 + digit(hex[i + 1]);

		if (digit(hex[i]) < 0 || digit(hex[i + 1]) < 0 || byte == 0) {
			free_pointer(&text);
			break;
		}
		text[i / 2] = (char)byte;
	}
	return text;
}

/* Relative, not empty, and without "..": nothing but a place below the tree. */
static bool is_below(const char *path)
{
	if (*path == '\0' || *path == '/')
		return false;
	for (const char *part = path; part != NULL; part = strchr(part, '/')) {
		part += *part == '/';
		if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0'))
			return false;
	}
	return true;
}

static bool is_range(const json_t *range, json_int_t *end, json_int_t size)
{
	json_int_t offset = json_integer_value(json_array_get(range, 0));
	json_int_t length = json_integer_value(json_array_get(range, 1));

	if (json_array_size(range) != 2 || !json_is_integer(json_array_get(range, 0)) ||
	    !json_is_integer(json_array_get(range, 1)) || offset < *end || length <= 0 ||
	    length > INT64_MAX - offset || offset >= size)
		return false;
	*end = offset + length;
	return true;
}

static bool is_entry(const json_t *entry)
{
	CLEANUP(free_pointer) char *path = profile_path(entry);
	const json_t *ranges = json_object_get(entry, "ranges"), *range;
	json_int_t end = 0, size = json_integer_value(json_object_get(entry, "size"));
	size_t i;

	if (path == NULL || !is_below(path) || !json_is_array(ranges) ||
	    !json_is_integer(json_object_get(entry, "mtime_ns")))
		return false;
	json_array_foreach((json_t *)ranges, i, range)
	{
		if (!is_range(range, &end, size))
			return false;
	}
	return true;
}

__attribute__((format(printf, 2, 3))) static int refuse(char **ret_error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(ret_error, format, arguments) < 0)
		*ret_error = NULL;
	va_end(arguments);
	return -EINVAL;
}

static int check(const json_t *profile, char **ret_error)
{
	const json_t *files = json_object_get(profile, "files"), *entry;
	size_t i;

	if (!json_is_integer(json_object_get(profile, MARK)) || !json_is_array(files))
		return refuse(ret_error, "this is no profile of memmapfsctl");
	if (json_integer_value(json_object_get(profile, MARK)) != VERSION)
		return refuse(ret_error, "this is a profile of another version than %d", VERSION);
	json_array_foreach((json_t *)files, i, entry)
	{
		if (!is_entry(entry))
			return refuse(ret_error, "entry %zu is none that this program writes", i + 1);
	}
	return 0;
}

int profile_read(const char *file, json_t **ret_profile, char **ret_error)
{
	CLEANUP(close_fd) int fd = open(file, O_RDONLY | O_CLOEXEC);
	json_error_t error;
	json_t *profile;
	int result;

	*ret_error = NULL;
	if (fd < 0)
		return -errno;
	profile = json_loadfd(fd, JSON_REJECT_DUPLICATES, &error);
	if (profile == NULL)
		return refuse(ret_error, "line %d, column %d: %s", error.line, error.column, error.text);
	result = check(profile, ret_error);
	if (result < 0)
		json_decref(profile);
	else
		*ret_profile = profile;
	return result;
}

bool profile_is_current(const json_t *entry, const struct stat *info)
{
	return S_ISREG(info->st_mode) &&
	       json_integer_value(json_object_get(entry, "size")) == info->st_size &&
	       json_integer_value(json_object_get(entry, "mtime_ns")) == mtime_ns(info);
}

uint64_t profile_bytes(const json_t *entry)
{
	const json_t *part;
	uint64_t bytes = 0;
	size_t i;

	json_array_foreach(json_object_get(entry, "ranges"), i, part)
		bytes += (uint64_t)json_integer_value(json_array_get(part, 1));
	json_array_foreach(json_object_get(entry, "files"), i, part) bytes += profile_bytes(part);
	return bytes;
}

int profile_open(int root, const char *path)
{
	CLEANUP(close_fd) int object = open_below(root, path, O_PATH | O_CLOEXEC, 0);
	struct stat info;
	char link[32];
	int fd;

	if (object < 0)
		return object;
	if (fstat(object, &info) < 0)
		return -errno;
	/* Opening a device or a pipe does things. */
	if (!S_ISREG(info.st_mode))
		return -EINVAL;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", object);
	fd = open(link, O_RDONLY | O_CLOEXEC | O_NOATIME);
	/* Only the owner may leave the access time alone. */
	if (fd < 0 && errno == EPERM)
		fd = open(link, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}
