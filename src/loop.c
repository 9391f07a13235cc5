/* SPDX-License-Identifier: MIT */
/*
 * Happy path: every sync_interval the timer takes the list of dirty inodes and gives each to the thread
 * pool. An inode that is still being synced is marked as due again and follows at once when that is
 * done, so that nothing piles up behind a slow file and no other file waits for it. At the same time
 * the kernel is made to hand over what clients stored through mappings of the mount's files; it does
 * not wait for that (Linux waits for no FUSE pages in syncfs(2)), so what arrives late is of the next tick.
 *
 * Shutdown: the first TERM or INT starts a thread that has the kernel hand over what it holds dirty of the
 * mount, and unmounts. The workers end, main() syncs what is left.
 */
#include "loop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "fs.h"
#include "log.h"
#include "pager.h"
#include "revalidate.h"
#include "session.h"
#include "sync.h"

#define EXIT_LOOP 7
#define REVALIDATE_MS 1000
#define FORGET_MAX 256

struct loop;

struct job {
	uv_work_t work;
	struct loop *loop;
	void (*run)(struct fs *fs);	 /* in the pool */
	void (*done)(struct loop *loop); /* in the loop's thread; may be NULL */
	bool running, again;		 /* loop thread only */
};

struct loop {
	struct fs *fs;
	uv_loop_t uv;
	uv_thread_t thread;
	uv_timer_t tick;
	uv_timer_t look;
	uv_work_t looking;
	bool look_running; /* loop thread only */
	uint64_t round;	   /* of looking; changed while it does not run */
	uv_timer_t idle;
	uv_async_t paging;
	struct job idling, reloading;
	struct job pages[2]; /* of the pool's four threads: reading ahead must not keep a sync waiting */
	uv_signal_t terminate, interrupt, hangup;
	uv_async_t stop;
	uv_async_t forget;
	uv_async_t sync_now;
	uv_work_t fetching;
	bool fetch_running; /* loop thread only */
	uv_thread_t shutdown;
	bool shutting_down; /* loop thread, and loop_stop() after its end */
	uv_work_t forgetting;
	_Atomic bool entries_wanted;
	bool forget_running; /* loop thread only */
	pthread_mutex_t content_lock;
	uint64_t content[FORGET_MAX]; /* protected by content_lock; nodeids whose pages are to go */
	size_t content_count;	      /* protected by content_lock */
	unsigned syncing;	      /* loop thread only; inodes that are being synced */
	unsigned ticked;	      /* loop thread only; those of them that a tick began */
	bool late_said;		      /* loop thread only; since the pool was last idle */
	unsigned endings;	      /* loop thread only; TERM and INT received */
};

struct sync_work {
	uv_work_t work;
	struct loop *loop;
	struct inode *inode; /* holds a reference */
	bool ticked;
};

static void start_sync(struct loop *loop, struct inode *inode, bool ticked);

static void sync_one(uv_work_t *request)
{
	struct sync_work *work = request->data;

	sync_inode(work->loop->fs, work->inode);
}

static void sync_one_done(uv_work_t *request, int status)
{
	struct sync_work *work = request->data;
	struct loop *loop = work->loop;
	struct inode *inode = work->inode;

	(void)status;
	loop->ticked -= work->ticked;
	free(work);
	inode->syncing = false;
	if (--loop->syncing == 0)
		loop->late_said = false;
	if (inode->overdue) {
		/* Taken off the list by a tick, with a reference of its own. */
		inode->overdue = false;
		start_sync(loop, inode, true);
	}
	inode_unref(loop->fs, inode);
}

/* Consumes the caller's reference. */
static void start_sync(struct loop *loop, struct inode *inode, bool ticked)
{
	struct sync_work *work;

	if (inode->syncing) {
		inode->overdue = true;
		return;
	}
	work = malloc(sizeof(*work));
	if (work == NULL) {
		sync_inode(loop->fs, inode);
		inode_unref(loop->fs, inode);
		return;
	}
	*work = (struct sync_work){.work.data = work, .loop = loop, .inode = inode, .ticked = ticked};
	inode->syncing = true;
	loop->syncing++;
	loop->ticked += ticked;
	uv_queue_work(&loop->uv, &work->work, sync_one, sync_one_done);
}

static void start_round(struct loop *loop, bool ticked)
{
	atomic_store(&loop->fs->sync_asked, false);
	/* The link is read before the inode is handed on: from then on it may be dirty again. */
	for (struct inode *inode = sync_take(loop->fs), *next; inode != NULL; inode = next) {
		next = inode->dirty_next;
		start_sync(loop, inode, ticked);
	}
}

static void on_sync_now(uv_async_t *handle)
{
	start_round(handle->data, false);
}

static void fetch(uv_work_t *request)
{
	struct loop *loop = request->data;
	int result = session_flush_clients(loop->fs->session);

	if (result < 0)
		log_error("syncfs '%s': %s", loop->fs->mount_path, strerror(-result));
}

static void fetch_done(uv_work_t *request, int status)
{
	struct loop *loop = request->data;

	(void)status;
	loop->fetch_running = false;
	start_round(loop, false);
}

