/* SPDX-License-Identifier: MIT */
/*
 * Happy path: of each record that stands for an object of the old BACKING the path there is put together from names:
 * of what was moved or removed the name that is noted where it was taken from, of the rest the name that it has still.
 * The object that the new BACKING has there is what the record stands for from here on; likewise what whiteouts stand
 * for. First all of it is looked up, by what the records say; then all is written, in one transaction.
 *
 * Failure modes: whatever fails before that leaves the layer as it was.
 */
#include "layer/adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "layer/home.h"
#include "layer/layer.h"
#include "layer/origin.h"
#include "util.h"

/* No tree is deeper: a path has no more names. */
#define DEPTH_MAX PATH_MAX

/* Of name_to_handle_at(2): an inode number and a generation, of 32 bits each. */
#define DEAD_HANDLE_TYPE 1
#define DEAD_HANDLE_BYTES 8

/* A name, and what the old BACKING had under it, where the layer has removed that or put something over it. */
struct place {
	struct identity_key key;
	uint64_t parent, node;
	char *name;
	struct statx now; /* what the new one has there; inode number 0: nothing */
};

/* What a record stands for from here on. */
struct change {
	uint64_t id;
	bool found;
	struct statx stx; /* of what was found */
	struct identity_handle *handle;
	char *path; /* without a handle */
};

struct adopting {
	struct home home;
	char *backing;
	int root;
	struct statx root_stx;
	bool force;
	struct place *places; /* by key */
	size_t place_count;
	struct change *changes;
	size_t count;
	struct adopted result;
	char **ret_error;
};

static void adopting_fini(struct adopting *adopting)
{
	for (size_t i = 0; i < adopting->place_count; i++)
		free(adopting->places[i].name);
	free(adopting->places);
	for (size_t i = 0; i < adopting->count; i++) {
		free(adopting->changes[i].handle);
		free(adopting->changes[i].path);
	}
	free(adopting->changes);
	free(adopting->backing);
	close_fd(&adopting->root);
	home_close(&adopting->home);
}

/* What the new BACKING has at a path, on the file system of its root: a kept layer knows no other. */
static int look(const struct adopting *adopting, const char *path, struct statx *ret_stx)
{
	const struct statx *root = &adopting->root_stx;

	if (statx(adopting->root, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH,
		  STATX_BASIC_STATS | STATX_BTIME, ret_stx) < 0)
		return -errno;
	return ret_stx->stx_dev_major == root->stx_dev_major && ret_stx->stx_dev_minor == root->stx_dev_minor
		       ? 0
		       : -ENOENT;
}

static int path_of(struct adopting *adopting, uint64_t id, unsigned depth, char **ret_path);

/* The path of a name in the old BACKING; -ENOENT where its directory was none there. */
static int path_of_name(struct adopting *adopting, uint64_t parent, const char *name, unsigned depth,
			char **ret_path)
{
	CLEANUP(free_pointer) char *above = NULL;
	int result = path_of(adopting, parent, depth + 1, &above);

	if (result < 0)
		return result;
	return asprintf(ret_path, "%s%s%s", above, *above == '\0' ? "" : "/", name) < 0 ? -ENOMEM : 0;
}

static int compare_keys(const struct identity_key *a, const struct identity_key *b)
{
	if (a->ino != b->ino)
		return a->ino < b->ino ? -1 : 1;
	return (a->birth_ns > b->birth_ns) - (a->birth_ns < b->birth_ns);
}

static int compare_places(const void *a, const void *b)
{
	const struct place *one = a, *other = b;

	return compare_keys(&one->key, &other->key);
}

