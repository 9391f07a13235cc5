/* SPDX-License-Identifier: MIT */
#include "identity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "util.h"

/*
 * Where the inode number and the generation stand in the handles of the common file systems, as 32-bit
 * words. Sources: Documentation/filesystems/nfs/exporting.rst, include/linux/exportfs.h (Linux 6.18).
 */
static const struct layout {
	int type;
	unsigned bytes;
	int ino_word;
	int high_word; /* the upper half of the inode number, or -1 */
	int generation_word;
} layouts[] = {
	{0x01, 8, 0, -1, 1}, /* FILEID_INO32_GEN: ext2, ext3, ext4, small xfs, f2fs */
	{0x81, 12, 0, 1, 2}, /* xfs with 64-bit inode numbers */
	{0x01, 12, 1, 2, 0}, /* tmpfs */
	{0x4d, 20, 0, 1, 4}, /* FILEID_BTRFS_WITHOUT_PARENT; the subvolume stands in words 2 and 3 */
};

struct identity_key identity_of_statx(const struct statx *stx)
{
	struct identity_key key = {
		.dev = makedev(stx->stx_dev_major, stx->stx_dev_minor),
		.ino = stx->stx_ino,
	};

	if (stx->stx_mask & STATX_BTIME)
		key.birth_ns = (int64_t)stx->stx_btime.tv_sec * 1000000000 + stx->stx_btime.tv_nsec;
	return key;
}

void identity_stat(const struct statx *stx, struct stat *ret_stat)
{
	memset(ret_stat, 0, sizeof(*ret_stat));
	ret_stat->st_dev = makedev(stx->stx_dev_major, stx->stx_dev_minor);
	ret_stat->st_ino = stx->stx_ino;
	ret_stat->st_mode = stx->stx_mode;
	ret_stat->st_nlink = stx->stx_nlink;
	ret_stat->st_uid = stx->stx_uid;
	ret_stat->st_gid = stx->stx_gid;
	ret_stat->st_rdev = makedev(stx->stx_rdev_major, stx->stx_rdev_minor);
	ret_stat->st_size = (off_t)stx->stx_size;
	ret_stat->st_blksize = stx->stx_blksize;
	ret_stat->st_blocks = (blkcnt_t)stx->stx_blocks;
	ret_stat->st_atim = (struct timespec){stx->stx_atime.tv_sec, stx->stx_atime.tv_nsec};
	ret_stat->st_mtim = (struct timespec){stx->stx_mtime.tv_sec, stx->stx_mtime.tv_nsec};
	ret_stat->st_ctim = (struct timespec){stx->stx_ctime.tv_sec, stx->stx_ctime.tv_nsec};
}

int identity_handle_new(int directory_fd, const char *name, int mount, struct identity_handle **ret_handle)
{
	union {
		struct file_handle handle;
		unsigned char space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} buffer;
	struct identity_handle *handle;
	int mount_id;

	buffer.handle.handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(directory_fd, name, &buffer.handle, &mount_id,
			      *name == '\0' ? AT_EMPTY_PATH : 0) < 0)
		return -errno;
	handle = malloc(sizeof(*handle) + buffer.handle.handle_bytes);
	if (handle == NULL)
		return -ENOMEM;
	handle->mount = mount;
	handle->type = buffer.handle.handle_type;
	handle->bytes = buffer.handle.handle_bytes;
	memcpy(handle->data, buffer.handle.f_handle, handle->bytes);
	*ret_handle = handle;
	return 0;
}

int identity_handle_open(int mount_fd, const struct identity_handle *handle, int flags)
{
	union {
		struct file_handle handle;
		unsigned char space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} buffer;
	int fd;

	buffer.handle.handle_bytes = handle->bytes;
	buffer.handle.handle_type = handle->type;
	memcpy(buffer.handle.f_handle, handle->data, handle->bytes);
	fd = open_by_handle_at(mount_fd, &buffer.handle, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static const struct layout *layout_of(const struct identity_handle *handle)
{
	for (size_t i = 0; i < ARRAY_LENGTH(layouts); i++) {
		if (layouts[i].type == handle->type && layouts[i].bytes == handle->bytes)
			return &layouts[i];
	}
	return NULL;
}

static uint32_t word_at(const struct identity_handle *handle, int word)
{
	uint32_t value;

	memcpy(&value, handle->data + 4 * word, sizeof(value));
	return value;
}

uint64_t identity_pack(const struct identity_handle *handle)
{
	const struct layout *layout = layout_of(handle);

	if (layout == NULL || (layout->high_word >= 0 && word_at(handle, layout->high_word) != 0))
		return 0;
	return (uint64_t)word_at(handle, layout->generation_word) << 32 | word_at(handle, layout->ino_word);
}

int identity_unpack(uint64_t id, const struct identity_handle *like, struct identity_handle **ret_handle)
{
	const struct layout *layout = layout_of(like);
	struct identity_handle *handle;
	uint32_t ino = (uint32_t)id, generation = (uint32_t)(id >> 32), zero = 0;

	if (layout == NULL)
		return -EOPNOTSUPP;
	handle = malloc(sizeof(*handle) + like->bytes);
	if (handle == NULL)
		return -ENOMEM;
	memcpy(handle, like, sizeof(*handle) + like->bytes);
	memcpy(handle->data + 4 * layout->ino_word, &ino, sizeof(ino));
	memcpy(handle->data + 4 * layout->generation_word, &generation, sizeof(generation));
	if (layout->high_word >= 0)
		memcpy(handle->data + 4 * layout->high_word, &zero, sizeof(zero));
	*ret_handle = handle;
	return 0;
}
