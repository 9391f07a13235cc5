/* SPDX-License-Identifier: MIT */
/*
 * The end of the stage. Whatever has a name in it gets the place that the layer has for it by now, and only then loses
 * that name: what was renamed since the commit began, what lay in the way of that, and what an interrupted try has left.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "fs.h"
#include "layer/commit_private.h"
#include "layer/keep.h"
#include "layer/serve.h"
#include "util.h"

/* A directory that was made since the commit began, or was removed from BACKING, comes along with what was put there. */
static int want_directory(struct commit *commit, uint64_t id, bool *ret_wanted)
{
	CLEANUP(subject_close) struct subject subject = {0};
	int result = subject_open(commit->fs, id, &subject);

	if (result < 0 || subject.inode == NULL || ids_has(&commit->nodes, id) ||
	    (subject.has_origin && subject_change(&subject) < ORIGIN_REPLACED))
		return result == -ENOENT ? 0 : result;
	*ret_wanted = true;
	return commit_add_node(commit, id);
}

/* A directory is to be put into something that is still in it: that comes first, and from there the rest follows. */
static int place_inside_out(struct commit *commit, const struct commit_name *name)
{
	int result = -EINVAL;

	for (uint64_t id = name->parent; id != LAYER_ROOT && result == -EINVAL;) {
		CLEANUP(db_named_fini) struct db_named named = {0};
		int found = db_entry_of(commit->fs->layer->db, id, 0, &named);

		if (found == 0)
			found = commit_secure_name(commit,
						   &(struct commit_name){named.parent, named.name, id});
		if (found < 0)
			return found == -ENOENT ? -EINVAL : found;
		result = commit_place_name(commit, name);
		id = named.parent;
	}
	return result;
}

/*
 * The names that the layer has for a node by now, which may be others than when the commit began. @ret_wanted: set where
 * one is in a directory that BACKING has not.
 */
static int place_again(struct commit *commit, uint64_t id, bool *ret_wanted)
{
	int result = 0;

	for (uint64_t index = 0; result == 0; index++) {
		CLEANUP(db_named_fini) struct db_named named = {0};
		struct commit_name name;

		result = db_entry_of(commit->fs->layer->db, id, index, &named);
		if (result < 0)
			break;
		name = (struct commit_name){named.parent, named.name, id};
		result = want_directory(commit, name.parent, ret_wanted);
		if (result == 0)
			result = commit_secure_name(commit, &name);
		if (result == 0)
			result = commit_place_name(commit, &name);
		if (result == -EINVAL)
			result = place_inside_out(commit, &name);
		if (result < 0)
			return commit_say_name(commit, &name, result);
		result = commit_add_name(commit, name.parent, name.name, id);
	}
	return result == -ENOENT ? 0 : result;
}

/* A directory that waits in the stage and that nobody wants any more: what is in it may have got another place. */
static int empty_unwanted(struct commit *commit, uint64_t id, bool *ret_wanted)
{
	CLEANUP(ids_fini) struct ids inside = {0};
	CLEANUP(db_named_fini) struct db_named named = {0};
	char staged[32];
	struct statx stx;
	int result = db_entry_of(commit->fs->layer->db, id, 0, &named);

	commit_stage_name(id, staged);
	if (result != -ENOENT || statx(commit->stage, staged, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &stx) < 0 ||
	    !S_ISDIR(stx.stx_mode))
		return result == -ENOENT ? 0 : result;
	result = commit_below(commit, commit->stage, staged, &inside);
	for (size_t i = 0; i < inside.count && result == 0; i++)
		result = place_again(commit, inside.list[i], ret_wanted);
	return result;
}

