/* SPDX-License-Identifier: MIT */
/*
 * The thread that has the kernel forget things for those who must not wait for that: requests that read the
 * pages in question may have to be served first. It ends before the workers do, so that whatever it waits for
 * is answered.
 */
#include <fuse_lowlevel.h>
#include <stdlib.h>
#include <string.h>

#include "fs.h"
#include "session.h"
#include "session_private.h"

/* What is called once the kernel has dropped a file's pages. */
struct deferred {
	struct deferred *next;
	uint64_t nodeid;
	void (*call)(void *context);
	void *context;
};

static void queue_locked(struct session *session, uint64_t nodeid)
{
	for (size_t i = 0; i < session->queued; i++) {
		if (session->queue[i] == nodeid)
			return;
	}
	/* When the queue is full the file is dropped the next time that somebody looks at it. */
	if (session->queued < FORGET_QUEUE)
		session->queue[session->queued++] = nodeid;
}

void session_forget_later(struct session *session, uint64_t nodeid)
{
	if (session == NULL)
		return;
	LOCK_SCOPE(&session->queue_lock);
	if (nodeid == 0)
		session->entries_wanted = true;
	else
		queue_locked(session, nodeid);
	pthread_cond_signal(&session->queue_filled);
}

void session_forget_first(struct session *session, uint64_t nodeid, void (*call)(void *context),
			  void *context)
{
	struct deferred *deferred = malloc(sizeof(*deferred));

	pthread_mutex_lock(&session->queue_lock);
	if (deferred != NULL && session->notifying) {
		*deferred = (struct deferred){session->deferred, nodeid, call, context};
		session->deferred = deferred;
		pthread_cond_signal(&session->queue_filled);
		pthread_mutex_unlock(&session->queue_lock);
		return;
	}
	queue_locked(session, nodeid);
	pthread_mutex_unlock(&session->queue_lock);
	free(deferred);
	call(context);
}

static void work_off(struct session *session, const uint64_t *nodeids, size_t count,
		     struct deferred *deferred, bool entries)
{
	for (struct deferred *next; deferred != NULL; deferred = next) {
		next = deferred->next;
		session_forget_content(session, deferred->nodeid);
		deferred->call(deferred->context);
		free(deferred);
	}
	for (size_t i = 0; i < count; i++)
		session_forget_content(session, nodeids[i]);
	if (entries)
		session_forget_entries(session);
}

static void *notifier_run(void *argument)
{
	struct session *session = argument;
	bool ending = false;

	while (!ending) {
		uint64_t nodeids[FORGET_QUEUE];
		struct deferred *deferred;
		size_t count;
		bool entries;

		pthread_mutex_lock(&session->queue_lock);
		while (session->notifying && session->queued == 0 && session->deferred == NULL &&
		       !session->entries_wanted)
			pthread_cond_wait(&session->queue_filled, &session->queue_lock);
		ending = !session->notifying;
		count = session->queued;
		memcpy(nodeids, session->queue, count * sizeof(nodeids[0]));
		session->queued = 0;
		deferred = session->deferred;
		session->deferred = NULL;
		entries = session->entries_wanted;
		session->entries_wanted = false;
		pthread_mutex_unlock(&session->queue_lock);
		work_off(session, nodeids, count, deferred, entries);
	}
	return NULL;
}

int notifier_start(struct session *session)
{
	int result;

	session->notifying = true;
	result = -pthread_create(&session->notifier, NULL, notifier_run, session);
	session->notifying = result == 0;
	return result;
}

void notifier_stop(struct session *session)
{
	bool running;

	pthread_mutex_lock(&session->queue_lock);
	running = session->notifying;
	session->notifying = false;
	pthread_cond_signal(&session->queue_filled);
	pthread_mutex_unlock(&session->queue_lock);
	if (running)
		pthread_join(session->notifier, NULL);
}
