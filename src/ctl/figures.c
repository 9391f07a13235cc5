/* SPDX-License-Identifier: MIT */
#include "ctl/figures.h"

#include <stdbool.h>
#include <string.h>

#include "ctl/text.h"
#include "util.h"

struct metric {
	const char *path;
	const char *name;
	bool counter;
	const char *help;
};

/* What is not listed here is a gauge named after its path. */
static const struct metric metrics[] = {
	{"uptime_s", "uptime_seconds", false, "Time since the mount began to serve."},
	{"inodes", "inodes", false, "Objects that the kernel or the daemon holds."},
	{"handles", "handles", false, "Open files and directories."},
	{"descriptors", "descriptors", false, "Descriptors of backing objects in the cache."},
	{"rings", "rings", false, "Queues of io_uring that requests come by; 0: they come by the device."},
	{"windows.count", "windows", false, "Windows mapped."},
	{"windows.bytes", "windows_bytes", false, "Bytes of files inside windows."},
	{"windows.locked", "windows_locked", false, "Bytes of windows that are locked in memory."},
	{"windows.locked_files", "locked_files", false, "Files that a command has locked."},
	{"windows.locked_files_max", "locked_files_max", false, "Files that commands may lock at a time."},
	{"windows.hits", "windows_hits_total", true, "Accesses that found their window mapped."},
	{"windows.misses", "windows_misses_total", true, "Accesses that had to map a window."},
	{"windows.evictions", "windows_evictions_total", true, "Windows unmapped to make room."},
	{"io.reads", "io_reads_total", true, "Read requests."},
	{"io.read_bytes", "io_read_bytes_total", true, "Bytes read."},
	{"io.writes", "io_writes_total", true, "Write requests."},
	{"io.write_bytes", "io_written_bytes_total", true, "Bytes written."},
	{"io.read_fallbacks", "io_read_fallbacks_total", true, "Reads served by pread instead of a window."},
	{"io.write_fallbacks", "io_write_fallbacks_total", true,
	 "Writes made by pwrite instead of a window."},
	{"sync.ticks", "sync_ticks_total", true, "Rounds of the periodic sync."},
	{"sync.msyncs", "sync_msyncs_total", true, "Ranges synced."},
	{"sync.synced_bytes", "sync_synced_bytes_total", true, "Bytes synced."},
	{"sync.dirty_bytes", "sync_dirty_bytes", false, "Bytes written and not yet synced."},
	{"sync.errors", "sync_errors_total", true, "Syncs that failed."},
	{"faults.truncated", "faults_truncated_total", true, "Accesses that met a truncated file."},
	{"faults.nospace", "faults_nospace_total", true, "Accesses that met a full disk."},
	{"faults.io", "faults_io_total", true, "Accesses that met a failing disk."},
};

static void print_number(FILE *stream, const char *key, const json_t *value)
{
	size_t length = strlen(key);
	char buffer[TEXT_SIZE];

	if (json_is_integer(value) && ((length >= 5 && strcmp(key + length - 5, "bytes") == 0) ||
				       strcmp(key, "limit") == 0 || strcmp(key, "locked") == 0))
		fputs(text_bytes((uint64_t)MAX(json_integer_value(value), 0), buffer), stream);
	else if (json_is_integer(value))
		fprintf(stream, "%lld", (long long)json_integer_value(value));
	else if (json_is_real(value))
		fprintf(stream, "%.3f", json_real_value(value));
	else if (json_is_string(value))
		fputs(json_string_value(value), stream);
	else
		fputs(json_is_true(value) ? "yes" : "no", stream);
}

static void print_group(FILE *stream, const char *name, const json_t *group)
{
	const char *key, *separator = "";
	const json_t *value;
	bool options = strcmp(name, "options") == 0;
	size_t column = 12;

	fprintf(stream, "%-12s", name);
	json_object_foreach((json_t *)group, key, value)
	{
		CLEANUP(free_pointer) char *text = NULL;
		size_t length;
		FILE *memory = open_memstream(&text, &length);

		if (memory == NULL)
			return;
		fprintf(memory, options ? "%s=" : "%s ", key);
		print_number(memory, key, value);
		fclose(memory);
		if (column + length + 2 > 79 && *separator != '\0') {
			fprintf(stream, "%s\n%-12s", options ? "" : ",", "");
			separator = "";
			column = 12;
		}
		column += (size_t)fprintf(stream, "%s%s", separator, text);
		separator = options ? " " : ", ";
	}
	fputc('\n', stream);
}

