/* SPDX-License-Identifier: MIT */
#include "protocol.h"

#include <string.h>

#include "request.h"
#include "util.h"

uint64_t protocol_complete_init(struct protocol *protocol, void *reply, size_t length, uint64_t wanted)
{
	uint64_t offered = atomic_load(&protocol->offered);
	uint64_t added = wanted | PROTOCOL_HANDLE_KILLPRIV_V2 | PROTOCOL_SETXATTR_EXT |
			 PROTOCOL_CREATE_SUPP_GROUP;
	struct fuse_init_out *out = reply;
	uint64_t flags;

	if (length < sizeof(*out))
		return 0;
	atomic_store(&protocol->library_minor, out->minor);
	flags = (uint64_t)out->flags2 << 32 | out->flags;
	flags |= added & offered;
	if (offered & PROTOCOL_INIT_EXT)
		flags |= PROTOCOL_INIT_EXT;
	else
		flags &= UINT32_MAX;
	out->flags = (uint32_t)flags;
	out->flags2 = (uint32_t)(flags >> 32);
	/* max_stack_depth, in a newer header's words */
	if (flags & PROTOCOL_PASSTHROUGH)
		out->unused[0] = PROTOCOL_STACK_DEPTH;
	return wanted & flags;
}

void protocol_complete_open(void *reply, size_t length, int backing, bool parallel)
{
	struct fuse_open_out *out;

	if (length < sizeof(*out))
		return;
	out = (struct fuse_open_out *)((unsigned char *)reply + length - sizeof(*out));
	if (parallel)
		out->open_flags |= PROTOCOL_OPEN_PARALLEL_DIRECT_WRITES;
	if (backing == 0)
		return;
	out->open_flags |= PROTOCOL_OPEN_PASSTHROUGH;
	/* backing_id, in a newer header's words */
	out->padding = (uint32_t)backing;
}

/* The supplementary groups among a request's extensions, which stand at its end. */
static void note_groups(const unsigned char *buffer, size_t length, const struct protocol_header *header,
			struct request *request)
{
	size_t at = length - MIN(length, (size_t)header->total_extlen * 8);
	struct protocol_ext_header ext;
	uint32_t count;

	for (; at + sizeof(ext) <= length; at += ext.size) {
		memcpy(&ext, buffer + at, sizeof(ext));
		if (ext.size < sizeof(ext) || at + ext.size > length)
			return;
		if (ext.type != PROTOCOL_EXT_GROUPS || ext.size < sizeof(ext) + sizeof(count))
			continue;
		memcpy(&count, buffer + at + sizeof(ext), sizeof(count));
		count = MIN(count, REQUEST_GROUPS_MAX);
		if (ext.size < sizeof(ext) + sizeof(count) * (1 + (size_t)count))
			return;
		request->group_count = count;
		memcpy(request->groups, buffer + at + sizeof(ext) + sizeof(count), count * sizeof(uint32_t));
	}
}

/* SETXATTR grew two fields in front of the name, which an older library takes for the name. */
static size_t shorten_setxattr(unsigned char *buffer, size_t length)
{
	struct protocol_header *header = (struct protocol_header *)buffer;
	size_t grown = sizeof(struct protocol_setxattr) - PROTOCOL_SETXATTR_OLD_SIZE;
	unsigned char *old_end = buffer + sizeof(*header) + PROTOCOL_SETXATTR_OLD_SIZE;

	if (length < sizeof(*header) + sizeof(struct protocol_setxattr))
		return length;
	memmove(old_end, old_end + grown, length - (size_t)(old_end + grown - buffer));
	header->len -= (uint32_t)grown;
	return length - grown;
}

size_t protocol_prepare(struct protocol *protocol, unsigned char *buffer, size_t length,
			struct request *request)
{
	struct protocol_header *header = (struct protocol_header *)buffer;
	void *argument = buffer + sizeof(*header);

	request->opcode = header->opcode;
	switch (header->opcode) {
	case FUSE_INIT: {
		struct fuse_init_in *in = argument;

		atomic_store(&protocol->kernel_minor, in->minor);
		atomic_store(&protocol->offered, (uint64_t)in->flags2 << 32 | in->flags);
		break;
	}
	case FUSE_WRITE:
		request->kill_setid = ((struct fuse_write_in *)argument)->write_flags &
				      PROTOCOL_WRITE_KILL_SUIDGID;
		break;
	case FUSE_OPEN:
		request->kill_setid = ((struct fuse_open_in *)argument)->open_flags &
				      PROTOCOL_OPEN_KILL_SUIDGID;
		break;
	case FUSE_SETATTR:
		request->kill_setid = ((struct fuse_setattr_in *)argument)->valid &
				      PROTOCOL_SETATTR_KILL_SUIDGID;
		break;
	case FUSE_SETXATTR:
		request->acl_kill_setgid = ((struct protocol_setxattr *)argument)->setxattr_flags &
					   PROTOCOL_SETXATTR_ACL_KILL_SGID;
		if ((atomic_load(&protocol->offered) & PROTOCOL_SETXATTR_EXT) &&
		    atomic_load(&protocol->library_minor) < PROTOCOL_MINOR_SETXATTR_EXT)
			length = shorten_setxattr(buffer, length);
		break;
	case PROTOCOL_TMPFILE:
		header->opcode = FUSE_CREATE;
		request->anonymous = true;
		/* fall through */
	case FUSE_CREATE:
		request->kill_setid = ((struct fuse_create_in *)argument)->open_flags &
				      PROTOCOL_OPEN_KILL_SUIDGID;
		break;
	case PROTOCOL_STATX:
		header->opcode = FUSE_GETATTR;
		request->wants_statx = true;
		break;
	default:
		break;
	}
	if (header->total_extlen > 0)
		note_groups(buffer, length, header, request);
	return length;
}
