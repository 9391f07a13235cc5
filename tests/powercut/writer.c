/* SPDX-License-Identifier: MIT */
/* What all writers share: the log, the units, the files. What each does is in kinds.c. */
#include "writer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "record.h"

#define LOG_FD 3
#define WRITE_MAX (1 << 20)
#define HEARTBEAT_NS 4000000

uint32_t run;

uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* One write(2) a line: the port takes each as a whole. */
void say(const char *format, ...)
{
	char line[256];
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(line, sizeof(line) - 1, format, arguments);
	va_end(arguments);
	line[length++] = '\n';
	if (write(LOG_FD, line, (size_t)length) != length)
		abort();
}

void must(bool worked, const char *what, const struct writer *writer)
{
	if (worked)
		return;
	say("E %s of %s (%s): %s", what, writer->kind, writer->stream.path, strerror(errno));
	for (;;)
		pause();
}

uint64_t pick(struct writer *writer, uint64_t low, uint64_t high)
{
	writer->random ^= writer->random << 13;
	writer->random ^= writer->random >> 7;
	writer->random ^= writer->random << 17;
	return low + writer->random % (high - low + 1);
}

void pause_up_to(struct writer *writer, unsigned milliseconds)
{
	usleep((useconds_t)pick(writer, 0, milliseconds * 1000));
}

void units_fill(void *bytes, const struct stream *stream, uint32_t sequence, uint64_t offset, size_t length)
{
	struct unit *unit = bytes;

	for (size_t i = 0; i < length / UNIT; i++, unit++, offset += UNIT) {
		*unit = (struct unit){UNIT_MAGIC, run, stream->id, sequence, offset, 0, {0}};
		unit->word = unit_word(run, stream->id, sequence, offset);
		for (size_t k = 0; k < sizeof(unit->payload) / sizeof(unit->payload[0]); k++)
			unit->payload[k] = unit->word;
	}
}

void stream_create(struct writer *writer, const char *directory, int extra)
{
	struct stream *stream = &writer->stream;

	*stream = (struct stream){.id = (writer->index + 1) * 100000 + writer->made++};
	snprintf(stream->path, sizeof(stream->path), "%s%s.%u", directory, writer->kind, stream->id);
	stream->fd = open(stream->path, O_RDWR | O_CREAT | O_EXCL | extra, 0644);
	must(stream->fd >= 0, "open", writer);
	say("N %u %s %s", stream->id, writer->kind, stream->path);
}

void stream_write(struct writer *writer, char letter, uint64_t offset, size_t length)
{
	static _Thread_local char bytes[WRITE_MAX];
	struct stream *stream = &writer->stream;
	uint64_t begun;
	ssize_t put;

	stream->sequence++;
	units_fill(bytes, stream, stream->sequence, offset, length);
	begun = now_us();
	put = pwrite(stream->fd, bytes, length, (off_t)offset);
	must(put == (ssize_t)length, "write", writer);
	if (offset + length > stream->size)
		stream->size = offset + length;
	say("%c %u %u %llu %zu %llu %llu", letter, stream->id, stream->sequence, (unsigned long long)offset,
	    length, (unsigned long long)begun, (unsigned long long)now_us());
}

void stream_sync(struct writer *writer, bool datasync)
{
	struct stream *stream = &writer->stream;

	must((datasync ? fdatasync(stream->fd) : fsync(stream->fd)) == 0, "fsync", writer);
	say("F %u %u %llu %s", stream->id, stream->sequence, (unsigned long long)now_us(),
	    datasync ? "fdatasync" : "fsync");
}

void stream_close(struct writer *writer)
{
	struct stream *stream = &writer->stream;

	must(close(stream->fd) == 0, "close", writer);
	stream->fd = -1;
	say("C %u %u %llu close", stream->id, stream->sequence, (unsigned long long)now_us());
}

static pthread_barrier_t begin;

struct job {
	struct writer writer;
	const struct kind *kind;
};

static void *write_on(void *argument)
{
	struct job *job = argument;

	if (job->kind->begin != NULL)
		job->kind->begin(&job->writer);
	pthread_barrier_wait(&begin);
	for (;;)
		job->kind->step(&job->writer);
	return NULL;
}

static void beat(void)
{
	struct timespec next;

	clock_gettime(CLOCK_MONOTONIC, &next);
	for (;;) {
		uint64_t due, now;

		next.tv_nsec += HEARTBEAT_NS;
		if (next.tv_nsec >= 1000000000) {
			next.tv_nsec -= 1000000000;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
		now = now_us();
		due = (uint64_t)next.tv_sec * 1000000 + (uint64_t)next.tv_nsec / 1000;
		say("H %llu %llu", (unsigned long long)now, (unsigned long long)(now - due));
		/* Beats that were slept over are not made up for. */
		if (now - due > HEARTBEAT_NS / 1000)
			clock_gettime(CLOCK_MONOTONIC, &next);
	}
}

static bool wanted(const char *list, const char *name)
{
	size_t length = strlen(name);

	for (const char *at = list; (at = strstr(at, name)) != NULL; at += length) {
		if ((at == list || at[-1] == ',') && (at[length] == ',' || at[length] == '\0'))
			return true;
	}
	return strcmp(list, "all") == 0;
}

int main(int argc, char **argv)
{
	struct job *jobs = calloc(kinds_count, sizeof(*jobs));
	unsigned count = 0;

	if (argc != 4 || jobs == NULL || chdir(argv[1]) < 0) {
		fprintf(stderr, "usage: writer DIRECTORY SEED KINDS\n");
		return 2;
	}
	run = (uint32_t)strtoul(argv[2], NULL, 0);
	for (unsigned i = 0; i < kinds_count; i++) {
		struct job *job = &jobs[count];

		if (!wanted(argv[3], kinds[i].name))
			continue;
		job->kind = &kinds[i];
		job->writer.kind = kinds[i].name;
		job->writer.index = i;
		job->writer.random = ((uint64_t)run << 8 | (i + 1)) * 0x9e3779b97f4a7c15ULL;
		count++;
	}
	pthread_barrier_init(&begin, NULL, count + 1);
	for (unsigned i = 0; i < count; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, write_on, &jobs[i]) != 0)
			return 1;
	}
	pthread_barrier_wait(&begin);
	say("G %llu", (unsigned long long)now_us());
	beat();
}
