/* SPDX-License-Identifier: MIT */
/* The ioctl of control_protocol.h: memmapfsctl's way to the table of control.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "control.h"
#include "control_protocol.h"
#include "fuse_ops/ops.h"

/* The command may have run in a thread of its own; all that is left of the request is @req. */
static void reply_message(fuse_req_t req, int result, const char *text)
{
	CLEANUP(free_pointer) struct control_message *message = calloc(1, sizeof(*message));
	size_t length = text == NULL ? 0 : strlen(text);

	if (message == NULL) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	message->status = -result;
	message->length = (uint32_t)MIN(length, UINT32_MAX);
	if (length > 0)
		memcpy(message->text, text, MIN(length, sizeof(message->text) - 1));
	fuse_reply_ioctl(req, 0, message, sizeof(*message));
}

/* A descriptor opened for writing only lets nobody look into the file. */
static bool may_read(fuse_req_t req, struct inode *inode, const struct fuse_file_info *fi)
{
	struct handle *handle = handle_find(&op_fs(req)->handle_table, fi->fh);

	/* Where the kernel tells of no open, it does not tell what the descriptor is good for either. */
	if (fi->fh == 0)
		return op_may(req, inode, R_OK) == 0;
	return handle != NULL && (handle->flags & O_ACCMODE) != O_WRONLY;
}

void control_ioctl(fuse_req_t req, struct inode *inode, const struct fuse_file_info *fi, const void *in,
		   size_t in_size, size_t out_size)
{
	const struct control_message *message = in;
	CLEANUP(free_pointer) char *text = NULL;
	int result;

	if (in_size != sizeof(*message) || out_size != sizeof(*message) ||
	    memchr(message->name, '\0', sizeof(message->name)) == NULL ||
	    message->length >= sizeof(message->text) || message->operation > CONTROL_SET) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	if (!may_read(req, inode, fi)) {
		fuse_reply_err(req, EBADF);
		return;
	}
	if (message->operation == CONTROL_SET) {
		control_submit(req, inode, message->name, message->text, message->length, true,
			       reply_message);
		return;
	}
	result = control_get(op_fs(req), inode, message->name, &text);
	reply_message(req, result, text);
}