/* The name under which the old BACKING had an object: first one that the layer took from it, then one that it has. */
static int path_by_names(struct adopting *adopting, const struct node_row *row, unsigned depth,
			 char **ret_path)
{
	const struct place wanted = {.key = row->origin}, *place = NULL;
	int result = -ENOENT;

	if (adopting->place_count > 0)
		place = bsearch(&wanted, adopting->places, adopting->place_count, sizeof(wanted),
				compare_places);
	if (place != NULL)
		return path_of_name(adopting, place->parent, place->name, depth, ret_path);
	for (uint64_t index = 0; result == -ENOENT; index++) {
		CLEANUP(db_named_fini) struct db_named named = {0};

		result = db_entry_of(adopting->home.db, row->id, index, &named);
		if (result < 0)
			return result;
		/* There the layer has moved or linked it. */
		result = named.removed.known
				 ? -ENOENT
				 : path_of_name(adopting, named.parent, named.name, depth, ret_path);
	}
	return result;
}

static int path_of(struct adopting *adopting, uint64_t id, unsigned depth, char **ret_path)
{
	struct node_row row;
	int result;

	if (id == LAYER_ROOT)
		return (*ret_path = strdup("")) == NULL ? -ENOMEM : 0;
	if (depth > DEPTH_MAX)
		return -ELOOP;
	result = db_node_load(adopting->home.db, id, &row);
	if (result < 0)
		return result;
	if (!row.has_origin) {
		result = -ENOENT;
	} else if (row.path != NULL) {
		*ret_path = row.path;
		row.path = NULL;
	} else {
		result = path_by_names(adopting, &row, depth, ret_path);
	}
	db_row_fini(&row);
	return result;
}

/* Room for one more, where there is some for the next power of two from @count on; NULL without memory. */
static void *grow(void *list, size_t count, size_t size)
{
	return (count & (count - 1)) == 0 ? reallocarray(list, MAX(2 * count, 1), size) : list;
}

static int add_place(struct adopting *adopting, struct db_named *named)
{
	struct place *places = grow(adopting->places, adopting->place_count, sizeof(places[0]));

	if (places == NULL)
		return -ENOMEM;
	adopting->places = places;
	places[adopting->place_count] = (struct place){.key = named->removed_key,
						       .parent = named->parent,
						       .node = named->entry.node,
						       .name = strdup(named->name)};
	return places[adopting->place_count++].name == NULL ? -ENOMEM : 0;
}

static int collect_places(struct adopting *adopting)
{
	CLEANUP(db_named_fini) struct db_named at = {.name = strdup("")};
	int result = at.name == NULL ? -ENOMEM : 0;

	while (result == 0) {
		struct db_named next;

		result = db_entry_next(adopting->home.db, at.parent, at.name, &next);
		if (result < 0)
			break;
		db_named_fini(&at);
		at = next;
		if (at.removed.known && at.removed_key.ino != 0)
			result = add_place(adopting, &at);
	}
	if (adopting->place_count > 0)
		qsort(adopting->places, adopting->place_count, sizeof(adopting->places[0]), compare_places);
	return result == -ENOENT ? 0 : result;
}

/* Is it what the layer has taken pages of? Its change time is not compared: no copy has the same. */
static bool is_same(const struct origin_state *before, const struct statx *now)
{
	return !before->known ||
	       (before->size == now->stx_size && packed_time_is(before->mtime, now->stx_mtime));
}

