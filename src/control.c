/* SPDX-License-Identifier: MIT */
#include "control.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "control_pages.h"
#include "farewell.h"
#include "fs.h"
#include "inode.h"
#include "layer/command.h"
#include "listing.h"
#include "stats.h"

enum control_right {
	RIGHT_ANY,   /* whoever may read the file */
	RIGHT_OWN,   /* the owner of the file, or root */
	RIGHT_MOUNT, /* the user who mounted, or root */
	RIGHT_NONE,  /* nobody: there is nothing to do */
};

enum control_place { PLACE_FILE = 1, PLACE_ROOT = 2 };

struct control_row {
	const char *name;
	unsigned places; /* bits of enum control_place */
	enum control_right right;
	bool waits;
	char *(*get)(struct fs *fs, struct inode *inode);
	int (*run)(struct control_call *call);
};

int control_refuse(struct control_call *call, int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(&call->reply, format, arguments) < 0)
		call->reply = NULL;
	va_end(arguments);
	return error;
}

static char *get_stats(struct fs *fs, struct inode *inode)
{
	(void)inode;
	return stats_mount(fs);
}

static int run_stats(struct control_call *call)
{
	if (strcmp(call->value, "reset") != 0)
		return control_refuse(call, -EINVAL, "'%s' is not possible: reset", call->value);
	stats_reset(call->fs);
	return 0;
}

static int run_files(struct control_call *call)
{
	return listing_files(call->fs, call->value, call->caller->uid, &call->reply);
}

static int run_residency(struct control_call *call)
{
	return listing_residency(call->fs, call->inode, call->value, &call->reply);
}

static int run_runs(struct control_call *call)
{
	struct mapping_stop stop = {call->caller->gave_up, call->caller->context};

	return listing_runs(call->fs, call->inode, call->value, &stop, &call->reply);
}

static int run_farewell(struct control_call *call)
{
	return farewell_promise(call->fs, call->value, call->caller->uid, &call->reply);
}

static int run_layer(struct control_call *call)
{
	struct layer_stop stop = {call->caller->gave_up, call->caller->context};

	return layer_command(call->fs, call->value, &stop, &call->reply);
}

static const struct control_row rows[] = {
	{"stats", PLACE_ROOT, RIGHT_OWN, false, get_stats, run_stats},
	{"file", PLACE_FILE, RIGHT_NONE, false, stats_file, NULL},
	{"explain", PLACE_FILE, RIGHT_ANY, false, stats_explain, NULL},
	{"advice", PLACE_FILE, RIGHT_ANY, true, control_get_advice, control_advice},
	{"sync", PLACE_FILE | PLACE_ROOT, RIGHT_ANY, true, NULL, control_sync},
	{"preload", PLACE_FILE, RIGHT_ANY, true, NULL, control_preload},
	{"evict", PLACE_FILE, RIGHT_OWN, true, NULL, control_evict},
	{"lock", PLACE_FILE, RIGHT_OWN, true, NULL, control_lock},
	{"unlock", PLACE_FILE, RIGHT_OWN, true, NULL, control_unlock},
	{"files", PLACE_ROOT, RIGHT_ANY, true, NULL, run_files},
	{"residency", PLACE_FILE, RIGHT_ANY, true, NULL, run_residency},
	{"runs", PLACE_FILE, RIGHT_ANY, true, NULL, run_runs},
	{"farewell", PLACE_ROOT, RIGHT_ANY, false, NULL, run_farewell},
	{"layer", PLACE_ROOT, RIGHT_MOUNT, true, NULL, run_layer},
};

/* Whatever the value that a refusal quotes had in it. */
static void make_one_line(char *text)
{
	for (; text != NULL && *text != '\0'; text++) {
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
	}
}

static const struct control_row *find_row(const char *name)
{
	for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
		if (strcmp(rows[i].name, name) == 0)
			return &rows[i];
	}
	return NULL;
}

static bool is_place(const struct control_row *row, const struct fs *fs, const struct inode *inode)
{
	return (S_ISREG(inode->type) && (row->places & PLACE_FILE)) ||
	       (inode == fs->root && (row->places & PLACE_ROOT));
}

static int check_right(const struct control_row *row, struct control_call *call)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct stat info;
	int result;

	if (row->right == RIGHT_NONE)
		return control_refuse(call, -EPERM, "'%s' can only be read", row->name);
	if (row->right == RIGHT_MOUNT && call->caller->uid != 0 && call->caller->uid != geteuid())
		return control_refuse(call, -EPERM, "'%s' is for root and the user who mounted", row->name);
	if (call->caller->uid == 0 || row->right == RIGHT_MOUNT ||
	    (row->right == RIGHT_ANY && call->caller->may_read))
		return 0;
	if (row->right == RIGHT_ANY)
		return control_refuse(call, -EPERM, "'%s' is for those who may read the file", row->name);
	result = inode_fd(call->fs, call->inode, FD_PATH, &use);
	if (result == 0 && fstat(use.fd, &info) < 0)
		result = -errno;
	if (result == 0 && info.st_uid != call->caller->uid)
		return control_refuse(call, -EPERM, "'%s' is for the owner and root", row->name);
	return result;
}

int control_get(struct fs *fs, struct inode *inode, const char *name, char **ret_text)
{
	const struct control_row *row = find_row(name);
	char *text;

	if (row == NULL || row->get == NULL || !is_place(row, fs, inode))
		return -ENODATA;
	text = row->get(fs, inode);
	if (text == NULL)
		return -ENOMEM;
	*ret_text = text;
	return 0;
}

int control_run(struct fs *fs, struct inode *inode, const char *name, const char *value,
		const struct control_caller *caller, char **ret_reply)
{
	struct control_call call = {.fs = fs, .inode = inode, .value = value, .caller = caller};
	const struct control_row *row = find_row(name);
	int result;

	if (row == NULL || !is_place(row, fs, inode)) {
		result = control_refuse(&call, -EOPNOTSUPP, "'%s' is not known here", name);
	} else {
		result = check_right(row, &call);
		if (result == 0)
			result = row->run != NULL ? row->run(&call)
						  : control_get(fs, inode, name, &call.reply);
	}
	if (result < 0)
		make_one_line(call.reply);
	*ret_reply = call.reply;
	return result;
}

bool control_waits(const char *name)
{
	const struct control_row *row = find_row(name);

	return row != NULL && row->waits;
}
