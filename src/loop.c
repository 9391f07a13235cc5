/* SPDX-License-Identifier: MIT */
/*
 * Happy path: every sync_interval the timer takes the list of dirty inodes and gives each to the thread
 * pool. An inode that is still being synced is marked as due again and follows at once when that is
 * done, so that nothing piles up behind a slow file; others wait only while every thread of the pool has
 * a slow one. At the same time
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
#include "pool.h"
#include "revalidate.h"
#include "session.h"
#include "sync.h"
#include "unopened.h"

#define EXIT_LOOP 7
#define REVALIDATE_MS 1000
#define SETTLE_MS 250

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
	uint64_t tick_ms; /* loop thread only */
	uv_timer_t look;
	uv_timer_t idle;
	uv_async_t paging;
	struct job idling, reloading, looking, fetching, settling, beginning;
	struct job pages[2]; /* of the pool's eight threads: reading ahead must not keep a sync waiting */
	uv_signal_t terminate, interrupt, hangup;
	uv_async_t stop, end;
	uv_sem_t quiet;
	bool stopping; /* loop thread only */
	uv_async_t sync_now;
	uv_async_t linger;
	uv_timer_t settle;
	uv_thread_t shutdown;
	bool shutting_down;	 /* loop thread, and loop_stop() after its end */
	unsigned syncing;	 /* loop thread only; inodes that are being synced */
	struct sync_work *works; /* loop thread only; one for each of them */
	bool late_said;		 /* loop thread only; since the pool was last idle */
	unsigned endings;	 /* loop thread only; TERM and INT received */
};

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

struct sync_work {
	uv_work_t work;
	struct loop *loop;
	struct inode *inode; /* holds a reference */
	uint64_t began_ms;   /* of the loop's clock */
	struct sync_work *next, **link;
};

static void start_sync(struct loop *loop, struct inode *inode);

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
	*work->link = work->next;
	if (work->next != NULL)
		work->next->link = work->link;
	free(work);
	inode->syncing = false;
	loop->syncing--;
	if (inode->overdue) {
		/* Taken off the list by a tick, with a reference of its own. */
		inode->overdue = false;
		start_sync(loop, inode);
	}
	/* One that follows at once is as late as the one before. */
	if (loop->syncing == 0)
		loop->late_said = false;
	inode_unref(loop->fs, inode);
}

/* Consumes the caller's reference. */
static void start_sync(struct loop *loop, struct inode *inode)
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
	*work = (struct sync_work){.work.data = work,
				   .loop = loop,
				   .inode = inode,
				   .began_ms = uv_now(&loop->uv),
				   .next = loop->works,
				   .link = &loop->works};
	if (work->next != NULL)
		work->next->link = &work->next;
	loop->works = work;
	inode->syncing = true;
	loop->syncing++;
	uv_queue_work(&loop->uv, &work->work, sync_one, sync_one_done);
}

/* Says once, until all is done, that syncs take longer than the time between two of them. */
static void say_late(struct loop *loop)
{
	uint64_t now = uv_now(&loop->uv), interval = loop->tick_ms;
	unsigned late = 0;

	for (const struct sync_work *work = loop->works; work != NULL && !loop->late_said; work = work->next)
		late += now - work->began_ms >= interval;
	if (late == 0)
		return;
	log_warning("a sync takes longer than its interval: %u files are not done", late);
	loop->late_said = true;
}

static void start_each(struct loop *loop, struct inode *first)
{
	/* The link is read before the inode is handed on: from then on it may be dirty again. */
	for (struct inode *inode = first, *next; inode != NULL; inode = next) {
		next = inode->dirty_next;
		start_sync(loop, inode);
	}
}

static void batch_begun(struct loop *loop)
{
	struct inode *first = loop->fs->batch;

	loop->fs->batch = NULL;
	start_each(loop, first);
}

static void start_syncs(struct loop *loop, uint64_t due_by_ms)
{
	struct inode *first;

	atomic_store(&loop->fs->sync_asked, false);
	first = sync_take(loop->fs, due_by_ms);
	if (loop->beginning.running || !sync_is_batch(first)) {
		start_each(loop, first);
		return;
	}
	loop->fs->batch = first;
	job_start(loop, &loop->beginning);
}