static int adopt_node(struct adopting *adopting, const struct node_row *row)
{
	CLEANUP(free_pointer) char *path = NULL;
	struct change change = {.id = row->id}, *changes, *added;
	int result = path_of(adopting, row->id, 0, &path);

	if (result == 0)
		result = look(adopting, path, &change.stx);
	if (result == 0 && (change.stx.stx_mode & S_IFMT) != (row->stx.stx_mode & S_IFMT))
		result = -ENOENT;
	if (result < 0 && result != -ENOENT && result != -ENOTDIR)
		return result;
	change.found = result == 0;
	if (!adopting->force && (row->own & OWN_CONTENT) && S_ISREG(row->stx.stx_mode) &&
	    (!change.found || !is_same(&row->before, &change.stx)))
		return home_refuse(adopting->ret_error, -ESTALE,
				   "'%s', which the layer has pages of, is %s in '%s'; nothing was changed",
				   path == NULL ? "a file whose place is not known" : path,
				   change.found ? "another file, by its size or time," : "not",
				   adopting->backing);
	adopting->result.found += change.found;
	adopting->result.missing += !change.found;
	changes = grow(adopting->changes, adopting->count, sizeof(changes[0]));
	if (changes == NULL)
		return -ENOMEM;
	adopting->changes = changes;
	added = &changes[adopting->count++];
	*added = change;
	if (!change.found)
		return 0;
	/* Who may not have one opens it by its path. */
	if (identity_handle_new(adopting->root, path, 0, &added->handle) < 0) {
		added->path = path;
		path = NULL;
	}
	return 0;
}

static int adopt_nodes(struct adopting *adopting)
{
	struct node_row row;
	uint64_t id = 0;
	int result;

	while ((result = db_node_next(adopting->home.db, id, &row)) == 0) {
		id = row.id;
		result = row.has_origin ? adopt_node(adopting, &row) : 0;
		db_row_fini(&row);
		if (result < 0)
			return result;
	}
	return result == -ENOENT ? 0 : result;
}

static int adopt_places(struct adopting *adopting)
{
	for (size_t i = 0; i < adopting->place_count; i++) {
		struct place *place = &adopting->places[i];
		CLEANUP(free_pointer) char *path = NULL;
		int result = path_of_name(adopting, place->parent, place->name, 0, &path);

		if (result == 0)
			result = look(adopting, path, &place->now);
		if (result < 0)
			place->now = (struct statx){0};
		if (result < 0 && result != -ENOENT && result != -ENOTDIR)
			return result;
	}
	return 0;
}

/* A handle that leads to nothing on any file system: inode number 0. */
static struct identity_handle *dead_handle(void)
{
	struct identity_handle *handle = calloc(1, sizeof(*handle) + DEAD_HANDLE_BYTES);

	if (handle != NULL) {
		handle->type = DEAD_HANDLE_TYPE;
		handle->bytes = DEAD_HANDLE_BYTES;
	}
	return handle;
}

/* At first every record stands for nothing, so that no two stand for one object meanwhile. */
static int release_node(struct layer_db *db, uint64_t id)
{
	struct node_row row;
	int result = db_node_load(db, id, &row);

	if (result < 0)
		return result;
	free(row.handle);
	free_pointer(&row.path);
	row.origin = (struct identity_key){.ino = row.id};
	row.handle = dead_handle();
	result = row.handle == NULL ? -ENOMEM : db_node_adopt(db, &row);
	db_row_fini(&row);
	return result;
}

static int bind_node(struct adopting *adopting, struct change *change)
{
	struct layer_db *db = adopting->home.db;
	struct identity_key key = identity_of_statx(&change->stx);
	struct node_row row;
	int result;

	key.dev = 0;
	result = db_node_by_origin(db, &key, &row);
	if (result == 0) {
		db_row_fini(&row);
		return home_refuse(
			adopting->ret_error, -EEXIST,
			"two files that the layer has changes of are one in '%s'; nothing was changed",
			adopting->backing);
	}
	result = result == -ENOENT ? db_node_load(db, change->id, &row) : result;
	if (result < 0)
		return result;
	free(row.handle);
	free(row.path);
	row.handle = change->handle;
	row.path = change->path;
	change->handle = NULL;
	change->path = NULL;
	row.origin = key;
	row.before = origin_state(&change->stx);
	result = db_node_adopt(db, &row);
	db_row_fini(&row);
	return result;
}

