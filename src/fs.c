/* SPDX-License-Identifier: MIT */
#include "fs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "layer/backing.h"
#include "layer/layer.h"
#include "pager.h"
#include "rules.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

/* Descriptors beside the cache's: the device, the loop, the database of users, open directories. */
#define FDS_RESERVED 64
#define FDS_MAX (1u << 20)
/* So many inodes less, and a quarter, are worth a walk over the heap: 2 MiB of it. */
#define TRIM_INODES 8192

static bool has_capability(cap_value_t capability)
{
	cap_t capabilities = cap_get_proc();
	cap_flag_value_t value = CAP_CLEAR;

	if (capabilities == NULL)
		return false;
	cap_get_flag(capabilities, capability, CAP_EFFECTIVE, &value);
	cap_free(capabilities);
	return value == CAP_SET;
}

static enum backing_medium medium_of(const struct statfs *info)
{
	switch ((unsigned long)info->f_type) {
	case TMPFS_MAGIC:
	case RAMFS_MAGIC:
		return MEDIUM_MEMORY;
	case HUGETLBFS_MAGIC:
		return MEDIUM_HUGE_PAGES;
	case NFS_SUPER_MAGIC:
	case SMB2_SUPER_MAGIC:
	case CIFS_SUPER_MAGIC:
	case CEPH_SUPER_MAGIC:
	case AFS_SUPER_MAGIC:
	case V9FS_MAGIC:
	case FUSE_SUPER_MAGIC:
		return MEDIUM_REMOTE;
	default:
		return MEDIUM_DISK;
	}
}

/* As many descriptors as we may have; returns how many that is. */
static size_t raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 1024;
	if (limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			getrlimit(RLIMIT_NOFILE, &limit);
	}
	return limit.rlim_cur > FDS_MAX ? FDS_MAX : (size_t)limit.rlim_cur;
}

static int failed(char **ret_error, int error, const char *verb, const char *object)
{
	if (asprintf(ret_error, "%s '%s': %s", verb, object, strerror(-error)) < 0)
		*ret_error = NULL;
	return error;
}

static bool handles_work(int root_fd)
{
	struct identity_handle *handle;
	int fd;

	if (!has_capability(CAP_DAC_READ_SEARCH) || identity_handle_new(root_fd, "", 0, &handle) < 0)
		return false;
	fd = identity_handle_open(root_fd, handle, O_PATH);
	free(handle);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static int open_paths(struct fs *fs, char **ret_error, bool *ret_mountpoint_bad, int *ret_root)
{
	const struct options *options = &fs->options;
	struct stat info;

	fs->proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fs->proc_fd < 0)
		return failed(ret_error, -errno, "cannot open", "/proc/self/fd");
	*ret_root = options->mode == MODE_COW ? backing_open(options->backing)
					      : open(options->backing, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*ret_root < 0 || (fs->backing_path = realpath(options->backing, NULL)) == NULL)
		return failed(ret_error, -errno, "cannot open BACKING", options->backing);
	*ret_mountpoint_bad = true;
	fs->covered_fd = open(options->mountpoint, O_PATH | O_CLOEXEC);
	if (fs->covered_fd < 0 || (fs->mount_path = realpath(options->mountpoint, NULL)) == NULL)
		return failed(ret_error, -errno, "cannot open MOUNTPOINT", options->mountpoint);
	if (fstat(fs->covered_fd, &info) < 0)
		return failed(ret_error, -errno, "cannot open MOUNTPOINT", options->mountpoint);
	if (!S_ISDIR(info.st_mode))
		return failed(ret_error, -ENOTDIR, "cannot mount on", options->mountpoint);
	*ret_mountpoint_bad = false;
	return 0;
}

