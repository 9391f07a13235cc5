/* SPDX-License-Identifier: MIT */
#include "revalidate.h"

#include "file.h"
#include "fs.h"
#include "policy.h"
#include "session.h"

static void revalidate(struct fs *fs, struct inode *inode, uint32_t round)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct file *file = file_peek(inode);

	/* A directory, or a file that another of its handles led to. */
	if (file == NULL || file->checked == round || file_policy(file)->cache != CACHE_AUTO)
		return;
	file->checked = round;
	if (inode_fd(fs, inode, FD_PATH, &use) == 0 && file_recheck(file, use.fd))
		session_forget_content(fs->session, inode->nodeid);
}

void revalidate_open_files(struct fs *fs)
{
	uint32_t round = ++fs->look_round;
	struct inode *inode;
	uint64_t id = 0;

	while ((id = handle_table_next(&fs->handle_table, id, inode_ref, &inode)) != 0) {
		revalidate(fs, inode, round);
		inode_unref(fs, inode);
	}
}
