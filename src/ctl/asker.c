/* SPDX-License-Identifier: MIT */
/* A question is a line MEASURE:ROWS, an answer a line of JSON: {"stats", "files"}, or {"error"} as the last one. */
#include "ctl/asker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "util.h"

#define ANSWER_MIN 65536

static int look(const struct client *client, const char *question, struct top_sample *ret_sample)
{
	struct top_sample sample = {0};
	int result = client_ask(client, "stats", NULL, &sample.stats);

	if (result == 0)
		result = client_ask(client, "files", question, &sample.files);
	if (result < 0)
		json_decref(sample.stats);
	else
		*ret_sample = sample;
	return result;
}

int asker_look(const struct client *client, const char *measure, size_t rows, struct top_sample *ret_sample)
{
	char question[32];

	snprintf(question, sizeof(question), "%s:%zu", measure, rows);
	return look(client, question, ret_sample);
}

/* In the process; consumes the answer. */
static void tell(FILE *answers, json_t *answer)
{
	json_dumpf(answer, answers, JSON_COMPACT | JSON_PRESERVE_ORDER);
	json_decref(answer);
	fputc('\n', answers);
	fflush(answers);
}

static void tell_error(FILE *answers)
{
	tell(answers, json_pack("{ss}", "error", ctl_held()));
}

static _Noreturn void answer_all(const char *mount, int questions_fd, int answers_fd)
{
	FILE *questions = fdopen(questions_fd, "r"), *answers = fdopen(answers_fd, "w");
	struct client client = CLIENT_NONE;
	char question[32];

	/* It ends with who asks, and with nothing else. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGINT, SIG_IGN);
	if (questions == NULL || answers == NULL)
		_exit(CTL_FAILED);
	ctl_hold();
	if (client_open(mount, CLIENT_ROOT, &client) < 0) {
		tell_error(answers);
		_exit(CTL_FAILED);
	}
	while (fgets(question, sizeof(question), questions) != NULL) {
		struct top_sample sample;

		question[strcspn(question, "\n")] = '\0';
		if (look(&client, question, &sample) < 0) {
			tell_error(answers);
			_exit(CTL_FAILED);
		}
		tell(answers, json_pack("{soso}", "stats", sample.stats, "files", sample.files));
	}
	_exit(CTL_DONE);
}

int asker_start(const char *mount, struct asker *ret_asker)
{
	int questions[2] = {-1, -1}, answers[2] = {-1, -1};
	pid_t pid = -1;
	int result = 0;

	if (pipe2(questions, O_CLOEXEC) < 0 || pipe2(answers, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		result = -errno;
		ctl_say("cannot start a process to ask by: %s", strerror(-result));
		close_fd(&questions[1]);
		close_fd(&answers[0]);
	}
	if (pid == 0) {
		close(questions[1]);
		close(answers[0]);
		answer_all(mount, questions[0], answers[1]);
	}
	close_fd(&questions[0]);
	close_fd(&answers[1]);
	if (result < 0)
		return result;
	fcntl(answers[0], F_SETFL, O_NONBLOCK);
	/* A process that has gone says so by the end of its answers. */
	signal(SIGPIPE, SIG_IGN);
	*ret_asker = (struct asker){.pid = pid, .questions = questions[1], .answers = answers[0]};
	return 0;
}

void asker_ask(struct asker *asker, const char *measure, size_t rows)
{
	dprintf(asker->questions, "%s:%zu\n", measure, rows);
}

static int make_room(struct asker *asker)
{
	size_t size = MAX(2 * asker->size, ANSWER_MIN);
	char *text;

	if (asker->length + 1 < asker->size)
		return 0;
	text = realloc(asker->text, size);
	if (text == NULL)
		return -ENOMEM;
	asker->text = text;
	asker->size = size;
	return 0;
}

static int parse(struct asker *asker, struct top_sample *ret_sample)
{
	json_t *answer = json_loadb(asker->text, asker->length, 0, NULL);
	const char *error = json_string_value(json_object_get(answer, "error"));
	int result = 1;

	asker->length = 0;
	if (answer == NULL || error != NULL) {
		ctl_say("%s", error == NULL ? strerror(EPROTO) : error);
		result = -EPROTO;
	} else {
		*ret_sample = (struct top_sample){
			.stats = json_incref(json_object_get(answer, "stats")),
			.files = json_incref(json_object_get(answer, "files")),
		};
	}
	json_decref(answer);
	return result;
}

int asker_hear(struct asker *asker, struct top_sample *ret_sample)
{
	for (;;) {
		int result = make_room(asker);
		ssize_t got = result < 0 ? -1
					 : read(asker->answers, asker->text + asker->length,
						asker->size - asker->length);

		if (result == 0 && got < 0)
			result = -errno;
		if (result == -EAGAIN || result == -EINTR)
			return 0;
		if (got <= 0) {
			ctl_say("the process that asks has gone: %s",
				strerror(result == 0 ? EPIPE : -result));
			return result == 0 ? -EPIPE : result;
		}
		asker->length += (size_t)got;
		if (asker->text[asker->length - 1] == '\n')
			return parse(asker, ret_sample);
	}
}

void asker_end(struct asker *asker)
{
	/* It may be in a call that does not end before the daemon goes on: then it is left to init. */
	if (asker->pid > 0) {
		kill(asker->pid, SIGKILL);
		waitpid(asker->pid, NULL, WNOHANG);
	}
	close_fd(&asker->questions);
	close_fd(&asker->answers);
	free_pointer(&asker->text);
	asker->pid = 0;
}
