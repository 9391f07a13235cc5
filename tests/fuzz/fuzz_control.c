/* SPDX-License-Identifier: MIT */
/*
 * Every command of control.h, as the attributes and memmapfsctl's ioctl run it, on a file of some pages and on the
 * root of a mount that nobody has mounted, of mode=rw or of mode=cow. The input's first byte says for whom and where,
 * the next which command, and the rest is the value.
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
#include "layer/content.h"
#include "layer/names.h"
#include "layer/serve.h"
#include "mapping/guard.h"
#include "util.h"

#define FILE_PAGES 5

/* The corpus has their numbers: new ones go to the end. */
static const char *const names[] = {"stats",   "file",	    "explain",	"advice", "sync",
				    "preload", "evict",	    "lock",	"unlock", "files",
				    "runs",    "residency", "farewell", "none",	  "layer"};

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

struct subject {
	const char *options;
	struct fs fs;
	struct inode *file;
};
static struct subject subjects[] = {{.options = "mode=rw"}, {.options = "mode=cow"}};

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
	static const char *const left[] = {"/file", "/made", ""};
	char path[64];

	for (size_t i = 0; i < ARRAY_LENGTH(subjects); i++) {
		for (size_t k = 0; k < ARRAY_LENGTH(left); k++) {
			snprintf(path, sizeof(path), "%s%s", subjects[i].fs.options.backing, left[k]);
			remove(path);
		}
	}
}

static void set_up(struct subject *subject)
{
	char backing[] = "/tmp/memmapfs-fuzz.XXXXXX", dash[] = "-o", given[16];
	char *words[] = {program, dash, given, backing, backing}, *error = NULL;
	struct options options;
	struct found found;
	bool mountpoint_bad;

	snprintf(given, sizeof(given), "%s", subject->options);
	need(mkdtemp(backing) != NULL, backing);
	make_file(backing);
	need(options_parse(ARRAY_LENGTH(words), words, &options, &error) == 0, "options_parse");
	need(fs_open(&subject->fs, &options, NULL, &error, &mountpoint_bad) == 0, "fs_open");
	need(inode_lookup(&subject->fs, subject->fs.root, "file", &found) == 0, "inode_lookup");
	subject->file = found.inode;
}

static void set_up_all(void)
{
	need(guard_init() == 0, "guard_init");
	for (size_t i = 0; i < ARRAY_LENGTH(subjects); i++)
		set_up(&subjects[i]);
	atexit(remove_all);
}

/* Something to report, discard and commit: a page of a file, and a name that comes and goes. */
static void change_layer(struct subject *subject)
{
	struct fs *fs = &subject->fs;
	struct making making = {.mode = S_IFREG | 0644};
	struct content_writer writer = {0};
	struct found found;
	struct node *node;
	uint64_t offset = 0;

	LAYER_SERVE_SCOPE(fs);
	if (content_own(fs, subject->file, &node) == 0)
		need(content_write(fs, subject->file, node, "y", 1, false, &writer, &offset) == 1,
		     "content_write");
	if (layer_make(fs, fs->root, "made", &making, &found) == 0)
		inode_forget(fs, found.inode->nodeid, 1);
	else
		need(layer_remove(fs, fs->root, "made", false) == 0, "layer_remove");
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
	struct subject *subject;
	struct inode *object;
	const char *name;
	int result;

	if (subjects[0].file == NULL)
		set_up_all();
	if (size < 2)
		return 0;
	caller.uid = data[0] & 1 ? 65534 : 0;
	caller.may_read = data[0] & 2;
	subject = &subjects[data[0] & 8 ? 1 : 0];
	object = data[0] & 4 ? subject->fs.root : subject->file;
	name = names[data[1] % ARRAY_LENGTH(names)];
	if (subject->fs.layer != NULL && strcmp(name, "layer") == 0)
		change_layer(subject);
	value = copy_text(data + 2, size - 2);
	need(value != NULL, "copy_text");
	result = control_run(&subject->fs, object, name, value, &caller, &reply);
	/* A refusal is one line, and what begins as JSON is some. */
	if (result > 0 || (result < 0 && reply != NULL && strchr(reply, '\n') != NULL))
		abort();
	if (result == 0 && reply != NULL && *reply == '{')
		expect_json(reply);
	free(reply);
	free(value);
	layer_serve_begin(&subject->fs);
	if (control_get(&subject->fs, object, name, &reply) == 0)
		free(reply);
	layer_serve_end(&subject->fs);
	return 0;
}
