/* SPDX-License-Identifier: MIT */
#include "layer/xattrs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs.h"
#include "layer/acl.h"
#include "layer/layer.h"
#include "layer/name_list.h"
#include "layer/stack.h"
#include "util.h"

#define CAPABILITY "security.capability"

/* The xattr calls take no O_PATH descriptor, but they do take its link in /proc. */
struct backing_link {
	struct fd_use use;
	char path[32];
};

static void link_end(struct backing_link *link)
{
	fd_use_end(&link->use);
}

static int link_to(struct fs *fs, struct inode *inode, struct backing_link *ret_link)
{
	int result;

	ret_link->use = FD_USE_NONE;
	result = inode_fd(fs, inode, FD_PATH, &ret_link->use);
	snprintf(ret_link->path, sizeof(ret_link->path), "/proc/self/fd/%d", ret_link->use.fd);
	return result;
}

/* The value of one of BACKING's. It may change its size between the two questions. */
static ssize_t backing_get(const char *path, const char *name, void **ret_value)
{
	for (;;) {
		ssize_t size = getxattr(path, name, NULL, 0), got;
		CLEANUP(free_pointer) char *value = NULL;

		if (size < 0)
			return -errno;
		value = malloc((size_t)size + 1);
		if (value == NULL)
			return -ENOMEM;
		got = getxattr(path, name, value, (size_t)size);
		if (got < 0 && errno == ERANGE)
			continue;
		if (got < 0)
			return -errno;
		*ret_value = value;
		value = NULL;
		return got;
	}
}

static ssize_t backing_list(const char *path, char **ret_list)
{
	for (;;) {
		ssize_t size = listxattr(path, NULL, 0), got;
		CLEANUP(free_pointer) char *list = NULL;

		if (size < 0)
			return errno == EOPNOTSUPP ? 0 : -errno;
		list = malloc((size_t)size + 1);
		if (list == NULL)
			return -ENOMEM;
		got = listxattr(path, list, (size_t)size);
		if (got < 0 && errno == ERANGE)
			continue;
		if (got < 0)
			return -errno;
		*ret_list = list;
		list = NULL;
		return got;
	}
}

static bool owns_xattrs(const struct node *node)
{
	return !node->has_origin || (atomic_load(&node->own) & OWN_XATTRS);
}

ssize_t layer_xattr_get(struct fs *fs, struct inode *inode, const char *name, void **ret_value)
{
	CLEANUP(link_end) struct backing_link link = {.use = FD_USE_NONE};
	struct layer_db *db;
	struct node *node;
	uint64_t id;
	int result = layer_node(fs, inode, &node);

	if (result < 0)
		return result;
	if (owns_xattrs(node)) {
		LOCK_SCOPE(&fs->layer->lock);
		stack_xattrs_locked(fs, node, &db, &id);
		return db_xattr_get(db, id, name, ret_value);
	}
	result = link_to(fs, inode, &link);
	if (result < 0)
		return result == -ESTALE ? -ENODATA : result;
	return backing_get(link.path, name, ret_value);
}

static int name_add(void *context, const char *name)
{
	return name_list_add(context, name);
}

ssize_t layer_xattr_list(struct fs *fs, struct inode *inode, char **ret_list)
{
	CLEANUP(link_end) struct backing_link link = {.use = FD_USE_NONE};
	struct name_list list = {0};
	struct layer_db *db;
	struct node *node;
	uint64_t id;
	int result = layer_node(fs, inode, &node);

	*ret_list = NULL;
	if (result < 0)
		return result;
	if (!owns_xattrs(node)) {
		result = link_to(fs, inode, &link);
		if (result < 0)
			return result == -ESTALE ? 0 : result;
		return backing_list(link.path, ret_list);
	}
	LOCK_SCOPE(&fs->layer->lock);
	stack_xattrs_locked(fs, node, &db, &id);
	result = db_xattrs(db, id, name_add, &list);
	if (result < 0) {
		free(list.names);
		return result;
	}
	*ret_list = list.names;
	return (ssize_t)list.length;
}

