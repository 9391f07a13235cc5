/* SPDX-License-Identifier: MIT */
#include "mapping/errnos.h"

#include <assert.h>
#include <errno.h>

#include "util.h"

/* Sources: mmap(2), msync(2), madvise(2), mlock(2), Linux man-pages 6.03. */
static const struct mapping_errno table[] = {
	{CALL_MMAP, EACCES, "EACCES", "the file may not be mapped: not readable, or append-only",
	 ACTION_FALL_BACK},
	{CALL_MMAP, EAGAIN, "EAGAIN", "the file is locked, or too much memory is (RLIMIT_MEMLOCK)",
	 ACTION_FALL_BACK},
	{CALL_MMAP, EBADF, "EBADF", "the descriptor is not open", ACTION_FALL_BACK},
	{CALL_MMAP, EEXIST, "EEXIST", "the address range is in use", ACTION_FALL_BACK},
	{CALL_MMAP, EINVAL, "EINVAL", "the file system refuses this offset or length", ACTION_FALL_BACK},
	{CALL_MMAP, ENFILE, "ENFILE", "the system's limit on open files is reached (fs.file-max)",
	 ACTION_EVICT},
	{CALL_MMAP, ENODEV, "ENODEV", "the file system cannot map files", ACTION_FALL_BACK},
	{CALL_MMAP, ENOMEM, "ENOMEM", "no address space or map slots left (RLIMIT_AS, vm.max_map_count)",
	 ACTION_EVICT},
	{CALL_MMAP, EOPNOTSUPP, "EOPNOTSUPP", "there is no MAP_SYNC for this medium", ACTION_FALL_BACK},
	{CALL_MMAP, EOVERFLOW, "EOVERFLOW", "the file is too large to map here", ACTION_FALL_BACK},
	{CALL_MMAP, EPERM, "EPERM", "a seal or security policy forbids the mapping", ACTION_FALL_BACK},
	{CALL_MMAP, ETXTBSY, "ETXTBSY", "the file is being executed", ACTION_FALL_BACK},
	{CALL_MMAP, 0, "unknown", "mmap failed for a reason its manual does not name", ACTION_FALL_BACK},
	{CALL_MSYNC, EBUSY, "EBUSY", "the pages are locked in memory", ACTION_REPORT},
	{CALL_MSYNC, EINVAL, "EINVAL", "the range is not page-aligned", ACTION_REPORT},
	{CALL_MSYNC, EIO, "EIO", "the disk failed to take the pages", ACTION_REPORT},
	{CALL_MSYNC, ENOMEM, "ENOMEM", "part of the range is not mapped", ACTION_REPORT},
	{CALL_MSYNC, ENOSPC, "ENOSPC", "the disk is full", ACTION_REPORT},
	{CALL_MSYNC, EDQUOT, "EDQUOT", "the disk quota is used up", ACTION_REPORT},
	{CALL_MSYNC, 0, "unknown", "msync failed for a reason its manual does not name", ACTION_REPORT},
	{CALL_MADVISE, EACCES, "EACCES", "the pages may not be removed", ACTION_REPORT},
	{CALL_MADVISE, EAGAIN, "EAGAIN", "the kernel has no resources for this hint now", ACTION_REPORT},
	{CALL_MADVISE, EBADF, "EBADF", "the range maps no file", ACTION_REPORT},
	{CALL_MADVISE, EBUSY, "EBUSY", "the pages are in use and cannot be moved", ACTION_REPORT},
	{CALL_MADVISE, EFAULT, "EFAULT", "the pages cannot appear", ACTION_REPORT},
	{CALL_MADVISE, EINVAL, "EINVAL", "the kernel or the file system does not know this hint",
	 ACTION_REPORT},
	{CALL_MADVISE, EIO, "EIO", "paging in would exceed the memory limit", ACTION_REPORT},
	{CALL_MADVISE, ENOMEM, "ENOMEM", "part of the range is not mapped, or memory is short",
	 ACTION_REPORT},
	{CALL_MADVISE, EPERM, "EPERM", "this hint needs a privilege (CAP_SYS_ADMIN)", ACTION_REPORT},
	{CALL_MADVISE, EHWPOISON, "EHWPOISON", "a page of the range has failed in hardware", ACTION_REPORT},
	{CALL_MADVISE, 0, "unknown", "madvise failed for a reason its manual does not name", ACTION_REPORT},
	{CALL_MLOCK, EAGAIN, "EAGAIN", "some pages could not be locked", ACTION_REPORT},
	{CALL_MLOCK, EINVAL, "EINVAL", "the range wraps around", ACTION_REPORT},
	{CALL_MLOCK, ENOMEM, "ENOMEM", "more than RLIMIT_MEMLOCK, or part of the range is not mapped",
	 ACTION_REPORT},
	{CALL_MLOCK, EPERM, "EPERM", "locking needs CAP_IPC_LOCK or a RLIMIT_MEMLOCK above 0", ACTION_REPORT},
	{CALL_MLOCK, 0, "unknown", "mlock failed for a reason its manual does not name", ACTION_REPORT},
};

static_assert(ARRAY_LENGTH(table) <= 8 * sizeof(unsigned long), "a bit for each row");

const struct mapping_errno *mapping_errno_row(unsigned index)
{
	return index < ARRAY_LENGTH(table) ? &table[index] : NULL;
}

const struct mapping_errno *mapping_errno_find(enum mapping_call call, int number)
{
	for (size_t i = 0; i < ARRAY_LENGTH(table); i++) {
		if (table[i].call == call && (table[i].number == number || table[i].number == 0))
			return &table[i];
	}
	assert(!"every call has a row with number 0");
	return &table[0];
}

bool mapping_errno_first(struct mapping_said *said, const struct mapping_errno *row)
{
	unsigned long bit = 1UL << (row - table);

	if (atomic_load_explicit(&said->rows, memory_order_relaxed) & bit)
		return false;
	return !(atomic_fetch_or(&said->rows, bit) & bit);
}
