/* SPDX-License-Identifier: MIT */
/*
 * Every command of control.h, as the attributes and memmapfsctl's ioctl run it, on a file of some pages and on the
 * root of a mount that nobody has mounted. The input's first byte says for whom and where, the next which command,
 * and the rest is the value.
 */
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control.h"
#include "fs.h"
#include "fuzz.h"
#include "inode.h"
#include "mapping/guard.h"
#include "util.h"

#define FILE_PAGES 5

static const char *const names[] = {"stats", "file",   "explain", "advice", "sync",	 "preload",  "evict",
				    "lock",  "unlock", "files",	  "runs",   "residency", "farewell", "none"};

/*
 * Waiting for the disk would take nearly all of the time: one input in some hundred syncs the file system that the
 * file is on, with whatever others have written there. What is written is nothing, and no input can tell.
 */
int syncfs(int fd)
{
	return fcntl(fd, F_GETFD) < 0 ? -1 : 0;
}

int fdatasync(int fd)
{
	return fcntl(fd, F_GETFD) < 0 ? -1 : 0;
}

static char program[] = "memmapfs-fuse";
static struct fs fs;
static struct inode *inode;

static void need(bool true_here, const char *what)
{
	if (true_here)
		return;
	perror(what);
	abort();
}

/* An odd size, so that ranges end inside a page. */
static void make_file(const char *backing)
{
	CLEANUP(free_pointer) char *path = NULL;
	CLEANUP(close_fd) int fd = -1;

	need(asprintf(&path, "%s/file", backing) > 0, "asprintf");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	need(fd >= 0 && pwrite(fd, "x", 1, (off_t)(FILE_PAGES * page_size() - 2)) == 1, path);
	/* Evicting waits for pages that do not go. */
	need(fsync(fd) == 0, path);
}

static void remove_all(void)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/file", fs.options.backing);
	unlink(path);
	rmdir(fs.options.backing);
}

static void set_up(void)
{
	char backing[] = "/tmp/memmapfs-fuzz.XXXXXX";
	char *words[] = {program, backing, backing}, *error = NULL;
	struct options options;
	struct found found;
	bool mountpoint_bad;

	need(mkdtemp(backing) != NULL, backing);
	make_file(backing);
	need(guard_init() == 0, "guard_init");
	need(options_parse(3, words, &options, &error) == 0, "options_parse");
	need(fs_open(&fs, &options, NULL, &error, &mountpoint_bad) == 0, "fs_open");
	need(inode_lookup(&fs, fs.root, "file", &found) == 0, "inode_lookup");
	inode = found.inode;
	atexit(remove_all);
}

static void expect_json(const char *text)
{
	json_t *object = json_loads(text, 0, NULL);

	if (object == NULL)
		abort();
	json_decref(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control_caller caller = {0};
	char *value, *reply = NULL;
	struct inode *object;
	const char *name;
	int result;

	if (inode == NULL)
		set_up();
	if (size < 2)
		return 0;
	caller.uid = data[0] & 1 ? 65534 : 0;
	caller.may_read = data[0] & 2;
	object = data[0] & 4 ? fs.root : inode;
	name = names[data[1] % ARRAY_LENGTH(names)];
	value = copy_text(data + 2, size - 2);
	need(value != NULL, "copy_text");
	result = control_run(&fs, object, name, value, &caller, &reply);
	/* A refusal is one line, and what begins as JSON is some. */
	if (result > 0 || (result < 0 && reply != NULL && strchr(reply, '\n') != NULL))
		abort();
	if (result == 0 && reply != NULL && *reply == '{')
		expect_json(reply);
	free(reply);
	free(value);
	if (control_get(&fs, object, name, &reply) == 0)
		free(reply);
	return 0;
}