/* Has the layer the object's extended attributes, from here on? What may not be read is left behind. */
static int own_xattrs(struct fs *fs, struct tx_node *taken)
{
	CLEANUP(link_end) struct backing_link link = {.use = FD_USE_NONE};
	CLEANUP(free_pointer) char *list = NULL;
	ssize_t length;
	int result;

	if (owns_xattrs(taken->node) || (taken->set & OWN_XATTRS))
		return 0;
	result = link_to(fs, taken->inode, &link);
	length = result < 0 ? 0 : backing_list(link.path, &list);
	if (length < 0 && length != -EACCES)
		return (int)length;
	for (ssize_t at = 0; list != NULL && at < length; at += (ssize_t)strlen(list + at) + 1) {
		CLEANUP(free_pointer) void *value = NULL;
		ssize_t size = backing_get(link.path, list + at, &value);

		if (size < 0 && size != -ENODATA && size != -EACCES && size != -EPERM)
			return (int)size;
		result = size < 0 ? 0
				  : db_xattr_put(fs->layer->db, atomic_load(&taken->node->id), list + at,
						 value, (size_t)size);
		if (result < 0)
			return result;
	}
	taken->set |= OWN_XATTRS;
	return 0;
}

/* chmod(2): an access ACL follows the mode. */
static int change_mode(struct fs *fs, struct tx_node *taken, mode_t mode)
{
	CLEANUP(free_pointer) void *acl = NULL;
	ssize_t size = S_ISLNK(taken->inode->type) ? -ENODATA
						   : layer_xattr_get(fs, taken->inode, ACL_ACCESS, &acl);
	int result = 0;

	taken->stx.stx_mode = (uint16_t)((taken->stx.stx_mode & S_IFMT) | (mode & 07777));
	if (size > 0 && acl_is_valid(acl, (size_t)size)) {
		acl_set_mode(acl, (size_t)size, mode);
		result = own_xattrs(fs, taken);
		if (result == 0)
			result = db_xattr_put(fs->layer->db, atomic_load(&taken->node->id), ACL_ACCESS, acl,
					      (size_t)size);
	}
	return result;
}

mode_t mode_after_write(mode_t mode, bool keeps_setgid)
{
	mode &= ~(mode_t)S_ISUID;
	if ((mode & S_ISGID) && ((mode & S_IXGRP) || !keeps_setgid))
		mode &= ~(mode_t)S_ISGID;
	return mode;
}

/* A change of owner takes privileges away. */
static int drop_privileges(struct fs *fs, struct tx_node *taken, bool keeps_setgid)
{
	CLEANUP(free_pointer) void *value = NULL;
	int result = 0;

	if (S_ISDIR(taken->inode->type))
		return 0;
	taken->stx.stx_mode = (uint16_t)mode_after_write(taken->stx.stx_mode, keeps_setgid);
	if (S_ISREG(taken->inode->type) && layer_xattr_get(fs, taken->inode, CAPABILITY, &value) >= 0) {
		result = own_xattrs(fs, taken);
		if (result == 0)
			result = db_xattr_delete(fs->layer->db, atomic_load(&taken->node->id), CAPABILITY);
	}
	return result;
}

static int change_attributes(struct fs *fs, struct tx_node *taken, const struct attribute_change *change)
{
	int result = 0;

	tx_touch(taken, 0);
	if (change->uid_set || change->gid_set)
		result = drop_privileges(fs, taken, change->keeps_setgid);
	if (change->uid_set)
		taken->stx.stx_uid = change->uid;
	if (change->gid_set)
		taken->stx.stx_gid = change->gid;
	if (result == 0 && change->mode_set)
		result = change_mode(fs, taken, change->mode);
	if (change->atime_set)
		taken->stx.stx_atime = change->atime;
	if (change->mtime_set) {
		taken->stx.stx_mtime = change->mtime;
		taken->set |= OWN_MTIME;
	}
	return result;
}

int layer_change(struct fs *fs, struct inode *inode, const struct attribute_change *change)
{
	struct tx_node *taken;
	struct tx tx;
	int result;

	tx_begin(fs, &tx);
	result = tx_node(&tx, inode, &taken);
	if (result == 0)
		result = tx_change(&tx);
	if (result == 0)
		result = change_attributes(fs, taken, change);
	return tx_end(&tx, result);
}