/* The last name of something that the layer shows is never given up. */
static int let_go(struct commit *commit, uint64_t id)
{
	CLEANUP(db_named_fini) struct db_named named = {0};
	struct commit_name name;
	char staged[32];
	struct stat info;

	commit_stage_name(id, staged);
	if (fstatat(commit->stage, staged, &info, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if ((S_ISDIR(info.st_mode) || info.st_nlink == 1) &&
	    db_entry_of(commit->fs->layer->db, id, 0, &named) == 0) {
		name = (struct commit_name){named.parent, named.name, id};
		return commit_say_name(commit, &name, -EBUSY);
	}
	/* A directory without a place becomes trash. */
	if (S_ISDIR(info.st_mode))
		return commit_throw_away(commit, commit->stage, staged);
	return unlinkat(commit->stage, staged, 0) < 0 ? -errno : 0;
}

static int place_later(struct commit *commit, uint64_t index)
{
	struct commit_name name = commit->names[index];
	int result = commit_place_name(commit, &name);

	return result < 0 ? commit_say_name(commit, &name, result) : 0;
}

/* Is all that the layer says of a node's names so in BACKING, and its name in the stage one too many? */
static bool is_in_place(struct commit *commit, uint64_t id)
{
	CLEANUP(subject_close) struct subject subject = {0};
	int result = subject_open(commit->fs, id, &subject);
	char staged[32];
	struct stat info;

	commit_stage_name(id, staged);
	if (result < 0 || subject.inode == NULL || S_ISDIR(subject.type) ||
	    fstatat(commit->stage, staged, &info, AT_SYMLINK_NOFOLLOW) < 0 || info.st_nlink < 2)
		return false;
	for (uint64_t index = 0; result == 0; index++) {
		CLEANUP(db_named_fini) struct db_named named = {0};
		struct commit_name name;

		result = db_entry_of(commit->fs->layer->db, id, index, &named);
		name = (struct commit_name){named.parent, named.name, id};
		if (result == 0 && (!commit_is_right(commit, &name, &subject) ||
				    commit_add_name(commit, name.parent, name.name, id) < 0))
			return false;
	}
	return result == -ENOENT;
}

/*
 * Most of what has a name in the stage is where it should be: nobody has to wait while it loses that. What is renamed
 * from here on has a place in BACKING, which the next commit changes.
 */
static int let_go_in_place(struct commit *commit)
{
	struct ids rest = {0};
	int result = 0;

	for (size_t i = 0; i < commit->staged.count && result == 0; i++) {
		uint64_t id = commit->staged.list[i];

		LAYER_SERVE_SCOPE(commit->fs);
		LOCK_SCOPE(&commit->fs->layer->lock);
		if (is_in_place(commit, id))
			result = let_go(commit, id);
		else
			result = MIN(ids_add(&rest, id), 0);
	}
	if (result < 0) {
		ids_fini(&rest);
		return result;
	}
	ids_fini(&commit->staged);
	commit->staged = rest;
	return 0;
}

/*
 * Whatever was renamed since its name was placed gets the new one, before the stage lets go of it: also what an
 * interrupted try has left there. @ret_wanted: set where a directory has to be made first; the stage keeps all it has.
 * Serving is stopped.
 */
static int clear_stage(struct commit *commit, bool *ret_wanted)
{
	size_t known;
	int result = 0;

	LOCK_SCOPE(&commit->fs->layer->lock);
	/* What this try has thrown away was looked through before. */
	if (commit->stage_was_there)
		result = commit_below(commit, commit->fs->layer->writable, commit->fs->layer->stage,
				      &commit->staged);
	for (size_t i = 0; i < commit->later.count && result == 0; i++)
		result = place_later(commit, commit->later.list[i] - 1);
	/* The list grows by what is in the way; and what nothing led to may turn up there. */
	do {
		known = commit->staged.count;
		commit->found = false;
		for (size_t i = 0; i < commit->staged.count && result == 0; i++)
			result = place_again(commit, commit->staged.list[i], ret_wanted);
		for (size_t i = 0; i < commit->staged.count && result == 0; i++)
			result = empty_unwanted(commit, commit->staged.list[i], ret_wanted);
	} while (result == 0 && (commit->staged.count > known || commit->found));
	for (size_t i = 0; i < commit->staged.count && result == 0 && !*ret_wanted; i++)
		result = let_go(commit, commit->staged.list[i]);
	return result;
}

/* As the layer has it then, and as it will after kill -9. */
static int clear_stage_stopped(struct commit *commit, bool *ret_wanted)
{
	int result;

	layer_stop_begin(commit->fs);
	commit->stopped = true;
	result = keep_commit(commit->fs);
	if (result == 0)
		result = clear_stage(commit, ret_wanted);
	commit->stopped = false;
	layer_stop_end(commit->fs);
	return result;
}

int commit_stage_end(struct commit *commit)
{
	struct layer *layer = commit->fs->layer;
	bool wanted;
	int result;
	const struct statx *before = &commit->root_before;
	struct timespec times[] = {{before->stx_atime.tv_sec, before->stx_atime.tv_nsec},
				   {before->stx_mtime.tv_sec, before->stx_mtime.tv_nsec}};

	if (!layer->stage_left)
		return 0;
	/* One that was killed may have left it, with nothing more to do there. */
	if (commit->stage < 0) {
		commit->stage = openat(layer->writable, layer->stage,
				       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		commit->stage_was_there = commit->stage >= 0;
	}
	if (commit->stage < 0) {
		layer->stage_left = errno != ENOENT;
		return errno == ENOENT ? 0 : -errno;
	}
	result = let_go_in_place(commit);
	if (result < 0)
		return result;
	do {
		wanted = false;
		result = clear_stage_stopped(commit, &wanted);
		if (result == 0 && wanted)
			result = commit_make(commit);
	} while (result == 0 && wanted);
	if (result == 0)
		result = commit_remove_tree(layer->writable, layer->stage);
	if (result == 0) {
		layer->stage_left = false;
		/* It came and went in a directory whose time the layer may not have changed; else it is set later. */
		futimens(layer->writable, times);
	}
	close_fd(&commit->stage);
	return result;
}