void figures_table(FILE *stream, const char *mount, const json_t *stats)
{
	const char *key;
	const json_t *value;
	CLEANUP(free_pointer) char *shown = text_fit(mount, SIZE_MAX);
	char buffer[TEXT_SIZE];

	fprintf(stream, "%-12s%s\n", "mount", shown == NULL ? "?" : shown);
	json_object_foreach((json_t *)stats, key, value)
	{
		if (json_is_object(value)) {
			print_group(stream, key, value);
		} else if (strcmp(key, "uptime_s") == 0) {
			fprintf(stream, "%-12s%s\n", "uptime",
				text_duration((uint64_t)MAX(json_number_value(value), 0), buffer));
		} else {
			fprintf(stream, "%-12s", key);
			print_number(stream, key, value);
			fputc('\n', stream);
		}
	}
}

static void print_label(FILE *stream, const char *name, const char *value)
{
	fprintf(stream, "%s=\"", name);
	for (; *value != '\0'; value++) {
		if (*value == '\n')
			fputs("\\n", stream);
		else if (*value == '"' || *value == '\\')
			fprintf(stream, "\\%c", *value);
		else
			fputc(*value, stream);
	}
	fputc('"', stream);
}

/* A name may have letters, digits and underscores. */
static void make_name(char *name, size_t size, const char *group, const char *key)
{
	snprintf(name, size, "%s%s%s", group, *group != '\0' ? "_" : "", key);
	for (char *c = name; *c != '\0'; c++) {
		bool fine = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9');

		*c = fine ? *c : '_';
	}
}

static void print_sample(FILE *stream, const char *mount, const char *group, const char *key,
			 const json_t *value)
{
	const struct metric *metric = NULL;
	char path[96], name[96];

	if (!json_is_number(value))
		return;
	snprintf(path, sizeof(path), "%s%s%s", group, *group != '\0' ? "." : "", key);
	for (size_t i = 0; i < ARRAY_LENGTH(metrics) && metric == NULL; i++)
		metric = strcmp(metrics[i].path, path) == 0 ? &metrics[i] : NULL;
	make_name(name, sizeof(name), group, key);
	if (metric != NULL) {
		snprintf(name, sizeof(name), "%s", metric->name);
		fprintf(stream, "# HELP memmapfs_%s %s\n", name, metric->help);
	}
	fprintf(stream, "# TYPE memmapfs_%s %s\n", name,
		metric != NULL && metric->counter ? "counter" : "gauge");
	fprintf(stream, "memmapfs_%s{", name);
	print_label(stream, "mountpoint", mount);
	if (json_is_integer(value))
		fprintf(stream, "} %lld\n", (long long)json_integer_value(value));
	else
		fprintf(stream, "} %.17g\n", json_real_value(value));
}

static const char *option_of(const json_t *stats, const char *name)
{
	const char *value = json_string_value(json_object_get(json_object_get(stats, "options"), name));

	return value == NULL ? "" : value;
}

void figures_prometheus(FILE *stream, const char *mount, const json_t *stats)
{
	const char *key, *version = json_string_value(json_object_get(stats, "version"));
	const json_t *value;

	fprintf(stream, "# HELP memmapfs_info What serves the mount, and how.\n# TYPE memmapfs_info gauge\n"
			"memmapfs_info{");
	print_label(stream, "mountpoint", mount);
	fputc(',', stream);
	print_label(stream, "version", version == NULL ? "" : version);
	fputc(',', stream);
	print_label(stream, "mode", option_of(stats, "mode"));
	fputc(',', stream);
	print_label(stream, "sync", option_of(stats, "sync"));
	fputs("} 1\n", stream);
	json_object_foreach((json_t *)stats, key, value)
	{
		const char *inner;
		const json_t *number;

		if (!json_is_object(value)) {
			print_sample(stream, mount, "", key, value);
			continue;
		}
		json_object_foreach((json_t *)value, inner, number)
			print_sample(stream, mount, key, inner, number);
	}
}