/* One without entries takes it away, as the kernel has it. */
static bool is_no_acl(const void *value, size_t size)
{
	return value == NULL || size <= 4;
}

/* An access ACL is the mode as well, and nothing else where the mode says all of it. */
static int set_acl(struct fs *fs, struct tx_node *taken, const char *name, const void *value, size_t size,
		   bool kill_setgid)
{
	uint64_t id = atomic_load(&taken->node->id);
	bool access = strcmp(name, ACL_ACCESS) == 0;
	/* In a request the value stands wherever the name ends; an ACL's entries are aligned. */
	CLEANUP(free_pointer) char *acl = value == NULL ? NULL : copy_text(value, size);
	mode_t mode;

	if (value != NULL && acl == NULL)
		return -ENOMEM;
	if (S_ISLNK(taken->inode->type))
		return -EOPNOTSUPP;
	if (!access && !S_ISDIR(taken->inode->type))
		return value == NULL ? 0 : -EACCES;
	if (is_no_acl(value, size))
		return db_xattr_delete(fs->layer->db, id, name);
	if (!acl_is_valid(acl, size))
		return -EINVAL;
	if (!access)
		return db_xattr_put(fs->layer->db, id, name, value, size);
	if (acl_mode(acl, size, taken->stx.stx_mode, &mode))
		value = NULL;
	if (kill_setgid)
		mode &= ~(mode_t)S_ISGID;
	taken->stx.stx_mode = (uint16_t)mode;
	return value == NULL ? db_xattr_delete(fs->layer->db, id, name)
			     : db_xattr_put(fs->layer->db, id, name, value, size);
}

static int set_plain(struct fs *fs, struct tx_node *taken, const char *name, const void *value, size_t size,
		     int flags)
{
	uint64_t id = atomic_load(&taken->node->id);
	CLEANUP(free_pointer) void *before = NULL;
	ssize_t there = db_xattr_get(fs->layer->db, id, name, &before);

	if (there < 0 && there != -ENODATA)
		return (int)there;
	if (there >= 0 && (flags & XATTR_CREATE))
		return -EEXIST;
	if (there < 0 && (value == NULL || (flags & XATTR_REPLACE)))
		return -ENODATA;
	if (value == NULL)
		return db_xattr_delete(fs->layer->db, id, name);
	if (strcmp(name, CAPABILITY) == 0) {
		pthread_rwlock_wrlock(&taken->node->lock);
		taken->node->capability = true;
		pthread_rwlock_unlock(&taken->node->lock);
	}
	return db_xattr_put(fs->layer->db, id, name, value, size);
}

/* Names of other kinds mean something to a file system of their own only. */
static bool is_kept(const char *name)
{
	static const char *const kinds[] = {"user.", "trusted.", "security."};

	for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
		if (strncmp(name, kinds[i], strlen(kinds[i])) == 0)
			return name[strlen(kinds[i])] != '\0';
	}
	return false;
}

int layer_xattr_set(struct fs *fs, struct inode *inode, const char *name, const void *value, size_t size,
		    int flags, bool kill_setgid)
{
	bool acl = strcmp(name, ACL_ACCESS) == 0 || strcmp(name, ACL_DEFAULT) == 0;
	CLEANUP(free_pointer) void *before = NULL;
	struct tx_node *taken;
	struct tx tx;
	int result;

	if (!acl && !is_kept(name))
		return -EOPNOTSUPP;
	/* Removing an ACL that is not there is no change, and no error. */
	if (acl && is_no_acl(value, size) && layer_xattr_get(fs, inode, name, &before) == -ENODATA)
		return 0;
	tx_begin(fs, &tx);
	result = tx_node(&tx, inode, &taken);
	if (result == 0)
		result = tx_change(&tx);
	if (result == 0)
		result = own_xattrs(fs, taken);
	if (result == 0) {
		tx_touch(taken, 0);
		result = acl ? set_acl(fs, taken, name, value, size, kill_setgid)
			     : set_plain(fs, taken, name, value, size, flags);
	}
	return tx_end(&tx, result);
}
