/* SPDX-License-Identifier: MIT */
#include "uring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util.h"

#ifndef IORING_SETUP_NO_MMAP
#define IORING_SETUP_NO_MMAP (1U << 14)
#endif
#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16)
#endif

#define ENTRIES 1
#define SUBMISSION_SIZE (2 * sizeof(struct io_uring_sqe)) /* IORING_SETUP_SQE128 */

int uring_init(struct uring *uring)
{
	size_t page = page_size();
	struct io_uring_params params = {
		/* What the kernel has for a thread it does when that thread comes for it, and interrupts nothing. */
		.flags = IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_R_DISABLED | IORING_SETUP_NO_MMAP | IORING_SETUP_NO_SQARRAY,
	};
	unsigned char *memory =
		mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return -ENOMEM;
	/* user_addr of both, which headers of before Linux 6.5 do not name */
	params.cq_off.resv2 = (uintptr_t)memory;
	params.sq_off.resv2 = (uintptr_t)(memory + page);
	uring->fd = (int)syscall(SYS_io_uring_setup, ENTRIES, &params);
	if (uring->fd < 0) {
		int result = -errno;

		munmap(memory, 2 * page);
		return result;
	}
	uring->memory = memory;
	uring->submission = (struct io_uring_sqe *)(memory + page);
	uring->submission_tail = (_Atomic uint32_t *)(memory + params.sq_off.tail);
	uring->completion_head = (_Atomic uint32_t *)(memory + params.cq_off.head);
	uring->completion_tail = (_Atomic uint32_t *)(memory + params.cq_off.tail);
	uring->completion_mask = *(uint32_t *)(memory + params.cq_off.ring_mask);
	uring->completions = (struct io_uring_cqe *)(memory + params.cq_off.cqes);
	uring->unsubmitted = 0;
	return 0;
}

void uring_fini(struct uring *uring)
{
	close_fd(&uring->fd);
	munmap(uring->memory, 2 * page_size());
}

int uring_enable(struct uring *uring)
{
	return syscall(SYS_io_uring_register, uring->fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0 ? -errno
												    : 0;
}

struct io_uring_sqe *uring_prepare(struct uring *uring)
{
	uint32_t tail = atomic_load_explicit(uring->submission_tail, memory_order_relaxed);

	/* The only place there is: its caller would overwrite what the kernel has not seen. */
	if (uring->unsubmitted > 0)
		abort();
	memset(uring->submission, 0, SUBMISSION_SIZE);
	uring->unsubmitted = 1;
	/* The kernel looks for it in uring_enter(), not before. */
	atomic_store_explicit(uring->submission_tail, tail + 1, memory_order_release);
	return uring->submission;
}

int uring_enter(struct uring *uring, bool wait)
{
	long submitted = syscall(SYS_io_uring_enter, uring->fd, uring->unsubmitted, wait ? 1U : 0U,
				 IORING_ENTER_GETEVENTS, NULL, (size_t)0);

	if (submitted < 0)
		return -errno;
	uring->unsubmitted -= (unsigned)submitted;
	return 0;
}

bool uring_take(struct uring *uring, int *ret_result)
{
	uint32_t head = atomic_load_explicit(uring->completion_head, memory_order_relaxed);

	if (head == atomic_load_explicit(uring->completion_tail, memory_order_acquire))
		return false;
	*ret_result = uring->completions[head & uring->completion_mask].res;
	atomic_store_explicit(uring->completion_head, head + 1, memory_order_release);
	return true;
}
