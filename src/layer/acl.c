/* SPDX-License-Identifier: MIT */
#include "layer/acl.h"

#include <endian.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdint.h>
#include <sys/stat.h>

static size_t count_of(size_t size)
{
	return (size - sizeof(struct posix_acl_xattr_header)) / sizeof(struct posix_acl_xattr_entry);
}

static struct posix_acl_xattr_entry *entries_of(void *acl)
{
	return (struct posix_acl_xattr_entry *)((struct posix_acl_xattr_header *)acl + 1);
}

static unsigned tag_of(const struct posix_acl_xattr_entry *entry)
{
	return le16toh(entry->e_tag);
}

static unsigned permissions_of(const struct posix_acl_xattr_entry *entry)
{
	return le16toh(entry->e_perm);
}

static struct posix_acl_xattr_entry *find(void *acl, size_t size, unsigned tag)
{
	struct posix_acl_xattr_entry *entries = entries_of(acl);

	for (size_t i = 0; i < count_of(size); i++) {
		if (tag_of(&entries[i]) == tag)
			return &entries[i];
	}
	return NULL;
}

bool acl_is_valid(const void *acl, size_t size)
{
	const struct posix_acl_xattr_header *header = acl;
	const struct posix_acl_xattr_entry *entries = (const void *)(header + 1);
	bool named = false;
	unsigned before = 0, seen = 0;

	if (size < sizeof(*header) || (size - sizeof(*header)) % sizeof(entries[0]) != 0 ||
	    le32toh(header->a_version) != POSIX_ACL_XATTR_VERSION)
		return false;
	for (size_t i = 0; i < count_of(size); i++) {
		unsigned tag = tag_of(&entries[i]);
		bool many = tag == ACL_USER || tag == ACL_GROUP;

		if (tag < before || (tag == before && !many) || permissions_of(&entries[i]) > 7)
			return false;
		if (tag != ACL_USER_OBJ && tag != ACL_GROUP_OBJ && tag != ACL_MASK && tag != ACL_OTHER &&
		    !many)
			return false;
		named |= many;
		seen |= tag;
		before = tag;
	}
	return (seen & ACL_USER_OBJ) && (seen & ACL_GROUP_OBJ) && (seen & ACL_OTHER) &&
	       (!named || (seen & ACL_MASK));
}

bool acl_mode(const void *acl, size_t size, mode_t mode, mode_t *ret_mode)
{
	struct posix_acl_xattr_entry *entries = entries_of((void *)acl);
	bool plain = true;
	mode_t group = 0, bits = 0;

	for (size_t i = 0; i < count_of(size); i++) {
		mode_t permissions = permissions_of(&entries[i]);

		switch (tag_of(&entries[i])) {
		case ACL_USER_OBJ:
			bits |= permissions << 6;
			break;
		case ACL_GROUP_OBJ:
			group = plain ? permissions : group;
			break;
		case ACL_OTHER:
			bits |= permissions;
			break;
		case ACL_MASK:
			group = permissions;
			plain = false;
			break;
		default:
			plain = false;
		}
	}
	/* Entries are in order: the mask, which is the mode's group bits, comes after the group. */
	*ret_mode = (mode & ~(mode_t)0777) | bits | group << 3;
	return plain;
}

static void set_permissions(struct posix_acl_xattr_entry *entry, mode_t permissions)
{
	if (entry != NULL)
		entry->e_perm = htole16((uint16_t)(permissions & 7));
}

void acl_set_mode(void *acl, size_t size, mode_t mode)
{
	struct posix_acl_xattr_entry *mask = find(acl, size, ACL_MASK);

	set_permissions(find(acl, size, ACL_USER_OBJ), mode >> 6);
	set_permissions(mask != NULL ? mask : find(acl, size, ACL_GROUP_OBJ), mode >> 3);
	set_permissions(find(acl, size, ACL_OTHER), mode);
}

mode_t acl_inherit(void *acl, size_t size, mode_t mode)
{
	mode_t granted;

	acl_mode(acl, size, mode, &granted);
	/* Neither more than the creator asked for nor more than the directory grants. */
	granted = (mode & ~(mode_t)0777) | (granted & mode & 0777);
	acl_set_mode(acl, size, granted);
	return granted;
}
