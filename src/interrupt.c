/* SPDX-License-Identifier: MIT */
/*
 * INTERRUPT comes by the device, even where the request that it is about comes through a ring, and may come first. The
 * library keeps it then until it has seen another request, and asks the kernel to send it again, which that does for
 * requests of the device only.
 */
#include <errno.h>
#include <fuse_lowlevel.h>
#include <string.h>

#include "protocol.h"
#include "ring.h"
#include "session_private.h"

void interrupt_request(struct session *session, uint64_t unique)
{
	struct {
		struct protocol_header header;
		struct fuse_interrupt_in in;
	} interrupt = {.header = {.len = sizeof(interrupt),
				  .opcode = FUSE_INTERRUPT,
				  .unique = unique | PROTOCOL_INTERRUPT_BIT},
		       .in = {.unique = unique}};

	fuse_session_process_buf(session->fuse,
				 &(struct fuse_buf){.mem = &interrupt, .size = sizeof(interrupt)});
}

/*
 * A worker that takes the request from a ring afterwards tells the library once more. The library is told now in any
 * case: the request may be one of the device's.
 */
void interrupt_note(struct session *session, const unsigned char *buffer, size_t length)
{
	struct ring *ring = atomic_load(&session->ring);
	struct fuse_interrupt_in in;

	if (ring == NULL || length < sizeof(struct protocol_header) + sizeof(in))
		return;
	memcpy(&in, buffer + sizeof(struct protocol_header), sizeof(in));
	ring_interrupt(ring, in.unique);
}

bool interrupt_keep(struct session *session, const struct fuse_out_header *header)
{
	uint64_t unique = header->unique & ~PROTOCOL_INTERRUPT_BIT;

	if (unique == header->unique || header->error != -EAGAIN ||
	    !ring_serves(atomic_load(&session->ring), unique))
		return false;
	interrupt_request(session, unique);
	return true;
}