static void on_tick(uv_timer_t *timer)
{
	struct loop *loop = timer->data;

	fs_count(loop->fs, SYNC_TICKS, 1);
	if (loop->ticked > 0 && !loop->late_said) {
		log_warning("a sync takes longer than its interval: %u files are not done", loop->ticked);
		loop->late_said = true;
	}
	start_round(loop, true);
	/* Only who may write a file can store through a mapping of it. */
	if (atomic_load(&loop->fs->writers) > 0 && !loop->fetch_running) {
		loop->fetch_running = true;
		uv_queue_work(&loop->uv, &loop->fetching, fetch, fetch_done);
	}
}

static void look(uv_work_t *request)
{
	struct loop *loop = request->data;

	revalidate_open_files(loop->fs, loop->round);
}

static void look_done(uv_work_t *request, int status)
{
	(void)status;
	((struct loop *)request->data)->look_running = false;
}

static void on_look(uv_timer_t *timer)
{
	struct loop *loop = timer->data;

	if (loop->look_running || atomic_load(&loop->fs->handle_table.count) == 0)
		return;
	loop->look_running = true;
	loop->round++;
	uv_queue_work(&loop->uv, &loop->looking, look, look_done);
}

/* In a thread of its own: the pool may be busy syncing for as long as the disk likes. */
static void shut_down(void *argument)
{
	struct loop *loop = argument;
	int result = session_fsync_clients(loop->fs->session);

	if (result < 0)
		log_error("syncfs '%s': %s", loop->fs->mount_path, strerror(-result));
	session_unmount(loop->fs->session);
}

static void on_end_signal(uv_signal_t *handle, int number)
{
	struct loop *loop = handle->data;
	unsigned files = 0;

	if (loop->endings++ == 0) {
		log_info("%s: unmounting '%s'", strsignal(number), loop->fs->mount_path);
		loop->shutting_down = uv_thread_create(&loop->shutdown, shut_down, loop) == 0;
		if (!loop->shutting_down)
			shut_down(loop);
		return;
	}
	for (struct inode *inode = sync_take(loop->fs); inode != NULL; inode = inode->dirty_next)
		files++;
	log_error("%s again: ending at once; %u files and %u being synced may not be on disk",
		  strsignal(number), files, loop->syncing);
	_exit(EXIT_LOOP);
}

/* Work in the pool of which one piece runs at a time; what is asked for meanwhile is done afterwards, once. */
static void job_work(uv_work_t *request)
{
	struct job *job = request->data;

	job->run(job->loop->fs);
}

static void job_done(uv_work_t *request, int status);

static void job_start(struct loop *loop, struct job *job)
{
	job->again = job->running;
	if (job->running)
		return;
	job->running = true;
	job->loop = loop;
	job->work.data = job;
	uv_queue_work(&loop->uv, &job->work, job_work, job_done);
}

static void job_done(uv_work_t *request, int status)
{
	struct job *job = request->data;

	(void)status;
	job->running = false;
	if (job->again)
		job_start(job->loop, job);
	else if (job->done != NULL)
		job->done(job->loop);
}

static void work_off_pages(struct fs *fs)
{
	struct inode *inode;

	while ((inode = pager_take(fs)) != NULL)
		pager_work(fs, inode);
}

static void on_paging(uv_async_t *handle)
{
	struct loop *loop = handle->data;

	/* The second one is for when the first is at something long. */
	job_start(loop, &loop->pages[loop->pages[0].running]);
}

static void on_idle(uv_timer_t *timer)
{
	struct loop *loop = timer->data;

	job_start(loop, &loop->idling);
}

static void set_idle_timer(struct loop *loop)
{
	uint64_t interval = pager_idle_interval_ms(loop->fs);

	if (uv_is_closing((uv_handle_t *)&loop->idle))
		return;
	if (interval == 0)
		uv_timer_stop(&loop->idle);
	else
		uv_timer_start(&loop->idle, on_idle, interval, interval);
}

static void on_hangup(uv_signal_t *handle, int number)
{
	struct loop *loop = handle->data;

	(void)number;
	if (loop->fs->policies.rules_path == NULL)
		log_info("SIGHUP: there is no file to read again");
	else
		job_start(loop, &loop->reloading);
}

static void forget_some(uv_work_t *request)
{
	struct loop *loop = request->data;

	uint64_t nodeids[FORGET_MAX];
	size_t count;

	pthread_mutex_lock(&loop->content_lock);
	count = loop->content_count;
	memcpy(nodeids, loop->content, count * sizeof(nodeids[0]));
	loop->content_count = 0;
	pthread_mutex_unlock(&loop->content_lock);
	for (size_t i = 0; i < count; i++)
		session_forget_content(loop->fs->session, nodeids[i]);
	if (atomic_exchange(&loop->entries_wanted, false))
		session_ask_to_forget(loop->fs->session);
}

static void forget_done(uv_work_t *request, int status)
{
	struct loop *loop = request->data;
	bool more;

	(void)status;
	loop->forget_running = false;
	pthread_mutex_lock(&loop->content_lock);
	more = loop->content_count > 0;
	pthread_mutex_unlock(&loop->content_lock);
	if (more)
		uv_async_send(&loop->forget);
}

