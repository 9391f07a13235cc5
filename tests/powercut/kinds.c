/* SPDX-License-Identifier: MIT */
/* The kinds of writing: each step does a few writes and what goes with them, and pauses. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "record.h"
#include "writer.h"

#define OVERWRITTEN (256 * 1024)
#define MAPPED (64 * 1024)
#define BIG (1024 * 1024)

static size_t some_units(struct writer *writer, unsigned most)
{
	return (size_t)pick(writer, 1, most) * UNIT;
}

static uint64_t some_place(struct writer *writer, uint64_t size, size_t length)
{
	return pick(writer, 0, (size - length) / UNIT) * UNIT;
}

/* A file of known size that is on disk before the writers begin. */
static void fill_and_sync(struct writer *writer, uint64_t size)
{
	stream_create(writer, "", 0);
	stream_write(writer, 'W', 0, size);
	stream_sync(writer, false);
}

static void overwrite_begin(struct writer *writer)
{
	fill_and_sync(writer, OVERWRITTEN);
}

static void overwrite_step(struct writer *writer)
{
	size_t length = some_units(writer, 64);

	stream_write(writer, 'W', some_place(writer, OVERWRITTEN, length), length);
	pause_up_to(writer, 10);
}

static void append_step(struct writer *writer)
{
	stream_create(writer, "", O_APPEND);
	for (int i = 0; i < 200; i++) {
		stream_write(writer, 'W', writer->stream.size, some_units(writer, 32));
		pause_up_to(writer, 4);
	}
	stream_close(writer);
}

/* A file written once and closed, in one to three writes; some of them leave a hole or go into one. */
static void once_step(struct writer *writer)
{
	unsigned count = (unsigned)pick(writer, 1, 3);

	stream_create(writer, "", 0);
	if (pick(writer, 0, 3) == 0)
		must(fallocate(writer->stream.fd, pick(writer, 0, 1) ? FALLOC_FL_KEEP_SIZE : 0, 0, 65536) ==
			     0,
		     "fallocate", writer);
	for (unsigned i = 0; i < count; i++) {
		uint64_t gap = pick(writer, 0, 4) == 0 ? pick(writer, 1, 1 << 20) * UNIT : 0;

		stream_write(writer, 'W', writer->stream.size + gap, some_units(writer, 128));
	}
	stream_close(writer);
	pause_up_to(writer, 30);
}

static void directory_step(struct writer *writer)
{
	char directory[64];
	int length = snprintf(directory, sizeof(directory), "new.%u/", writer->made);

	must(mkdir(directory, 0755) == 0, "mkdir", writer);
	if (pick(writer, 0, 1)) {
		strcpy(directory + length, "deeper/");
		must(mkdir(directory, 0755) == 0, "mkdir", writer);
	}
	stream_create(writer, directory, 0);
	stream_write(writer, 'W', 0, some_units(writer, 64));
	if (pick(writer, 0, 2) == 0)
		stream_sync(writer, pick(writer, 0, 1));
	stream_close(writer);
	pause_up_to(writer, 40);
}

static void fsync_step(struct writer *writer)
{
	stream_create(writer, "", pick(writer, 0, 1) ? O_APPEND : 0);
	for (int round = 0; round < 12; round++) {
		unsigned count = (unsigned)pick(writer, 1, 6);

		for (unsigned i = 0; i < count; i++)
			stream_write(writer, 'W', writer->stream.size, some_units(writer, 48));
		stream_sync(writer, pick(writer, 0, 1));
		pause_up_to(writer, 20);
	}
	stream_close(writer);
}

static void synchronous_step(struct writer *writer)
{
	stream_create(writer, "", pick(writer, 0, 1) ? O_SYNC : O_DSYNC);
	for (int i = 0; i < 20; i++) {
		size_t length = some_units(writer, 48);
		bool over = writer->stream.size > length && pick(writer, 0, 1);

		stream_write(writer, 'D',
			     over ? some_place(writer, writer->stream.size, length) : writer->stream.size,
			     length);
		pause_up_to(writer, 20);
	}
	stream_close(writer);
}

static void mapped_begin(struct writer *writer)
{
	fill_and_sync(writer, MAPPED);
}

/* How a store through a mapping becomes a write. */
enum { BY_MSYNC, BY_MUNMAP, BY_NOTHING };

