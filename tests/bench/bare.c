/* SPDX-License-Identifier: MIT */
/*
 * The least a FUSE daemon can be: an empty directory and an answer to statfs(2) that costs nothing. What a
 * round trip takes here no daemon can go below; the benchmark states some of its goals in it.
 *
 *	bench_bare -f MOUNTPOINT
 */
#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

static void op_getattr(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info)
{
	struct stat attributes = {.st_ino = FUSE_ROOT_ID, .st_mode = S_IFDIR | 0755, .st_nlink = 2};

	(void)info;
	if (node == FUSE_ROOT_ID)
		fuse_reply_attr(request, &attributes, 3600);
	else
		fuse_reply_err(request, ENOENT);
}

static void op_statfs(fuse_req_t request, fuse_ino_t node)
{
	struct statvfs answer = {.f_bsize = 4096, .f_namemax = 255};

	(void)node;
	fuse_reply_statfs(request, &answer);
}

static const struct fuse_lowlevel_ops operations = {.getattr = op_getattr, .statfs = op_statfs};

int main(int argc, char **argv)
{
	struct fuse_args arguments = FUSE_ARGS_INIT(argc, argv);
	struct fuse_cmdline_opts words = {0};
	struct fuse_session *session;
	int status = 1;

	if (fuse_parse_cmdline(&arguments, &words) != 0 || words.mountpoint == NULL)
		return 2;
	session = fuse_session_new(&arguments, &operations, sizeof(operations), NULL);
	if (session != NULL && fuse_set_signal_handlers(session) == 0) {
		if (fuse_session_mount(session, words.mountpoint) == 0) {
			/* one thread: nobody else to wake, and the shortest way there is */
			status = fuse_session_loop(session) != 0;
			fuse_session_unmount(session);
		}
		fuse_remove_signal_handlers(session);
	}
	if (session != NULL)
		fuse_session_destroy(session);
	free(words.mountpoint);
	fuse_opt_free_args(&arguments);
	return status;
}
