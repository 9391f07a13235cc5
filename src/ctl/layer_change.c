/* SPDX-License-Identifier: MIT */
/* memmapfsctl layer: commands that change a layer. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/ctl.h"
#include "ctl/layer_target.h"
#include "ctl/progress.h"
#include "ctl/text.h"
#include "layer/commit.h"
#include "util.h"

/* Between two questions how far a commit is. */
#define WATCH_MS 200

/* A path as it is below the mount's root: one that begins there loses that. NULL after having said why. */
static const char *path_below(const struct layer_target *target, const char *path)
{
	size_t length = strlen(target->path);

	if (*path != '/')
		return path;
	if (target->fs == NULL && strncmp(path, target->path, length) == 0 &&
	    (path[length] == '/' || path[length] == '\0'))
		return path + length;
	ctl_say("'%s': paths are relative to the mount's root, or begin with '%s'", path, target->path);
	return NULL;
}

/* What programs have stored through mappings so far belongs to what is committed or thrown away. */
static void hand_over(const struct layer_target *target)
{
	if (target->fs == NULL)
		syncfs(target->client.fd);
}

/* Paths as layer/command.h has them, behind @head; malloc'ed, or NULL after having said why. */
static char *join_paths(const struct layer_target *target, const char *head, char **paths, int count)
{
	size_t size = strlen(head) + 1;
	char *words, *to;

	for (int i = 0; i < count; i++)
		size += 2 * strlen(paths[i]) + 1;
	words = malloc(size);
	if (words == NULL)
		return NULL;
	to = stpcpy(words, head);
	for (int i = 0; i < count; i++) {
		const char *path = path_below(target, paths[i]);

		if (path == NULL) {
			free(words);
			return NULL;
		}
		if (i > 0)
			*to++ = '\n';
		/* The root is no empty word. */
		path = *path == '\0' ? "." : path;
		for (; *path != '\0'; path++) {
			if (*path == '\n' || *path == '\\')
				*to++ = '\\';
			*to++ = *path == '\n' ? 'n' : *path;
		}
	}
	*to = '\0';
	return words;
}

enum ctl_status ctl_layer_discard(const char *const *options, char **operands, int count)
{
	CLEANUP(layer_target_close) struct layer_target target = LAYER_TARGET_NONE;
	CLEANUP(free_pointer) char *words = NULL;
	char bytes[TEXT_SIZE];
	json_t *answer;

	(void)options;
	if (layer_target_open(operands[0], &target) < 0 ||
	    (words = join_paths(&target, "", operands + 1, count - 1)) == NULL)
		return CTL_FAILED;
	hand_over(&target);
	if (layer_target_ask(&target, "discard", words, &answer) < 0)
		return CTL_FAILED;
	printf("%llu objects, %s discarded\n", (unsigned long long)ctl_number(answer, "objects"),
	       text_bytes(ctl_number(answer, "bytes"), bytes));
	json_decref(answer);
	return CTL_DONE;
}

/* Asks, while another request runs, how far that is: of a mount its daemon. */
struct watcher {
	const struct layer_target *target;
	struct progress progress;
	uint64_t shown;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool ended; /* protected by lock */
};

static void watch(struct watcher *watcher)
{
	CLEANUP(free_pointer) char *text = NULL;
	json_t *answer;
	uint64_t done;

	if ((watcher->target->fs != NULL
		     ? layer_commit_progress(watcher->target->fs, &text)
		     : client_try(&watcher->target->client, "layer", "progress", &text)) < 0)
		return;
	answer = json_loads(text, 0, NULL);
	done = ctl_number(answer, "done");
	if (ctl_number(answer, "all") > 0) {
		watcher->progress.all = ctl_number(answer, "all");
		progress_add(&watcher->progress, done > watcher->shown ? done - watcher->shown : 0);
		watcher->shown = MAX(done, watcher->shown);
	}
	json_decref(answer);
}

static void *watcher_run(void *argument)
{
	struct watcher *watcher = argument;
	struct timespec deadline;

	pthread_mutex_lock(&watcher->lock);
	while (!watcher->ended) {
		pthread_mutex_unlock(&watcher->lock);
		watch(watcher);
		pthread_mutex_lock(&watcher->lock);
		clock_gettime(CLOCK_REALTIME, &deadline);
		deadline.tv_nsec += WATCH_MS * 1000000;
		deadline.tv_sec += deadline.tv_nsec / 1000000000;
		deadline.tv_nsec %= 1000000000;
		if (!watcher->ended)
			pthread_cond_timedwait(&watcher->changed, &watcher->lock, &deadline);
	}
	pthread_mutex_unlock(&watcher->lock);
	return NULL;
}

/* The request, with a line on a terminal meanwhile. */
static int commit(const struct layer_target *target, const char *verb, const char *words, json_t **ret_answer)
{
	struct watcher watcher = {.target = target};
	pthread_t thread;
	bool watched;
	int result;

	progress_begin(&watcher.progress, true, 0);
	pthread_mutex_init(&watcher.lock, NULL);
	pthread_cond_init(&watcher.changed, NULL);
	watched = watcher.progress.shown && pthread_create(&thread, NULL, watcher_run, &watcher) == 0;
	result = layer_target_ask(target, verb, words, ret_answer);
	if (watched) {
		pthread_mutex_lock(&watcher.lock);
		watcher.ended = true;
		pthread_cond_signal(&watcher.changed);
		pthread_mutex_unlock(&watcher.lock);
		pthread_join(thread, NULL);
		if (result == 0)
			progress_add(&watcher.progress,
				     MAX(ctl_number(*ret_answer, "bytes"), watcher.shown) - watcher.shown);
		progress_end(&watcher.progress);
	}
	pthread_cond_destroy(&watcher.changed);
	pthread_mutex_destroy(&watcher.lock);
	return result;
}

enum ctl_status ctl_layer_commit(const char *const *options, char **operands, int count)
{
	CLEANUP(layer_target_close) struct layer_target target = LAYER_TARGET_NONE;
	CLEANUP(free_pointer) char *words = NULL;
	char bytes[TEXT_SIZE];
	json_t *answer;

	if (layer_target_open(operands[0], &target) < 0 ||
	    (words = join_paths(&target, "", operands + 1, count - 1)) == NULL)
		return CTL_FAILED;
	hand_over(&target);
	if (commit(&target, options[0] != NULL ? "overwrite" : "commit", words, &answer) < 0)
		return CTL_FAILED;
	printf("%llu objects, %s committed\n", (unsigned long long)ctl_number(answer, "objects"),
	       text_bytes(ctl_number(answer, "bytes"), bytes));
	json_decref(answer);
	return CTL_DONE;
}