static void store(struct writer *writer, unsigned how)
{
	struct stream *stream = &writer->stream;
	char *bytes = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, MAP_SHARED, stream->fd, 0);
	unsigned count = (unsigned)pick(writer, 1, 3);
	uint64_t offsets[3];
	size_t lengths[3];
	uint32_t first = stream->sequence + 1;

	must(bytes != MAP_FAILED, "mmap", writer);
	for (unsigned i = 0; i < count; i++) {
		lengths[i] = some_units(writer, 40);
		offsets[i] = some_place(writer, MAPPED, lengths[i]);
		stream->sequence++;
		say("A %u %u %llu %zu", stream->id, stream->sequence, (unsigned long long)offsets[i],
		    lengths[i]);
		units_fill(bytes + offsets[i], stream, stream->sequence, offsets[i], lengths[i]);
		if (how == BY_NOTHING)
			say("S %u %u %llu %zu %llu", stream->id, stream->sequence,
			    (unsigned long long)offsets[i], lengths[i], (unsigned long long)now_us());
	}
	if (how == BY_MSYNC)
		must(msync(bytes, MAPPED, MS_SYNC) == 0, "msync", writer);
	if (how == BY_NOTHING)
		pause_up_to(writer, 3000);
	munmap(bytes, MAPPED);
	for (unsigned i = 0; i < count; i++) {
		uint64_t now = now_us();

		if (how == BY_MSYNC)
			say("M %u %u %llu %zu %llu", stream->id, first + i, (unsigned long long)offsets[i],
			    lengths[i], (unsigned long long)now);
		else
			say("U %u %u %llu %zu %llu", stream->id, first + i, (unsigned long long)offsets[i],
			    lengths[i], (unsigned long long)now);
	}
}

static void mapped_step(struct writer *writer)
{
	store(writer, pick(writer, 0, 1) ? BY_MSYNC : BY_MUNMAP);
	pause_up_to(writer, 60);
}

/* Nothing is called for these stores in a long time: only the daemon can fetch them. */
static void stored_step(struct writer *writer)
{
	store(writer, BY_NOTHING);
}

/* The usual way to replace a file: a new one beside it, renamed over it. */
static void replace_step(struct writer *writer)
{
	char path[64];

	stream_create(writer, "", 0);
	stream_write(writer, 'W', 0, some_units(writer, 64));
	if (pick(writer, 0, 1))
		stream_sync(writer, pick(writer, 0, 1));
	stream_close(writer);
	snprintf(path, sizeof(path), "replaced.%llu", (unsigned long long)pick(writer, 0, 3));
	say("r %u %s", writer->stream.id, path);
	must(rename(writer->stream.path, path) == 0, "rename", writer);
	say("R %u %s", writer->stream.id, path);
	pause_up_to(writer, 40);
}

/* Closes of other descriptors of a file that stays open. */
static void close_step(struct writer *writer)
{
	struct stream *stream = &writer->stream;
	static const char *const names[] = {"close of a dup", "close of another descriptor",
					    "close of a descriptor for reading"};

	stream_create(writer, "", 0);
	for (int round = 0; round < 10; round++) {
		unsigned how = (unsigned)pick(writer, 0, 1);
		int other = how == 0 ? dup(stream->fd) : open(stream->path, how == 1 ? O_RDWR : O_RDONLY);

		must(other >= 0, "open", writer);
		stream_write(writer, 'W', stream->size, some_units(writer, 32));
		must(close(other) == 0, "close", writer);
		say("C %u %u %llu %s", stream->id, stream->sequence, (unsigned long long)now_us(),
		    names[how]);
		pause_up_to(writer, 40);
	}
	stream_close(writer);
}

static void big_begin(struct writer *writer)
{
	fill_and_sync(writer, BIG);
}

/* More than one request can carry. */
static void big_step(struct writer *writer)
{
	size_t length = (size_t)pick(writer, 1, BIG / 4096) * 4096;

	stream_write(writer, 'W', some_place(writer, BIG, length), length);
	pause_up_to(writer, 300);
}

/* A file emptied and written anew. */
static void rewrite_begin(struct writer *writer)
{
	fill_and_sync(writer, 4096);
}

static void rewrite_step(struct writer *writer)
{
	struct stream *stream = &writer->stream;
	uint64_t size = pick(writer, 0, 1) ? 0 : some_place(writer, stream->size, UNIT);

	stream->sequence++;
	say("t %u %u %llu", stream->id, stream->sequence, (unsigned long long)size);
	if (size == 0 && pick(writer, 0, 1)) {
		int other = open(stream->path, O_WRONLY | O_TRUNC);

		must(other >= 0, "open", writer);
		must(close(other) == 0, "close", writer);
	} else {
		must(ftruncate(stream->fd, (off_t)size) == 0, "ftruncate", writer);
	}
	stream->size = size;
	for (uint64_t i = pick(writer, 1, 4); i > 0; i--)
		stream_write(writer, 'W', stream->size, some_units(writer, 64));
	pause_up_to(writer, 60);
}

const struct kind kinds[] = {
	{"overwrite", overwrite_begin, overwrite_step},
	{"append", NULL, append_step},
	{"once", NULL, once_step},
	{"directory", NULL, directory_step},
	{"fsync", NULL, fsync_step},
	{"synchronous", NULL, synchronous_step},
	{"mapped", mapped_begin, mapped_step},
	{"stored", mapped_begin, stored_step},
	{"replace", NULL, replace_step},
	{"close", NULL, close_step},
	{"big", big_begin, big_step},
	{"rewrite", rewrite_begin, rewrite_step},
};
const size_t kinds_count = sizeof(kinds) / sizeof(kinds[0]);