static int write_all(struct adopting *adopting)
{
	struct backing_fact now = {adopting->root_stx.stx_ino,
				   identity_of_statx(&adopting->root_stx).birth_ns};
	struct layer_db *db = adopting->home.db;
	int result = 0;

	for (size_t i = 0; i < adopting->count && result == 0; i++)
		result = release_node(db, adopting->changes[i].id);
	for (size_t i = 0; i < adopting->count && result == 0; i++) {
		if (adopting->changes[i].found)
			result = bind_node(adopting, &adopting->changes[i]);
	}
	for (size_t i = 0; i < adopting->place_count && result == 0; i++) {
		const struct place *place = &adopting->places[i];

		result = db_entry_cover(db, place->parent, place->name, place->node, &place->now);
	}
	if (result == 0)
		result = db_fact_put(db, FACT_BACKING, &now, sizeof(now));
	return result < 0 ? result : db_fact_put(db, FACT_PATH, adopting->backing, strlen(adopting->backing));
}

/* Does the layer lie in the new BACKING? */
static bool lies_below(const char *path, const char *directory)
{
	size_t length = strlen(directory);

	return strncmp(path, directory, length) == 0 &&
	       (path[length] == '/' || path[length] == '\0' || directory[length - 1] == '/');
}

static int open_both(struct adopting *adopting, const char *path, const char *backing)
{
	char holder[32];
	int result;

	adopting->backing = realpath(backing, NULL);
	if (adopting->backing != NULL)
		adopting->root = open(adopting->backing, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (adopting->root < 0 || statx(adopting->root, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME,
					&adopting->root_stx) < 0) {
		result = -errno;
		return home_refuse(adopting->ret_error, result, "'%s': %s", backing, strerror(-result));
	}
	snprintf(holder, sizeof(holder), "process %d", (int)getpid());
	/* One that is not there must not be made, as opening it to be written does. */
	result = home_open_shared(path, holder, &adopting->home, adopting->ret_error);
	if (result < 0)
		return result;
	home_close(&adopting->home);
	result = home_open(path, holder, &adopting->home, adopting->ret_error);
	if (result == 0 && lies_below(adopting->home.path, adopting->backing))
		result = home_refuse(adopting->ret_error, -EINVAL,
				     "layer '%s' lies in '%s', which a layer must not change", path, backing);
	return result;
}

static int check_state(struct adopting *adopting)
{
	CLEANUP(home_stack_fini) struct home_stack stack = {0};
	CLEANUP(free_pointer) void *note = NULL;
	struct home *home = &adopting->home;
	int result = home_stack_read(home->db, &stack);

	if (result < 0)
		return result;
	if (stack.count > 0)
		return home_refuse(adopting->ret_error, -ENOTSUP,
				   "layer '%s' lies over '%s', and both would have to change at once",
				   home->path, stack.below[0].path);
	if (db_fact_get(home->db, FACT_COMMIT, &note) > 0)
		return home_refuse(
			adopting->ret_error, -EBUSY,
			"a commit of layer '%s' was interrupted; repeat it first, over its own BACKING",
			home->path);
	return 0;
}

int adopt_layer(const char *path, const char *backing, bool force, struct adopted *ret_adopted,
		char **ret_error)
{
	CLEANUP(adopting_fini)
	struct adopting adopting = {.home = HOME_NONE, .root = -1, .force = force, .ret_error = ret_error};
	bool changed;
	int result;

	*ret_error = NULL;
	result = open_both(&adopting, path, backing);
	if (result == 0)
		result = check_state(&adopting);
	if (result == 0)
		result = collect_places(&adopting);
	if (result == 0)
		result = adopt_places(&adopting);
	if (result == 0)
		result = adopt_nodes(&adopting);
	if (result == 0)
		result = db_begin(adopting.home.db);
	if (result < 0)
		return result;
	result = db_end(adopting.home.db, write_all(&adopting));
	if (result == 0)
		result = db_commit(adopting.home.db, &changed);
	if (result == 0)
		result = db_settle(adopting.home.db);
	if (result == 0)
		*ret_adopted = adopting.result;
	return result;
}
