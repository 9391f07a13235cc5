/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_SESSION_H
#define MEMMAPFS_SESSION_H

/*
 * The connection to the kernel: mounts, asks for capabilities, receives requests in worker threads and
 * hands them to the library, which calls the handlers in fuse_ops/. The only file that knows how
 * requests arrive and what the library does not know of the protocol.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fs;
struct session;

/**
 * session_new() - a session that is not mounted yet
 * @program: argv[0], for the library's messages
 *
 * Return: 0, -ENOMEM, or -EINVAL when the library refuses the options (it has said why).
 */
int session_new(struct fs *fs, const char *program, struct session **ret_session);

/** session_free() - release the session; unmounted, no worker runs */
void session_free(struct session *session);

/**
 * session_mount() - mount(2), or fusermount3 for ordinary users
 *
 * Return: 0 or -EIO; the library has said why.
 */
int session_mount(struct session *session);

/** session_start() - start the workers. Return: 0 or -errno of pthread_create(3). */
int session_start(struct session *session);

/**
 * session_probe() - ask the mount for its root's attributes: it serves once this returns 0
 *
 * From a thread that is no worker. Return: 0 or -errno.
 */
int session_probe(struct session *session);

/** session_rings() - the queues of io_uring that requests come by; 0: they come by the device. NULL is accepted. */
unsigned session_rings(const struct session *session);

/**
 * session_leave() - before the handler of a request leaves its answer to another thread, which may take long
 * @session: NULL is accepted: nobody else is kept waiting
 * @nodeid: the file that is waited for
 *
 * Return: may it? Not where no thread can be had that serves in place of this one: answer now.
 */
bool session_leave(struct session *session, uint64_t nodeid);

/** session_wait() - wait until every worker has ended. Return: 0, or -errno of reading the device. */
int session_wait(struct session *session);

/**
 * session_abort() - let the connection go: whoever waits for an answer, of this process or another, gets an error
 *
 * After session_wait(), when nobody will answer any more. Where a detached mount is still in use, closing the
 * device is what ends it.
 */
void session_abort(struct session *session);

/** session_detach() - take the mount out of the tree, if it is there and ours; waits for nobody */
void session_detach(struct session *session);

/**
 * session_unmount() - unmount, waiting for the kernel's own write-back, and end the workers
 *
 * A busy mount is detached: it vanishes from the tree at once; what is still open there gets ENOTCONN.
 * From a thread that is no worker; idempotent.
 */
void session_unmount(struct session *session);

/**
 * session_flush_clients() - have the kernel hand over what it holds dirty of this mount
 *
 * Starts the hand-over and waits for it only on kernels whose syncfs(2) waits for FUSE pages.
 *
 * Return: 0 or -errno of syncfs(2).
 */
int session_flush_clients(struct session *session);

/**
 * session_fsync_clients() - the same, and wait until the files that are open for writing are handed over
 *
 * By fsync(2) of the mount's own files, found by handle, or by name where the daemon may not open handles.
 * From a thread that is no worker, while workers serve.
 */
int session_fsync_clients(struct session *session);

/**
 * session_forget_content() - have the kernel drop what it cached of a file's bytes and attributes
 *
 * From a thread that is no worker.
 */
void session_forget_content(struct session *session, uint64_t nodeid);

/** session_forget_attributes() - of its attributes only; from any thread: it waits for nobody */
void session_forget_attributes(struct session *session, uint64_t nodeid);

/**
 * session_backing_open() - have the kernel read and write a backing file itself
 * @fd: the file; borrowed, O_PATH will do
 *
 * Return: the kernel's number of it, > 0, or -errno: -EPERM without CAP_SYS_ADMIN, -ELOOP where it is stacked.
 */
int session_backing_open(struct session *session, int fd);

/** session_backing_close() - no open that is still to come uses it */
void session_backing_close(struct session *session, int backing);

/**
 * session_forget_name() - have the kernel look a name up anew, whatever it believes it leads to
 *
 * Waits for requests in that directory: from a thread that is no worker.
 */
void session_forget_name(struct session *session, uint64_t directory, const char *name);

/** session_forget_all_names() - the same for every name, where the kernel can; from protocol 7.44 on */
void session_forget_all_names(struct session *session);

/**
 * session_prune() - have the kernel forget inodes that nobody uses
 *
 * From a thread that is no worker. Return: false where this kernel cannot; from protocol 7.45 on it can.
 */
bool session_prune(struct session *session, const uint64_t *nodeids, size_t count);

/**
 * session_forget_later() - the same, soon, from any thread
 * @session: NULL is accepted, and nothing done
 * @nodeid:  the file; 0 has the kernel drop entries whose inodes are kept by descriptor
 */
void session_forget_later(struct session *session, uint64_t nodeid);

/**
 * session_forget_first() - have the kernel drop what it cached of a file, then call a function
 * @call: in a thread that is no worker; in the caller's own where there is no time or memory for another
 *
 * For a request that must not be answered before.
 */
void session_forget_first(struct session *session, uint64_t nodeid, void (*call)(void *context),
			  void *context);

#endif
