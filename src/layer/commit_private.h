/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_COMMIT_PRIVATE_H
#define MEMMAPFS_LAYER_COMMIT_PRIVATE_H

/*
 * What the files of a commit share. commit.c has the order of things, commit_select.c finds out what is to be
 * committed, commit_stage.c makes new objects, commit_follow.c finds objects again, commit_names.c gives, moves and
 * removes names, commit_clear.c ends the stage, commit_content.c writes bytes and attributes, commit_settle.c takes what
 * is done out of the layer.
 */

#include "layer/commit.h"
#include "layer/ids.h"
#include "layer/maintain.h"
#include "layer/subject.h"

/* A name of the layer: a node's, or a whiteout. */
struct commit_name {
	uint64_t parent;
	char *name;
	uint64_t node; /* or DB_WHITEOUT */
};

/* How far a node is. */
struct commit_node {
	uint64_t version; /* of the node when its content and attributes were read */
};

struct commit {
	struct fs *fs;
	bool force;
	bool whole;	/* no paths were given */
	bool stopped;	/* nobody is served, and the layer's records are on the disk */
	bool checked;	/* nobody else had changed anything in BACKING */
	bool finishing; /* what was interrupted: of its paths some may have been renamed since */
	const struct layer_stop *stop;
	char **ret_error;
	struct ids nodes;	  /* selected */
	struct commit_node *done; /* by index in nodes */
	size_t made;		  /* so many of nodes have been looked at by commit_make() */
	struct commit_name *names;
	size_t name_count, name_size;
	struct ids staged;	  /* nodes that have a name in the stage */
	struct ids later;	  /* one more than the index of names for which serving has to be stopped */
	bool stage_was_there;	  /* an interrupted try has left it */
	bool found;		  /* one of staged has got its name in the stage later than that */
	int stage;		  /* the directory in BACKING where things are prepared, or -1 */
	struct statx root_before; /* BACKING's root before that was made */
	unsigned trash;
	uint64_t objects;
	struct forgetting forgetting;
	struct ids followed;   /* nodes of which a descriptor is held, see commit_follow() */
	struct inode **inodes; /* theirs, in that order; with a lookup counted */
};

/** commit_fail() - say why in the command's reply, unless something was said. Return: @error. */
__attribute__((format(printf, 3, 4))) int commit_fail(struct commit *commit, int error, const char *format,
						      ...);

/** commit_add_name() - one more name; @name is copied. Return: 0 or -ENOMEM. */
int commit_add_name(struct commit *commit, uint64_t parent, const char *name, uint64_t node);

/** commit_select() - fill in nodes and names. Locks: serving, layer->lock. Return: 0 or -errno, said. */
int commit_select(struct commit *commit, char *const *paths, size_t count);

/**
 * commit_occupants() - the nodes of what is in the way of a name in BACKING, and below it, that the layer has a name for
 * @parent: the directory in BACKING
 * @there:  what is under the name
 * @nodes:  to which they are added
 *
 * Locks:  layer->lock.
 * Return: 0 or -errno.
 */
int commit_occupants(struct commit *commit, int parent, const char *name, const struct statx *there,
		     struct ids *nodes);

/** commit_below() - the nodes of all that is below a directory in BACKING and that the layer has a name for */
int commit_below(struct commit *commit, int parent, const char *name, struct ids *nodes);

/** commit_check() - -ESTALE where BACKING was changed meanwhile, said. Locks: likewise. */
int commit_check(struct commit *commit);

/** commit_open() - open what an inode stands for in BACKING, so that it can be written. Return: fd or -errno. */
int commit_open(struct fs *fs, struct inode *inode, int flags);

/**
 * commit_follow() - see to it that commit_open() finds a node's object until the end, whatever becomes of its names
 *
 * Where no handle leads to it, that takes a descriptor.
 *
 * Locks:  layer->lock.
 * Return: 0 or -errno; said where it is -EMFILE or -ENFILE.
 */
int commit_follow(struct commit *commit, uint64_t id);

/** commit_placed() - a file that is followed has got a name, by which it can be found from now on. Locks: layer->lock. */
void commit_placed(struct inode *inode, int directory, const char *name);

