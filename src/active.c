/* SPDX-License-Identifier: MIT */
#include "active.h"

#include "file.h"
#include "fs.h"
#include "util.h"

void active_begin(struct fs *fs, struct file *file, struct active_sync *active)
{
	LOCK_SCOPE(&fs->sync_lock);
	atomic_fetch_add(&file->syncing, 1);
	active->file = file;
	active->ticket = ++fs->sync_ticket;
	active->next = fs->active_syncs;
	fs->active_syncs = active;
}

void active_end(struct fs *fs, struct active_sync *active)
{
	struct active_sync **link = &fs->active_syncs;

	LOCK_SCOPE(&fs->sync_lock);
	while (*link != active)
		link = &(*link)->next;
	*link = active->next;

	atomic_fetch_sub(&active->file->syncing, 1);
	pthread_cond_broadcast(&fs->sync_ended);
}

static bool is_active_locked(const struct fs *fs, const struct file *file, uint64_t before)
{
	for (const struct active_sync *active = fs->active_syncs; active != NULL; active = active->next) {
		if (active->file == file && active->ticket <= before)
			return true;
	}
	return false;
}

void active_wait(struct fs *fs, struct file *file)
{
	uint64_t before;

	if (atomic_load(&file->syncing) == 0)
		return;
	LOCK_SCOPE(&fs->sync_lock);
	before = fs->sync_ticket;
	while (is_active_locked(fs, file, before))
		pthread_cond_wait(&fs->sync_ended, &fs->sync_lock);
}
