/* SPDX-License-Identifier: MIT */
/*
 * How requests reach the table of control.h: the reserved attributes user.memmapfs.*, which never reach BACKING
 * and which no list shows. A command that takes long runs in a thread of its own, so that no worker is
 * held up, and so that it may make the kernel call on the workers; the thread replies.
 */
#include "control.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "fuse_ops/ops.h"
#include "session.h"

#define PREFIX "user.memmapfs."
#define COMMANDS_MAX 4096 /* with the waits for locks, which are counted together */

struct command {
	fuse_req_t req;
	struct fs *fs;
	struct inode *inode; /* holds a reference */
	control_reply *reply;
	struct control_caller caller;
	char *name;
	char *value;
};

bool control_is_reserved(const char *name)
{
	return strncmp(name, PREFIX, strlen(PREFIX)) == 0;
}

ssize_t control_attribute(struct fs *fs, struct inode *inode, const char *name, char **ret_value)
{
	int result = control_get(fs, inode, name + strlen(PREFIX), ret_value);

	return result < 0 ? result : (ssize_t)strlen(*ret_value);
}

static void command_free(struct command *command)
{
	if (command == NULL)
		return;
	free(command->name);
	free(command->value);
	free(command);
}

static bool gave_up(void *context)
{
	struct command *command = context;
	struct fs *fs = command->fs;

	LOCK_SCOPE(&fs->wait_lock);
	return fs->waits_cancelled || fuse_req_interrupted(command->req);
}

static void command_run(struct command *command)
{
	CLEANUP(free_pointer) char *text = NULL;
	int result = control_run(command->fs, command->inode, command->name, command->value, &command->caller,
				 &text);

	command->reply(command->req, result, text);
}

static void *command_thread(void *argument)
{
	struct command *command = argument;
	struct fs *fs = command->fs;

	command_run(command);
	inode_unref(fs, command->inode);
	command_free(command);
	LOCK_SCOPE(&fs->wait_lock);
	fs->wait_count--;
	pthread_cond_broadcast(&fs->wait_ended);
	return NULL;
}

/* On failure nothing was consumed. */
static int command_start(struct command *command)
{
	struct fs *fs = command->fs;
	pthread_attr_t attributes;
	pthread_t thread;
	int result;

	if (!session_leave(fs->session, atomic_load(&command->inode->nodeid)))
		return -EAGAIN;
	pthread_mutex_lock(&fs->wait_lock);
	result = fs->waits_cancelled ? -EINTR : fs->wait_count >= COMMANDS_MAX ? -EAGAIN : 0;
	fs->wait_count += result == 0;
	pthread_mutex_unlock(&fs->wait_lock);
	if (result < 0)
		return result;
	inode_ref(command->inode);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	result = -pthread_create(&thread, &attributes, command_thread, command);
	pthread_attr_destroy(&attributes);
	if (result < 0) {
		inode_unref(fs, command->inode);
		LOCK_SCOPE(&fs->wait_lock);
		fs->wait_count--;
	}
	return result;
}

void control_submit(fuse_req_t req, struct inode *inode, const char *name, const char *value, size_t size,
		    bool may_read, control_reply *reply)
{
	struct command *command = calloc(1, sizeof(*command));
	int result = -ENOMEM;

	if (command != NULL) {
		command->name = strdup(name);
		command->value = copy_text(value, size);
	}
	if (command != NULL && command->name != NULL && command->value != NULL) {
		command->req = req;
		command->fs = op_fs(req);
		command->inode = inode;
		command->reply = reply;
		command->caller = (struct control_caller){.uid = fuse_req_ctx(req)->uid,
							  .may_read = may_read,
							  .gave_up = gave_up,
							  .context = command};
		/* No command has a zero byte in it. */
		if (strlen(command->value) != size) {
			result = -EINVAL;
		} else if (control_waits(name)) {
			result = command_start(command);
			if (result == 0)
				return;
		} else {
			command_run(command);
			command_free(command);
			return;
		}
	}
	command_free(command);
	reply(req, result, NULL);
}

static void reply_attribute(fuse_req_t req, int result, const char *text)
{
	(void)text;
	fuse_reply_err(req, -result);
}

void control_set_attribute(fuse_req_t req, struct inode *inode, const char *name, const char *value,
			   size_t size)
{
	/* The kernel asks for the right to write before it lets anybody set an attribute. */
	control_submit(req, inode, name + strlen(PREFIX), value, size, true, reply_attribute);
}
