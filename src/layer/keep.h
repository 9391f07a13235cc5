/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_KEEP_H
#define MEMMAPFS_LAYER_KEEP_H

/*
 * Layers that outlive the daemon: a directory with the database (layer.db and its log), the page files
 * (pages/ID) and a lock file that says who holds it. What each call does of a layer in memory is said there.
 *
 * In a database, also in memory, a device of 0 stands for the one that BACKING's root is on, whose number may be another the
 * next time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fs;
struct inode;
struct layer;
struct node;

/**
 * keep_open() - open the layer in a directory, which is made if it is not there, with what lies below it
 * @ret_error: one line for the user on failure; the caller frees it
 *
 * Return: 0, or
 *   -EBUSY     another daemon holds it
 *   -EXDEV     it belongs to another BACKING, or lies over other layers; see stack_open()
 *   -ENOTEMPTY the directory has other things in it
 *   -EINVAL    it lies in BACKING
 *   -EPROTO, -EUCLEAN as db_open(), or -errno of opening what is there
 */
int keep_open(struct fs *fs, const char *path, char **ret_error);

/** keep_opened() - the layer is complete: commit it. In memory: nothing. Return: as keep_commit(). */
int keep_opened(struct fs *fs);
/** keep_holder() - what is said of this process where it holds a layer to write it; malloc'ed or NULL */
char *keep_holder(const struct fs *fs);

/**
 * keep_backing() - the BACKING that the layer in a directory was last mounted over; malloc'ed
 *
 * Return: 0, -ENOTDIR where there is no layer, or as keep_open().
 */
int keep_backing(const char *path, char **ret_backing, char **ret_error);

/**
 * keep_commit_begin() - note that a commit of these paths begins, and the name of its stage
 *
 * Locks: layer->lock. Return: 0 or -errno of the database.
 */
int keep_commit_begin(struct fs *fs, char *const *paths, size_t count);

/**
 * keep_commit_stage() - name the stage of the layer's commits: as the one that was interrupted has it, or else, and in
 * memory, by a random number, so that no other layer's has it
 * @ret_error: as keep_open()
 *
 * Before anybody is served. Return: 0, -EUCLEAN: what was noted is damaged, -errno of the database, or -EIO: no random number.
 */
int keep_commit_stage(struct fs *fs, char **ret_error);

/** keep_commit_end() - note that it has ended. Return: likewise. */
int keep_commit_end(struct fs *fs);

/**
 * keep_commit_noted() - the commit that was noted and has not ended
 * @ret_paths: malloc'ed, and each of them; none: everything. NULL: only asks
 *
 * Return: 1, 0 where there is none, or -errno of the database.
 */
int keep_commit_noted(struct fs *fs, char ***ret_paths, size_t *ret_count);

/** keep_closing() - note that the layer was closed as it should be. In memory: nothing. */
void keep_closing(struct fs *fs);

/** keep_device() - a device as databases have it, or one of a database as it is now */
uint64_t keep_device(const struct fs *fs, uint64_t dev);

/**
 * keep_has_room() - may so many bytes of pages be added?
 *
 * Some of the disk is left to the database: what has been changed must still be committed when pages have filled
 * the rest.
 */
bool keep_has_room(const struct fs *fs, uint64_t bytes);

/** keep_sync_pages() - put a node's page file onto the disk. In memory: nothing. Return: 0 or -errno. */
int keep_sync_pages(struct fs *fs, struct inode *inode, struct node *node);

/** keep_remove_locked() - a node's page file goes: now, or once it is on the disk that the node has gone */
void keep_remove_locked(struct fs *fs, uint64_t id);

/** keep_is_going_locked() - does a page file wait for the next commit, to be removed then? Locks: layer->lock. */
bool keep_is_going_locked(const struct layer *layer, uint64_t id);

/**
 * keep_commit() - have every change of names and attributes so far, and every record that was saved, on the disk
 *
 * In memory: nothing.
 *
 * Locks:  commit_lock, and layer->lock while the database commits; none of the layer's may be held.
 * Blocks: for the disk, and for others who commit.
 * Return: 0, -errno of the database or of fsync(2), or -EIO for ever once the database has lost changes.
 */
int keep_commit(struct fs *fs);

/**
 * keep_settle_locked() - as keep_commit(), and leave nothing in the log: as if the layer were closed
 *
 * Locks:  commit_lock and layer->lock are held.
 * Blocks: for the disk.
 * Return: as keep_commit().
 */
int keep_settle_locked(struct fs *fs);

/** keep_unsettle_locked() - the layer goes on being changed after all */
void keep_unsettle_locked(struct fs *fs);

/**
 * keep_sync() - fsync(2) of one inode: its pages, then its record, then everything else that is to be committed
 *
 * In memory: nothing.
 *
 * Return: 0, or -errno as keep_commit() and layer_save().
 */
int keep_sync(struct fs *fs, struct inode *inode);

#endif