/* What would be overdue at the next tick. The loop's clock is the monotonic one. */
static void start_round(struct loop *loop)
{
	start_syncs(loop, uv_now(&loop->uv) + loop->tick_ms);
}

static void on_sync_now(uv_async_t *handle)
{
	start_syncs(handle->data, SYNC_TAKE_ALL);
}

static void on_tick(uv_timer_t *timer)
{
	struct loop *loop = timer->data;

	fs_count(loop->fs, SYNC_TICKS, 1);
	say_late(loop);
	start_round(loop);
	/* Only who may write a file can store through a mapping of it. */
	if ((atomic_load(&loop->fs->writers) > 0 || unopened_may_store(loop->fs)) && !loop->fetching.running)
		job_start(loop, &loop->fetching);
}

static void on_look(uv_timer_t *timer)
{
	struct loop *loop = timer->data;

	if (!loop->looking.running && revalidate_is_wanted(loop->fs))
		job_start(loop, &loop->looking);
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
	struct fs *fs = loop->fs;

	if (loop->endings++ == 0) {
		log_info("%s: %s '%s'", strsignal(number), loop->stopping ? "already ending" : "unmounting",
			 fs->mount_path);
		if (loop->stopping)
			return;
		loop->shutting_down = uv_thread_create(&loop->shutdown, shut_down, loop) == 0;
		if (!loop->shutting_down)
			shut_down(loop);
		return;
	}
	if (fs->options.sync == SYNC_NEVER || fs->options.sync == SYNC_LAZY)
		log_error("%s again: ending at once; what was written and not synced may not be on disk",
			  strsignal(number));
	else
		log_error("%s again: ending at once; %zu files and %u being synced may not be on disk",
			  strsignal(number), sync_waiting(fs), loop->syncing);
	/* Nobody is left to serve it. */
	session_detach(fs->session);
	_exit(EXIT_LOOP);
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

static void set_timer(uv_timer_t *timer, uv_timer_cb call, uint64_t interval_ms)
{
	if (uv_is_closing((uv_handle_t *)timer))
		return;
	if (interval_ms == 0)
		uv_timer_stop(timer);
	else
		uv_timer_start(timer, call, interval_ms, interval_ms);
}

/* As the mount's options and the rules in force want them. */
static void set_timers(struct loop *loop)
{
	loop->tick_ms = policy_sync_ms(loop->fs);
	set_timer(&loop->tick, on_tick, loop->tick_ms);
	set_timer(&loop->idle, on_idle, pager_idle_interval_ms(loop->fs));
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

static void on_settle(uv_timer_t *timer)
{
	struct loop *loop = timer->data;

	job_start(loop, &loop->settling);
}

/* The timer runs only while there is something for it. */
static void on_linger(uv_async_t *handle)
{
	struct loop *loop = handle->data;

	if (!uv_is_closing((uv_handle_t *)&loop->settle) && !uv_is_active((uv_handle_t *)&loop->settle))
		uv_timer_start(&loop->settle, on_settle, SETTLE_MS, SETTLE_MS);
}

static void settled(struct loop *loop)
{
	if (!unopened_lingers(loop->fs))
		uv_timer_stop(&loop->settle);
}

static void close_handle(uv_handle_t *handle, void *argument)
{
	(void)argument;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

static void close_source(uv_handle_t *handle, void *argument)
{
	const struct loop *loop = argument;

	if (handle != (const uv_handle_t *)&loop->terminate &&
	    handle != (const uv_handle_t *)&loop->interrupt && handle != (const uv_handle_t *)&loop->end)
		close_handle(handle, NULL);
}

/* With nothing left that begins work the loop ends as soon as the work in the pool has. */
static void on_stop(uv_async_t *handle)
{
	struct loop *loop = handle->data;

	loop->stopping = true;
	uv_walk(&loop->uv, close_source, loop);
	uv_unref((uv_handle_t *)&loop->terminate);
	uv_unref((uv_handle_t *)&loop->interrupt);
}

static void on_end(uv_async_t *handle)
{
	uv_walk(handle->loop, close_handle, NULL);
}

static void ask_to_sync(void *context)
{
	uv_async_send(&((struct loop *)context)->sync_now);
}

static void file_lingers(void *context)
{
	uv_async_send(&((struct loop *)context)->linger);
}

static void work_waits(void *context)
{
	uv_async_send(&((struct loop *)context)->paging);
}

static void loop_run(void *argument)
{
	struct loop *loop = argument;

	uv_run(&loop->uv, UV_RUN_DEFAULT);
	uv_sem_post(&loop->quiet);
	/* The last sync is the main thread's; here signals are waited for, and its end. */
	uv_ref((uv_handle_t *)&loop->end);
	uv_run(&loop->uv, UV_RUN_DEFAULT);
}

int loop_start(struct fs *fs, struct loop **ret_loop)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int result;

	if (loop == NULL)
		return -ENOMEM;
	pool_prepare();
	result = uv_loop_init(&loop->uv);
	if (result < 0) {
		free(loop);
		return result;
	}
	loop->fs = fs;
	loop->look.data = loop;
	loop->tick.data = loop->terminate.data = loop->interrupt.data = loop->hangup.data = loop;
	uv_sem_init(&loop->quiet, 0);
	loop->stop.data = loop->end.data = loop->linger.data = loop->settle.data = loop;
	loop->idle.data = loop->paging.data = loop;
	loop->idling.run = pager_idle;
	loop->looking.run = revalidate_files;
	loop->beginning = (struct job){.run = sync_begin_batch, .done = batch_begun};
	loop->settling = (struct job){.run = unopened_settle, .done = settled};
	loop->fetching = (struct job){.run = sync_fetch, .done = start_round};
	loop->reloading = (struct job){.run = pager_reload, .done = set_timers};
	loop->pages[0].run = loop->pages[1].run = pager_work_off;
	uv_timer_init(&loop->uv, &loop->idle);
	uv_async_init(&loop->uv, &loop->paging, on_paging);
	loop->sync_now.data = loop;
	uv_timer_init(&loop->uv, &loop->tick);
	set_timers(loop);
	job_start(loop, &loop->settling); /* nothing yet; it makes the pool */
	uv_timer_init(&loop->uv, &loop->look);
	uv_async_init(&loop->uv, &loop->stop, on_stop);
	uv_async_init(&loop->uv, &loop->end, on_end);
	uv_unref((uv_handle_t *)&loop->end);
	uv_async_init(&loop->uv, &loop->linger, on_linger);
	uv_timer_init(&loop->uv, &loop->settle);
	uv_async_init(&loop->uv, &loop->sync_now, on_sync_now);
	uv_signal_init(&loop->uv, &loop->terminate);
	uv_signal_init(&loop->uv, &loop->interrupt);
	uv_signal_init(&loop->uv, &loop->hangup);
	uv_signal_start(&loop->terminate, on_end_signal, SIGTERM);
	uv_signal_start(&loop->interrupt, on_end_signal, SIGINT);
	uv_signal_start(&loop->hangup, on_hangup, SIGHUP);
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
	fs->file_lingers = file_lingers;
	fs->work_waits = work_waits;
	fs->ask_to_sync = ask_to_sync;
	*ret_loop = loop;
	return 0;
}

void loop_quiesce(struct loop *loop)
{
	if (loop == NULL)
		return;
	loop->fs->file_lingers = NULL;
	loop->fs->work_waits = NULL;
	loop->fs->ask_to_sync = NULL;
	uv_async_send(&loop->stop);
	uv_sem_wait(&loop->quiet);
	if (loop->shutting_down)
		uv_thread_join(&loop->shutdown);
}

void loop_stop(struct loop *loop)
{
	if (loop == NULL)
		return;
	uv_async_send(&loop->end);
	uv_thread_join(&loop->thread);
	uv_sem_destroy(&loop->quiet);
	uv_loop_close(&loop->uv);
	free(loop);
}