static int init_tables(struct fs *fs)
{
	size_t descriptors = raise_descriptor_limit();
	size_t reserved = MIN(FDS_RESERVED, descriptors / 4);
	int result = fd_cache_init(&fs->fds, (descriptors - reserved) / 4 * 3, descriptors, inode_slot_keeps);

	if (result == 0)
		result = inode_table_init(&fs->inodes);
	if (result == 0)
		result = handle_table_init(&fs->handle_table);
	if (result == 0)
		result = window_cache_init(&fs->windows, fs->options.window_size, fs->options.max_mapped);
	if (result == 0)
		pager_init(fs);
	/* Each takes a window at least; the other half is for what is not locked. */
	locked_init(&fs->locked, fs->windows.max_windows / 2);
	return result;
}

int fs_open(struct fs *fs, struct options *options, struct rules *rules, char **ret_error,
	    bool *ret_mountpoint_bad)
{
	struct statfs info;
	struct statvfs vinfo;
	struct statx stx;
	int root_fd = -1, path_fd, result;

	*ret_error = NULL;
	*ret_mountpoint_bad = false;
	fs->options = *options;
	*options = (struct options){0};
	fs->proc_fd = fs->covered_fd = -1;
	pthread_mutex_init(&fs->mounts.lock, NULL);
	pthread_mutex_init(&fs->dirty_lock, NULL);
	pthread_mutex_init(&fs->sync_lock, NULL);
	pthread_cond_init(&fs->sync_ended, NULL);
	pthread_mutex_init(&fs->wait_lock, NULL);
	pthread_mutex_init(&fs->farewell.lock, NULL);
	pthread_mutex_init(&fs->work_lock, NULL);
	pthread_mutex_init(&fs->linger_lock, NULL);
	/* By its full name: the daemon leaves the directory it was started in. */
	policy_table_init(&fs->policies, &fs->options, rules,
			  rules == NULL ? NULL : realpath(fs->options.rules, NULL));
	pthread_cond_init(&fs->wait_ended, NULL);
	clock_gettime(CLOCK_MONOTONIC, &fs->started);
	fs->read_only = fs->options.mode == MODE_RO || fs->options.mount_read_only;
	fs->privileged = has_capability(CAP_SETUID) && has_capability(CAP_SETGID) &&
			 has_capability(CAP_DAC_OVERRIDE);
	result = open_paths(fs, ret_error, ret_mountpoint_bad, &root_fd);
	if (result == 0 && (fstatfs(root_fd, &info) < 0 || fstatvfs(root_fd, &vinfo) < 0 ||
			    statx(root_fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &stx) < 0))
		result = failed(ret_error, -errno, "cannot read BACKING", fs->options.backing);
	if (result == 0 && init_tables(fs) < 0)
		result = failed(ret_error, -ENOMEM, "cannot serve", fs->options.backing);
	if (result < 0) {
		close_fd(&root_fd);
		return result;
	}
	fs->medium = medium_of(&info);
	if (fs->medium == MEDIUM_HUGE_PAGES)
		window_cache_set_unit(&fs->windows, (uint64_t)info.f_bsize);
	fs->statx_flags = fs->medium == MEDIUM_REMOTE ? 0 : AT_STATX_DONT_SYNC;
	fs->atime = !(vinfo.f_flag & (ST_NOATIME | ST_RDONLY)) && !fs->options.noatime && !fs->read_only &&
		    fs->options.mode != MODE_COW;
	fs->mount_flags = vinfo.f_flag & (ST_NOSUID | ST_NODEV | ST_NOEXEC);
	fs->handles = handles_work(root_fd);
	fs->mounts.mount[0].id = stx.stx_mnt_id;
	fs->mounts.mount[0].fd = root_fd;
	fs->mounts.mount[0].handles = fs->handles;
	fs->mounts.count = 1;
	path_fd = openat(root_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	result = path_fd < 0 ? -errno : inode_root(fs, path_fd);
	if (result < 0)
		return failed(ret_error, result, "cannot open BACKING", fs->options.backing);
	result = fs->options.mode == MODE_COW ? layer_open(fs, ret_error) : 0;
	if (result < 0 && *ret_error == NULL)
		failed(ret_error, result, "cannot make a layer over", fs->options.backing);
	return result;
}

void fs_close(struct fs *fs)
{
	watch_close(fs);
	layer_close(fs);
	if (fs->root != NULL) {
		handle_table_fini(&fs->handle_table);
		inode_table_fini(fs);
		window_cache_fini(&fs->windows);
		locked_fini(&fs->locked);
	}
	fd_cache_fini(&fs->fds);
	for (int i = 0; i < fs->mounts.count; i++)
		close_fd(&fs->mounts.mount[i].fd);
	close_fd(&fs->covered_fd);
	close_fd(&fs->proc_fd);
	free(fs->backing_path);
	free(fs->mount_path);
	pthread_mutex_destroy(&fs->mounts.lock);
	pthread_mutex_destroy(&fs->dirty_lock);
	policy_table_fini(&fs->policies);
	pthread_mutex_destroy(&fs->sync_lock);
	pthread_cond_destroy(&fs->sync_ended);
	pthread_mutex_destroy(&fs->wait_lock);
	pthread_mutex_destroy(&fs->farewell.lock);
	pthread_mutex_destroy(&fs->work_lock);
	pthread_mutex_destroy(&fs->linger_lock);
	pthread_cond_destroy(&fs->wait_ended);
	options_fini(&fs->options);
}

int fs_mount_index(struct fs *fs, int directory_fd, const char *name, const struct statx *stx)
{
	struct mounts *mounts = &fs->mounts;
	struct identity_handle *handle = NULL;
	int index;

	if (!(stx->stx_mask & STATX_MNT_ID) || mounts->mount[0].id == stx->stx_mnt_id)
		return fs->handles ? 0 : -1;
	LOCK_SCOPE(&mounts->lock);
	for (index = 0; index < mounts->count; index++) {
		if (mounts->mount[index].id == stx->stx_mnt_id)
			return mounts->mount[index].handles ? index : -1;
	}
	/* Only a directory can be opened without side effects; a file mounted on a file is kept open. */
	if (!S_ISDIR(stx->stx_mode) || index == MOUNTS_MAX)
		return -1;
	mounts->mount[index].id = stx->stx_mnt_id;
	mounts->mount[index].fd = openat(directory_fd, *name == '\0' ? "." : name,
					 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	mounts->mount[index].handles = fs->handles && mounts->mount[index].fd >= 0 &&
				       identity_handle_new(mounts->mount[index].fd, "", index, &handle) == 0;
	free(handle);
	mounts->count++;
	return mounts->mount[index].handles ? index : -1;
}

void fs_trim_memory(struct fs *fs, size_t before)
{
	size_t peak = atomic_load(&fs->inodes.peak), count = atomic_load(&fs->inodes.count);

	if (before > peak) {
		atomic_store(&fs->inodes.peak, before);
		peak = before;
	}
	if (count > peak - peak / 4 || peak - count < TRIM_INODES)
		return;
	/* The allocator gives only the end of a heap back by itself, and one inode there keeps all of it. */
	if (atomic_compare_exchange_strong(&fs->inodes.peak, &peak, count))
		malloc_trim(0);
}

bool fs_walk_contains(struct fs *fs, int fd)
{
	CLEANUP(close_fd) int at = openat(fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct statx stx;
	uint64_t dev = 0, ino = 0;

	for (;;) {
		int up;

		if (at < 0 || statx(at, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &stx) < 0)
			return false;
		if (makedev(stx.stx_dev_major, stx.stx_dev_minor) == fs->root->key.dev &&
		    stx.stx_ino == fs->root->key.ino)
			return true;
		/* The root of everything is its own parent. */
		if (stx.stx_ino == ino && makedev(stx.stx_dev_major, stx.stx_dev_minor) == dev)
			return false;
		ino = stx.stx_ino;
		dev = makedev(stx.stx_dev_major, stx.stx_dev_minor);
		up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		close(at);
		at = up;
	}
}
