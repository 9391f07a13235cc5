/* SPDX-License-Identifier: MIT */
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "layer/acl.h"
#include "unit.h"
#include "util.h"

struct acl {
	struct posix_acl_xattr_header header;
	struct posix_acl_xattr_entry entries[5];
};

#define ENTRY(tag, perm, id)                                                                                 \
	{                                                                                                    \
		.e_tag = (tag), .e_perm = (perm), .e_id = (id)                                               \
	}
#define PLAIN                                                                                                \
	{                                                                                                    \
		{POSIX_ACL_XATTR_VERSION},                                                                   \
		{                                                                                            \
			ENTRY(ACL_USER_OBJ, 7, ACL_UNDEFINED_ID), ENTRY(ACL_GROUP_OBJ, 5, ACL_UNDEFINED_ID), \
				ENTRY(ACL_OTHER, 1, ACL_UNDEFINED_ID)                                        \
		}                                                                                            \
	}
#define NAMED                                                                                                \
	{                                                                                                    \
		{POSIX_ACL_XATTR_VERSION},                                                                   \
		{                                                                                            \
			ENTRY(ACL_USER_OBJ, 7, ACL_UNDEFINED_ID), ENTRY(ACL_USER, 6, 1000),                  \
				ENTRY(ACL_GROUP_OBJ, 5, ACL_UNDEFINED_ID),                                   \
				ENTRY(ACL_MASK, 6, ACL_UNDEFINED_ID), ENTRY(ACL_OTHER, 1, ACL_UNDEFINED_ID)  \
		}                                                                                            \
	}

static size_t size_of(size_t entries)
{
	return sizeof(struct posix_acl_xattr_header) + entries * sizeof(struct posix_acl_xattr_entry);
}

/* What acl(5) asks of one. */
START_TEST(only_complete_and_ordered_acls_are_valid)
{
	struct acl plain = PLAIN, named = NAMED, wrong;

	ck_assert(acl_is_valid(&plain, size_of(3)));
	ck_assert(acl_is_valid(&named, size_of(5)));
	ck_assert(!acl_is_valid(&plain, size_of(2)));
	ck_assert(!acl_is_valid(&plain, size_of(3) - 1));
	ck_assert(!acl_is_valid(&plain, 3));
	wrong = plain;
	wrong.header.a_version = 7;
	ck_assert(!acl_is_valid(&wrong, size_of(3)));
	wrong = plain;
	wrong.entries[0].e_perm = 8;
	ck_assert(!acl_is_valid(&wrong, size_of(3)));
	wrong = named;
	wrong.entries[3] = named.entries[4];
	ck_assert_msg(!acl_is_valid(&wrong, size_of(4)), "a named entry needs a mask");
	wrong = named;
	wrong.entries[1] = named.entries[2];
	wrong.entries[2] = named.entries[1];
	ck_assert(!acl_is_valid(&wrong, size_of(5)));
}
END_TEST

/* A mode says all that a plain ACL says; with named entries its group bits are the mask. */
START_TEST(an_acl_stands_for_a_mode)
{
	struct acl plain = PLAIN, named = NAMED;
	mode_t mode;

	ck_assert(acl_mode(&plain, size_of(3), S_IFREG | S_ISUID | 0123, &mode));
	ck_assert_uint_eq(mode, S_IFREG | S_ISUID | 0751);
	ck_assert(!acl_mode(&named, size_of(5), S_IFREG, &mode));
	ck_assert_uint_eq(mode, S_IFREG | 0761);
}
END_TEST

/* chmod(2) of a file with a mask changes the mask, and the group's entry stays. */
START_TEST(chmod_changes_the_mask)
{
	struct acl plain = PLAIN, named = NAMED;

	acl_set_mode(&named, size_of(5), 0640);
	ck_assert_uint_eq(named.entries[0].e_perm, 6);
	ck_assert_uint_eq(named.entries[1].e_perm, 6);
	ck_assert_uint_eq(named.entries[2].e_perm, 5);
	ck_assert_uint_eq(named.entries[3].e_perm, 4);
	ck_assert_uint_eq(named.entries[4].e_perm, 0);
	acl_set_mode(&plain, size_of(3), 0640);
	ck_assert_uint_eq(plain.entries[1].e_perm, 4);
}
END_TEST

/* A new object gets what both its maker and the default ACL grant. */
START_TEST(a_default_acl_is_inherited_as_far_as_the_mode_goes)
{
	struct acl named = NAMED;

	ck_assert_uint_eq(acl_inherit(&named, size_of(5), S_IFREG | 0644), S_IFREG | 0640);
	ck_assert_uint_eq(named.entries[3].e_perm, 4);
	ck_assert_uint_eq(named.entries[4].e_perm, 0);
	ck_assert_uint_eq(named.entries[1].e_perm, 6);
}
END_TEST

void add_tests(TCase *tests)
{
	tcase_add_test(tests, only_complete_and_ordered_acls_are_valid);
	tcase_add_test(tests, an_acl_stands_for_a_mode);
	tcase_add_test(tests, chmod_changes_the_mask);
	tcase_add_test(tests, a_default_acl_is_inherited_as_far_as_the_mode_goes);
}
