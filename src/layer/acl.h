/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_LAYER_ACL_H
#define MEMMAPFS_LAYER_ACL_H

/*
 * POSIX ACLs as system.posix_acl_access and system.posix_acl_default carry them: what a file system does with
 * one when a mode changes or an object is made. Knows bytes and modes only.
 *
 * See: acl(5); include/uapi/linux/posix_acl_xattr.h
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

/** acl_is_valid() - is this an ACL whose entries are complete and in order? */
bool acl_is_valid(const void *acl, size_t size);

/**
 * acl_mode() - the mode bits that an access ACL stands for
 * @mode:     the file's, whose type and set-id bits are kept
 * @ret_mode: set in any case
 *
 * Return: true where the mode says it all and the ACL need not be kept.
 */
bool acl_mode(const void *acl, size_t size, mode_t mode, mode_t *ret_mode);

/** acl_set_mode() - change an access ACL in place as chmod(2) to @mode does */
void acl_set_mode(void *acl, size_t size, mode_t mode);

/**
 * acl_inherit() - make the access ACL of a new object, in place, from a copy of its directory's default ACL
 * @mode: asked for by the creator; no umask applies
 *
 * Return: the mode that the object gets.
 */
mode_t acl_inherit(void *acl, size_t size, mode_t mode);

#endif
