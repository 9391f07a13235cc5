/* SPDX-License-Identifier: MIT */
#ifndef POWERCUT_WRITER_H
#define POWERCUT_WRITER_H

/*
 * Writers on the mount in the guest. Each is a thread with files of its own, so that the writes of a file
 * have one order, and says what the mount has acknowledged, line by line, to the port that outlives the
 * guest. Times are microseconds of CLOCK_MONOTONIC.
 *
 *	N file writer path		open for the first time, under this path
 *	W file seq offset length t t	a write was called and returned
 *	S file seq offset length t	a store through a mapping, and nothing has been called for it
 *	M file seq offset length t	a store whose msync returned
 *	U file seq offset length t	a store whose munmap returned
 *	D file seq offset length t	a write to an O_DSYNC or O_SYNC descriptor returned
 *	A file seq offset length	about to be written or stored (where several are on their way)
 *	F file seq t how		fsync or fdatasync returned; covers the writes up to seq
 *	C file seq t how		close returned; covers the writes up to seq
 *	t file seq size			about to be truncated
 *	r file path			about to be renamed to path, which it replaces
 *	R file path			was renamed
 *	H t late			heartbeat: the time, and how late the thread was woken
 *	G t				all writers run
 *	E what errno			something failed: no test of anything
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stream {
	uint32_t id;
	uint32_t sequence; /* of the last write */
	int fd;
	uint64_t size;
	char path[96];
};

struct writer {
	const char *kind;
	unsigned index;
	unsigned made; /* files */
	uint64_t random;
	struct stream stream;
};

extern uint32_t run; /* number of this run, in every unit */

uint64_t now_us(void);
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void must(bool worked, const char *what, const struct writer *writer);
uint64_t pick(struct writer *writer, uint64_t low, uint64_t high); /* both included */
void pause_up_to(struct writer *writer, unsigned milliseconds);

/* Fill @bytes with units of the stream's next write. */
void units_fill(void *bytes, const struct stream *stream, uint32_t sequence, uint64_t offset, size_t length);

/* A new file of the writer, open; @extra is added to O_RDWR | O_CREAT | O_EXCL. */
void stream_create(struct writer *writer, const char *directory, int extra);

/* Write @length bytes at @offset, or at the end of an O_APPEND file, and say so with @letter. */
void stream_write(struct writer *writer, char letter, uint64_t offset, size_t length);

void stream_sync(struct writer *writer, bool datasync);
void stream_close(struct writer *writer);

struct kind {
	const char *name;
	void (*begin)(struct writer *writer); /* or NULL */
	void (*step)(struct writer *writer);
};

extern const struct kind kinds[];
extern const size_t kinds_count;

#endif