static void on_forget(uv_async_t *handle)
{
	struct loop *loop = handle->data;

	if (loop->forget_running)
		return;
	loop->forget_running = true;
	uv_queue_work(&loop->uv, &loop->forgetting, forget_some, forget_done);
}

static void close_handle(uv_handle_t *handle, void *argument)
{
	(void)argument;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

static void on_stop(uv_async_t *handle)
{
	/* With every handle closed the loop ends as soon as the work in the pool has. */
	uv_walk(handle->loop, close_handle, NULL);
}

static void ask_to_forget(void *context)
{
	struct loop *loop = context;

	atomic_store(&loop->entries_wanted, true);
	uv_async_send(&loop->forget);
}

static void ask_to_sync(void *context)
{
	uv_async_send(&((struct loop *)context)->sync_now);
}

static void forget_content(void *context, uint64_t nodeid)
{
	struct loop *loop = context;
	bool known = false;

	pthread_mutex_lock(&loop->content_lock);
	for (size_t i = 0; i < loop->content_count && !known; i++)
		known = loop->content[i] == nodeid;
	/* When the list is full the file is dropped by its next open. */
	if (!known && loop->content_count < FORGET_MAX)
		loop->content[loop->content_count++] = nodeid;
	pthread_mutex_unlock(&loop->content_lock);
	uv_async_send(&loop->forget);
}

static void work_waits(void *context)
{
	uv_async_send(&((struct loop *)context)->paging);
}

static void loop_run(void *argument)
{
	struct loop *loop = argument;

	uv_run(&loop->uv, UV_RUN_DEFAULT);
}

int loop_start(struct fs *fs, struct loop **ret_loop)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	uint64_t interval = fs->options.sync_interval_ms;
	int result;

	if (loop == NULL)
		return -ENOMEM;
	result = uv_loop_init(&loop->uv);
	if (result < 0) {
		free(loop);
		return result;
	}
	loop->fs = fs;
	pthread_mutex_init(&loop->content_lock, NULL);
	loop->look.data = loop->looking.data = loop;
	loop->tick.data = loop->terminate.data = loop->interrupt.data = loop->hangup.data = loop;
	loop->stop.data = loop->forget.data = loop->forgetting.data = loop;
	loop->idle.data = loop->paging.data = loop;
	loop->idling.run = pager_idle;
	loop->reloading = (struct job){.run = pager_reload, .done = set_idle_timer};
	loop->pages[0].run = loop->pages[1].run = work_off_pages;
	uv_timer_init(&loop->uv, &loop->idle);
	uv_async_init(&loop->uv, &loop->paging, on_paging);
	set_idle_timer(loop);
	loop->sync_now.data = loop->fetching.data = loop;
	uv_timer_init(&loop->uv, &loop->tick);
	uv_timer_init(&loop->uv, &loop->look);
	uv_async_init(&loop->uv, &loop->stop, on_stop);
	uv_async_init(&loop->uv, &loop->forget, on_forget);
	uv_async_init(&loop->uv, &loop->sync_now, on_sync_now);
	uv_signal_init(&loop->uv, &loop->terminate);
	uv_signal_init(&loop->uv, &loop->interrupt);
	uv_signal_init(&loop->uv, &loop->hangup);
	uv_signal_start(&loop->terminate, on_end_signal, SIGTERM);
	uv_signal_start(&loop->interrupt, on_end_signal, SIGINT);
	uv_signal_start(&loop->hangup, on_hangup, SIGHUP);
	if (fs->options.sync == SYNC_PERIODIC)
		uv_timer_start(&loop->tick, on_tick, interval, interval);
	/* Where the kernel collects writes it alone says what the files it has cached are like. */
	if ((fs->options.cache == CACHE_AUTO || fs->policies.rules_path != NULL) && !fs->options.writeback)
		uv_timer_start(&loop->look, on_look, REVALIDATE_MS, REVALIDATE_MS);
	result = uv_thread_create(&loop->thread, loop_run, loop);
	if (result < 0) {
		/* The loop never ran: close what was opened and let it go. */
		uv_walk(&loop->uv, close_handle, NULL);
		uv_run(&loop->uv, UV_RUN_DEFAULT);
		uv_loop_close(&loop->uv);
		free(loop);
		return result;
	}
	fs->ask_context = loop;
	fs->ask_to_forget = ask_to_forget;
	fs->forget_content = forget_content;
	fs->work_waits = work_waits;
	fs->ask_to_sync = ask_to_sync;
	*ret_loop = loop;
	return 0;
}

void loop_stop(struct loop *loop)
{
	if (loop == NULL)
		return;
	loop->fs->ask_to_forget = NULL;
	loop->fs->forget_content = NULL;
	loop->fs->work_waits = NULL;
	loop->fs->ask_to_sync = NULL;
	uv_async_send(&loop->stop);
	uv_thread_join(&loop->thread);
	if (loop->shutting_down)
		uv_thread_join(&loop->shutdown);
	uv_loop_close(&loop->uv);
	free(loop);
}
