/* SPDX-License-Identifier: MIT */
/* The options that can differ by path, as a rule gives them. */
#include <errno.h>
#include <string.h>

#include "options_private.h"
#include "util.h"

static const enum option_id ids[PATH_OPTIONS] = {
	[PATH_SYNC] = OPTION_SYNC,     [PATH_SYNC_INTERVAL] = OPTION_SYNC_INTERVAL,
	[PATH_ADVISE] = OPTION_ADVISE, [PATH_PRELOAD] = OPTION_PRELOAD,
	[PATH_MLOCK] = OPTION_MLOCK,   [PATH_HUGEPAGES] = OPTION_HUGEPAGES,
	[PATH_IDLE] = OPTION_IDLE,     [PATH_WRITES] = OPTION_WRITES,
	[PATH_CACHE] = OPTION_CACHE,
};

int options_size(const char *text, uint64_t *ret_size)
{
	return option_size_read(text, ret_size);
}

const char *options_path_name(enum path_option option)
{
	return option_rows[ids[option]].name;
}

void options_path_copy(enum path_option option, const struct options *from, struct options *to)
{
	switch (option) {
	case PATH_SYNC:
		to->sync = from->sync;
		break;
	case PATH_SYNC_INTERVAL:
		to->sync_interval_ms = from->sync_interval_ms;
		break;
	case PATH_ADVISE:
		to->advise = from->advise;
		break;
	case PATH_PRELOAD:
		to->preload = from->preload;
		break;
	case PATH_MLOCK:
		to->mlock = from->mlock;
		break;
	case PATH_HUGEPAGES:
		to->hugepages = from->hugepages;
		break;
	case PATH_IDLE:
		to->idle_ms = from->idle_ms;
		to->idle_action = from->idle_action;
		break;
	case PATH_WRITES:
		to->writes = from->writes;
		break;
	case PATH_CACHE:
		to->cache = from->cache;
		break;
	case PATH_OPTIONS:
		break;
	}
}

static int unknown_word(const char *name, char **ret_error)
{
	struct option_nearest nearest = {.typed = name};

	for (size_t i = 0; i < PATH_OPTIONS; i++)
		option_nearest_try(&nearest, option_rows[ids[i]].name);
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		if (strcmp(option_rows[i].name, name) == 0)
			return option_refuse(ret_error, "'%s' holds for the whole mount: give it after -o",
					     name);
	}
	if (nearest.best != NULL)
		return option_refuse(ret_error, "unknown option '%s': did you mean '%s'?", name,
				     nearest.best);
	return option_refuse(
		ret_error,
		"unknown option '%s': a rule has sync=, sync_interval=, advise=, preload=, mlock, "
		"hugepages, idle=, writes= and cache=",
		name);
}

/* A rule can also take back what another or the mount has switched on. */
static int read_flag(const struct option_row *row, const char *value, struct options *options,
		     char **ret_error)
{
	bool on = value == NULL || strcmp(value, "on") == 0;

	if (!on && strcmp(value, "off") != 0)
		return option_refuse(ret_error, "bad value '%s' for '%s': expected on or off", value,
				     row->name);
	memcpy((char *)options + row->offset, &on, sizeof(on));
	return 0;
}

int options_path_word(char *word, struct options *options, enum path_option *ret_option, char **ret_error)
{
	char *value = strchr(word, '=');
	const struct option_row *row = NULL;
	size_t i;
	int result;

	if (value != NULL)
		*value++ = '\0';
	for (i = 0; i < PATH_OPTIONS; i++) {
		row = &option_rows[ids[i]];
		if (strcmp(row->name, word) == 0)
			break;
	}
	if (i == PATH_OPTIONS)
		return unknown_word(word, ret_error);
	if (row->kind == KIND_FLAG)
		result = read_flag(row, value, options, ret_error);
	else
		result = option_value_read(row, value, options, ret_error);
	if (result == 0)
		*ret_option = (enum path_option)i;
	return result;
}

int options_path_check(const struct options *mount, const struct options *values, unsigned given,
		       char **ret_error)
{
	struct options options = *mount;
	option_mask mask = 0;

	/* Which of the mount's sync= and of other rules' the file will have is not known here. */
	options.sync = SYNC_PERIODIC;
	for (size_t i = 0; i < PATH_OPTIONS; i++) {
		if (!((given >> i) & 1))
			continue;
		options_path_copy((enum path_option)i, values, &options);
		mask |= (option_mask)1 << ids[i];
	}
	return options_check(&options, mask, ret_error);
}
