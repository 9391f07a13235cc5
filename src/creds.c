/* SPDX-License-Identifier: MIT */
#include "creds.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs.h"
#include "request.h"

static const cap_value_t needed[] = {
	CAP_CHOWN,	     /* chown for clients that may */
	CAP_DAC_OVERRIDE,    /* the kernel has checked the caller (default_permissions) */
	CAP_DAC_READ_SEARCH, /* open_by_handle_at(2) */
	CAP_FOWNER,	     /* chmod, utimens and xattrs of clients' files */
	CAP_FSETID,	     /* keep set-id bits where the caller may */
	CAP_IPC_LOCK,	     /* mlock(2) */
	CAP_LINUX_IMMUTABLE, /* chattr +i and +a */
	CAP_MKNOD,	     /* device nodes */
	CAP_SETFCAP,	     /* security.capability */
	CAP_SETGID,	     /* create as the caller */
	CAP_SETUID,	     /* create as the caller */
	CAP_SYS_ADMIN,	     /* mount(2), umount(2), trusted xattrs */
};

/* The thread's own view of what it last set, so that nothing is set twice. */
static _Thread_local struct {
	bool setid_dropped;
	mode_t umask;
	bool umask_known;
	bool groups_known;
	unsigned group_count;
	gid_t groups[REQUEST_GROUPS_MAX];
} thread;

int creds_drop(void)
{
	cap_t wanted = cap_init(), have = cap_get_proc();
	int result = 0;

	if (wanted == NULL || have == NULL) {
		result = -ENOMEM;
		goto out;
	}
	for (size_t i = 0; i < ARRAY_LENGTH(needed); i++) {
		cap_flag_value_t value = CAP_CLEAR;

		cap_get_flag(have, needed[i], CAP_PERMITTED, &value);
		if (value != CAP_SET)
			continue;
		cap_set_flag(wanted, CAP_PERMITTED, 1, &needed[i], CAP_SET);
		cap_set_flag(wanted, CAP_EFFECTIVE, 1, &needed[i], CAP_SET);
	}
	if (cap_set_proc(wanted) < 0)
		result = -errno;
out:
	cap_free(wanted);
	cap_free(have);
	return result;
}

static void set_umask(mode_t mask)
{
	if (thread.umask_known && thread.umask == mask)
		return;
	umask(mask);
	thread.umask = mask;
	thread.umask_known = true;
}

static int set_groups(unsigned count, const gid_t *groups)
{
	if (thread.groups_known && thread.group_count == count &&
	    memcmp(thread.groups, groups, count * sizeof(gid_t)) == 0)
		return 0;
	if (syscall(SYS_setgroups, count, groups) < 0)
		return -errno;
	thread.groups_known = true;
	thread.group_count = count;
	memcpy(thread.groups, groups, count * sizeof(gid_t));
	return 0;
}

int creds_become(struct fs *fs, uid_t uid, gid_t gid, mode_t mask, const struct request *request,
		 struct creds *ret_creds)
{
	int result;

	*ret_creds = (struct creds){0};
	set_umask(mask);
	if (!fs->privileged || (uid == 0 && gid == 0))
		return 0;
	result = set_groups(request->group_count, request->groups);
	if (result < 0)
		return result;
	ret_creds->changed = true;
	ret_creds->uid = geteuid();
	ret_creds->gid = getegid();
	/* Raw, so that only this thread changes; the group first, while it may still be changed. These
	 * calls report no failure: ask what is in force. */
	syscall(SYS_setfsgid, gid);
	syscall(SYS_setfsuid, uid);
	if ((uid_t)syscall(SYS_setfsuid, -1) != uid || (gid_t)syscall(SYS_setfsgid, -1) != gid) {
		creds_restore(ret_creds);
		return -EPERM;
	}
	return 0;
}

void creds_restore(struct creds *creds)
{
	if (!creds->changed)
		return;
	creds->changed = false;
	syscall(SYS_setfsuid, creds->uid);
	syscall(SYS_setfsgid, creds->gid);
	/* Coming back to uid 0 raises the file system capabilities again, CAP_FSETID among them. */
	if (creds->uid == 0)
		thread.setid_dropped = false;
}

/* Raises or lowers one capability of the thread. */
static int set_effective(unsigned capability, bool raise)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	if (raise)
		data[0].effective |= data[0].permitted & (1u << capability);
	else
		data[0].effective &= ~(1u << capability);
	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int creds_thread_init(void)
{
	if (unshare(CLONE_FS) < 0)
		return -errno;
	/* A worker that starts another may have dropped it, for its last request. */
	set_effective(CAP_FSETID, true);
	return 0;
}

void creds_override(const struct creds *creds, bool override)
{
	/* Where it cannot be raised, BACKING decides by what it knows of the caller. */
	if (creds->changed)
		set_effective(CAP_DAC_OVERRIDE, override);
}

void creds_keep_setid(struct fs *fs, bool keep)
{
	gid_t none = 0;

	if (!fs->privileged)
		return;
	/* Neither may the groups of whoever was become last, nor the daemon's own. */
	if (!keep)
		set_groups(0, &none);
	if (thread.setid_dropped != !keep && set_effective(CAP_FSETID, keep) == 0)
		thread.setid_dropped = !keep;
}
