/* SPDX-License-Identifier: MIT */
#include "layer/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include "util.h"

#define BUCKETS_MIN 64

struct store_file {
	struct store_file *next;
	uint64_t id;
	int fd;
};

/* A tmpfs of our own, mounted nowhere: it goes with its last descriptor. Its limit is the layer's own. */
static int open_tmpfs(void)
{
	CLEANUP(close_fd) int context = fsopen("tmpfs", FSOPEN_CLOEXEC);
	CLEANUP(close_fd) int mounted = -1;
	int directory;

	if (context < 0 || fsconfig(context, FSCONFIG_SET_STRING, "size", "0", 0) < 0 ||
	    fsconfig(context, FSCONFIG_SET_STRING, "nr_inodes", "0", 0) < 0 ||
	    fsconfig(context, FSCONFIG_SET_STRING, "mode", "0700", 0) < 0 ||
	    fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	mounted = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	if (mounted < 0)
		return -errno;
	directory = openat(mounted, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return directory < 0 ? -errno : directory;
}

int store_open_memory(struct store *store)
{
	*store = (struct store){.mask = BUCKETS_MIN - 1};
	pthread_mutex_init(&store->lock, NULL);
	store->directory = open_tmpfs();
	if (store->directory >= 0)
		return 0;
	store->directory = -1;
	store->buckets = calloc(BUCKETS_MIN, sizeof(store->buckets[0]));
	return store->buckets == NULL ? -ENOMEM : 0;
}

void store_open_directory(struct store *store, int fd)
{
	*store = (struct store){.directory = fd};
	pthread_mutex_init(&store->lock, NULL);
}

int store_sync_names(struct store *store)
{
	/* Who finds that another does it waits until it is done. */
	LOCK_SCOPE(&store->lock);
	if (store->directory < 0 || !atomic_exchange(&store->made, false) || fsync(store->directory) == 0)
		return 0;
	atomic_store(&store->made, true);
	return -errno;
}

int store_each(int fd, int (*call)(void *context, uint64_t id), void *context)
{
	DIR *directory = fdopendir(fd);
	const struct dirent *entry;
	int result = 0;

	if (directory == NULL) {
		result = -errno;
		close_fd(&fd);
		return result;
	}
	while (result == 0 && (errno = 0, entry = readdir(directory)) != NULL) {
		char *end;
		unsigned long long id = strtoull(entry->d_name, &end, 16);

		if (*end == '\0' && end != entry->d_name)
			result = call(context, id);
	}
	if (result == 0)
		result = -errno;
	closedir(directory);
	return result;
}

void store_close(struct store *store)
{
	for (size_t i = 0; store->buckets != NULL && i <= store->mask; i++) {
		for (struct store_file *file = store->buckets[i], *next; file != NULL; file = next) {
			next = file->next;
			close(file->fd);
			free(file);
		}
	}
	free(store->buckets);
	close_fd(&store->directory);
	pthread_mutex_destroy(&store->lock);
}

static struct store_file **find_locked(struct store *store, uint64_t id)
{
	struct store_file **link = &store->buckets[id & store->mask];

	while (*link != NULL && (*link)->id != id)
		link = &(*link)->next;
	return link;
}

/* Ids are given out in turn, so that their low bits spread them. Without memory the chains stay long. */
static void grow_locked(struct store *store)
{
	struct store grown = {.mask = store->mask * 2 + 1};

	grown.buckets = calloc(grown.mask + 1, sizeof(grown.buckets[0]));
	if (grown.buckets == NULL)
		return;
	for (size_t i = 0; i <= store->mask; i++) {
		for (struct store_file *file = store->buckets[i], *next; file != NULL; file = next) {
			next = file->next;
			file->next = grown.buckets[file->id & grown.mask];
			grown.buckets[file->id & grown.mask] = file;
		}
	}
	free(store->buckets);
	store->buckets = grown.buckets;
	store->mask = grown.mask;
}

static int memory_file(struct store *store, uint64_t id, bool create)
{
	struct store_file *file, **link;
	int fd;

	LOCK_SCOPE(&store->lock);
	link = find_locked(store, id);
	if (*link == NULL) {
		if (!create)
			return -ENOENT;
		file = malloc(sizeof(*file));
		fd = memfd_create("memmapfs-layer", MFD_CLOEXEC);
		if (file == NULL || fd < 0) {
			int error = file == NULL ? ENOMEM : errno;

			close_fd(&fd);
			free(file);
			return -error;
		}
		*file = (struct store_file){.id = id, .fd = fd};
		*link = file;
		if (++store->count > store->mask)
			grow_locked(store);
		link = find_locked(store, id);
	}
	fd = fcntl((*link)->fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

int store_file(struct store *store, uint64_t id, bool create)
{
	char name[32];
	int fd;

	if (store->directory < 0)
		return memory_file(store, id, create);
	snprintf(name, sizeof(name), "%llx", (unsigned long long)id);
	fd = openat(store->directory, name, (store->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && create) {
		fd = openat(store->directory, name, O_RDWR | O_CLOEXEC | O_CREAT, 0600);
		atomic_store(&store->made, true);
	}
	return fd < 0 ? -errno : fd;
}

void store_remove(struct store *store, uint64_t id)
{
	struct store_file **link, *file;
	char name[32];

	if (store->directory >= 0) {
		snprintf(name, sizeof(name), "%llx", (unsigned long long)id);
		unlinkat(store->directory, name, 0);
		return;
	}
	LOCK_SCOPE(&store->lock);
	link = find_locked(store, id);
	file = *link;
	if (file == NULL)
		return;
	*link = file->next;
	store->count--;
	close(file->fd);
	free(file);
}