/**
 * commit_refresh() - where no handle leads to an object, its inode's descriptor is that of a name which is still there
 *
 * Locks: layer->lock; serving is stopped.
 */
void commit_refresh(struct commit *commit);

/** commit_follow_end() - of all of them */
void commit_follow_end(struct commit *commit);

/** commit_same() - is this the object that an inode stands for? */
bool commit_same(const struct inode *inode, const struct statx *stx);

/** commit_stage() - have the stage open, made if need be. Return: 0 or -errno, said. */
int commit_stage(struct commit *commit);

/** commit_stage_name() - a node's name there */
void commit_stage_name(uint64_t id, char ret_name[32]);

/** commit_remove_tree() - remove a name, if it is there, with all that is below it. Return: 0 or -errno. */
int commit_remove_tree(int parent, const char *name);

/** commit_stage_end() - remove the stage with all that is in it and that the layer shows nowhere. Return: 0 or -errno. */
int commit_stage_end(struct commit *commit);

/** commit_add_node() - one more that is selected, once commit_make() has been through the others. Return: 0 or -ENOMEM. */
int commit_add_node(struct commit *commit, uint64_t id);

/** commit_make() - make what those selected since the last time stand for, where BACKING has it not, in the stage. Return: 0 or -errno. */
int commit_make(struct commit *commit);

/** commit_secure() - see to it that no object that has to move loses its last name. Return: 0 or -errno, said. */
int commit_secure(struct commit *commit);

/** commit_secure_name() - give a node whose place this is not yet a name in the stage. Locks: layer->lock. Return: 0 or -errno. */
int commit_secure_name(struct commit *commit, const struct commit_name *name);

/**
 * commit_place_name() - make a name of BACKING what the layer has there, of what has a name in the stage
 *
 * What lies there and has another place in the layer gets a name in the stage; see commit->stopped.
 *
 * Locks:  layer->lock.
 * Return: 0, also where the layer has something else there by now; 1 where serving has to be stopped first; or -errno.
 */
int commit_place_name(struct commit *commit, const struct commit_name *name);

/** commit_is_right() - is the name the node's in BACKING already? Locks: layer->lock. */
bool commit_is_right(struct commit *commit, const struct commit_name *name, const struct subject *subject);

/** commit_throw_away() - move a name of BACKING into the stage, to be removed with it. Return: 0 or -errno. */
int commit_throw_away(struct commit *commit, int parent, const char *name);

/** commit_say_name() - why a name could not be changed. Return: @error. */
int commit_say_name(struct commit *commit, const struct commit_name *name, int error);

/** commit_place() - make BACKING's names those of the layer. Return: 0 or -errno, said. */
int commit_place(struct commit *commit);

/**
 * commit_fill() - write what bases have of a file into the one that was made for it in the stage
 *
 * Return: 0 or -errno; nothing is done where they have none.
 */
int commit_fill(struct commit *commit, struct inode *inode, const char *name);

/**
 * commit_write() - write content and attributes of a node into its object
 * @ret_version: of the node; what was changed since is not written
 *
 * Return: 0 or -errno, said.
 */
int commit_write(struct commit *commit, const struct subject *subject, uint64_t *ret_version);

/**
 * commit_note_before() - names that cover what is to be written, and are wrong about it: see db_covered_before()
 *
 * In the change that notes the commit, as nothing is known of that once it has been interrupted.
 *
 * Locks:  serving, layer->lock.
 * Return: 0 or -errno of the database.
 */
int commit_note_before(struct commit *commit);

/**
 * commit_note_failed() - it was checked and has ended with an error: its names' ctime is nobody else's change
 *
 * A kept layer's next commit does not ask.
 */
void commit_note_failed(struct commit *commit);

/** commit_sync() - of a kept layer: what was written to BACKING is on the disk. Return: 0 or -errno, said. */
int commit_sync(struct commit *commit);

/** commit_settle() - take what is in BACKING now out of the layer. Return: 0 or -errno. */
int commit_settle(struct commit *commit);

#endif
