/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_CTL_H
#define MEMMAPFS_CTL_H

/*
 * memmapfsctl: its commands, and what all of them share. A command gets its options and operands parsed,
 * says itself what went wrong, and returns an exit status.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum ctl_status {
	CTL_DONE = 0,
	CTL_FAILED = 1, /* or a difference was found */
	CTL_USAGE = 2,
};

#define CTL_OPTIONS_MAX 4

struct ctl_option {
	const char *name;     /* without the dashes; NULL ends the list */
	const char *argument; /* as shown in the help; NULL: takes none */
	const char *meaning;
};

struct ctl_command {
	const char *name; /* one word or two */
	const char *operands;
	const char *meaning;
	int min, max; /* number of operands; max -1: any */
	enum ctl_status (*run)(const char *const *options, char **operands, int count);
	struct ctl_option options[CTL_OPTIONS_MAX + 1];
};

/** ctl_begin() - the command that usage errors are of; static string */
void ctl_begin(const char *command);

/** ctl_say() - one line on stderr, after the program's name; control characters become '?' */
__attribute__((format(printf, 1, 2))) void ctl_say(const char *format, ...);

/** ctl_hold() - from here on keep what is said, the terminal being somebody else's, until ctl_release() says it */
void ctl_hold(void);

/** ctl_held() - the last that was kept since ctl_hold(), or "" */
const char *ctl_held(void);

/** ctl_release() - say the last that was kept, and go on saying at once */
void ctl_release(void);

/** ctl_usage_error() - say what is wrong with the words. Return: CTL_USAGE. */
__attribute__((format(printf, 1, 2))) enum ctl_status ctl_usage_error(const char *format, ...);

/** ctl_print_json() - an object on stdout, indented, with a newline; consumes the reference */
enum ctl_status ctl_print_json(json_t *object);

/** ctl_number() - a number inside nested objects by its dotted path, 0 where there is none */
uint64_t ctl_number(const json_t *object, const char *path);

/*
 * The commands. @options are in the order of the command's list, NULL where not given, "" for one without
 * an argument.
 */
enum ctl_status ctl_stats(const char *const *options, char **operands, int count);
enum ctl_status ctl_top(const char *const *options, char **operands, int count);
enum ctl_status ctl_map(const char *const *options, char **operands, int count);
enum ctl_status ctl_list(const char *const *options, char **operands, int count);
enum ctl_status ctl_umount(const char *const *options, char **operands, int count);
enum ctl_status ctl_advise(const char *const *options, char **operands, int count);
enum ctl_status ctl_preload(const char *const *options, char **operands, int count);
enum ctl_status ctl_evict(const char *const *options, char **operands, int count);
enum ctl_status ctl_lock(const char *const *options, char **operands, int count);
enum ctl_status ctl_unlock(const char *const *options, char **operands, int count);
enum ctl_status ctl_sync(const char *const *options, char **operands, int count);
enum ctl_status ctl_explain(const char *const *options, char **operands, int count);
enum ctl_status ctl_profile_save(const char *const *options, char **operands, int count);
enum ctl_status ctl_layer_status(const char *const *options, char **operands, int count);
enum ctl_status ctl_layer_diff(const char *const *options, char **operands, int count);
enum ctl_status ctl_layer_discard(const char *const *options, char **operands, int count);
enum ctl_status ctl_layer_commit(const char *const *options, char **operands, int count);
enum ctl_status ctl_profile_load(const char *const *options, char **operands, int count);
enum ctl_status ctl_layer_adopt(const char *const *options, char **operands, int count);
enum ctl_status ctl_layer_checkpoint(const char *const *options, char **operands, int count);

#endif
