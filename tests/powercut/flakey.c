/* SPDX-License-Identifier: MIT */
/*
 * Errors of a disk that really fails: dm-flakey drops or refuses what is written while a file's pages are
 * being synced. Runs in the guest; each check is a line of the log, "K sentence" or "E sentence".
 *
 * usage: flakey DIRECTORY MODE INTERVAL_MS
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOG_FD 3
#define SIZE (64 * 1024)
#define PAGE 4096
#define HANDLES 8

static const char *mode;
static useconds_t interval_us;
static unsigned files;

static void say(char letter, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(char letter, const char *format, ...)
{
	char line[300];
	va_list arguments;
	int length = snprintf(line, sizeof(line), "%c sync=%s: ", letter, mode);

	va_start(arguments, format);
	length += vsnprintf(line + length, sizeof(line) - (size_t)length - 1, format, arguments);
	va_end(arguments);
	line[length++] = '\n';
	if (write(LOG_FD, line, (size_t)length) != length)
		abort();
}

static void must(bool worked, const char *what)
{
	if (worked)
		return;
	say('E', "%s: %s", what, strerror(errno));
	exit(1);
}

/* The device's table from now on: writes fail, or work. */
static void writes_fail(bool fail)
{
	must(system(fail ? "/bin/table flakey" : "/bin/table linear") == 0, "dmsetup");
}

static int outcome(int result)
{
	return result < 0 ? errno : 0;
}

static void expect(int told, int due, unsigned handles, const char *what)
{
	if (told == due)
		say('K', "%u handles: %s: %s", handles, what, told == 0 ? "nothing" : strerror(told));
	else
		say('E', "%u handles: %s: told %s, due was %s", handles, what,
		    told == 0 ? "nothing" : strerror(told), due == 0 ? "nothing" : strerror(due));
}

static int put(int fd, unsigned page)
{
	char bytes[PAGE];

	memset(bytes, 'a' + (int)(page % 26), sizeof(bytes));
	return outcome((int)pwrite(fd, bytes, sizeof(bytes), (off_t)page * PAGE));
}

static void wait_for_ticks(void)
{
	usleep(3 * interval_us + 300000);
}

/* What was written fails to reach the disk, by what the mode does with it. The first handle hears of it. */
static void lose(int fd, unsigned handles)
{
	int told;

	writes_fail(true);
	told = put(fd, 3);
	if (strcmp(mode, "immediate") == 0) {
		expect(told, EIO, handles, "a write that cannot reach the disk");
	} else {
		expect(told, 0, handles, "a write into the page cache");
		if (strcmp(mode, "periodic") == 0)
			wait_for_ticks();
		else if (strcmp(mode, "lazy") == 0)
			expect(outcome(close(dup(fd))), EIO, handles, "a close that syncs");
		else
			expect(outcome(fdatasync(fd)), EIO, handles, "an fdatasync that syncs");
	}
	writes_fail(false);
}

static void check_handles(unsigned handles)
{
	bool own = strcmp(mode, "immediate") == 0 || strcmp(mode, "never") == 0; /* the first consumed it */
	int fds[HANDLES], late, told;
	char path[32];

	snprintf(path, sizeof(path), "file.%u", files++);
	fds[0] = open(path, O_RDWR | O_CREAT | O_EXCL, 0644);
	must(fds[0] >= 0, "open");
	for (unsigned page = 0; page < SIZE / PAGE; page++)
		must(put(fds[0], page) == 0, "write");
	must(fsync(fds[0]) == 0, "fsync");
	for (unsigned i = 1; i < handles; i++)
		must((fds[i] = open(path, i % 2 ? O_RDONLY : O_RDWR)) >= 0, "open");
	/* The data only: no metadata is on its way when the disk fails, so the file system lives on. */
	sync();
	lose(fds[0], handles);
	for (unsigned i = 1; i < handles; i++) {
		expect(outcome(close(dup(fds[i]))), EIO, handles, "close of a dup of a handle that was open");
		if (i % 3 == 0)
			continue;
		expect(outcome(fsync(fds[i])), EIO, handles, "fsync of a handle that was open");
		expect(outcome(fsync(fds[i])), 0, handles, "the second fsync of it");
	}
	expect(outcome(fsync(fds[0])), own ? 0 : EIO, handles, "fsync of the handle that wrote");
	expect(outcome(fsync(fds[0])), 0, handles, "the second fsync of the handle that wrote");
	late = open(path, O_RDWR);
	must(late >= 0, "open");
	expect(outcome(fsync(late)), 0, handles, "fsync of a handle opened after others had heard");
	told = put(late, 5);
	expect(told, 0, handles, "a write after the disk was mended");
	wait_for_ticks();
	expect(outcome(fdatasync(late)), 0, handles, "fdatasync of it");
	for (unsigned i = 0; i < handles; i++)
		expect(outcome(close(fds[i])), i != 0 && i % 3 == 0 ? EIO : 0, handles, "close");
	expect(outcome(close(late)), 0, handles, "close of the late handle");

	/* Synced by a descriptor that may have known the file before: it must not tell of the past again. */
	late = open(path, O_WRONLY);
	must(late >= 0 && put(late, 7) == 0 && close(late) == 0, "writing and closing");
	late = open(path, O_RDONLY);
	wait_for_ticks();
	expect(outcome(fsync(late)), 0, handles, "fsync for reading, after a sync without writers");
	expect(outcome(close(late)), 0, handles, "close for reading");
}

/*
 * The kernel's own write-back fails, and two descriptors of the backing file may each be told of it: one
 * failure all the same.
 */
static void check_write_back(void)
{
	bool own = strcmp(mode, "immediate") == 0;
	int reader, writer, backing, late;
	char path[32], behind[64];

	snprintf(path, sizeof(path), "file.%u", files++);
	snprintf(behind, sizeof(behind), "/backing/%s/%s", mode, path);
	writer = open(path, O_RDWR | O_CREAT | O_EXCL, 0644);
	must(writer >= 0, "open");
	for (unsigned page = 0; page < SIZE / PAGE; page++)
		must(put(writer, page) == 0, "write");
	must(fsync(writer) == 0 && close(writer) == 0, "fsync and close");
	wait_for_ticks();
	must((reader = open(path, O_RDONLY)) >= 0, "open");
	must(fsync(reader) == 0, "fsync");
	must((writer = open(path, O_RDWR)) >= 0, "open");
	must((backing = open(behind, O_RDWR)) >= 0, "open");
	sync();
	writes_fail(true);
	expect(put(writer, 3), own ? EIO : 0, 2, "a write that the kernel is to write back");
	/* No wait: that would be told of the failure. */
	must(sync_file_range(backing, 0, SIZE, SYNC_FILE_RANGE_WRITE) == 0, "sync_file_range");
	wait_for_ticks();
	writes_fail(false);
	expect(outcome(fsync(writer)), own ? 0 : EIO, 2, "fsync of the writer after a failed write-back");
	expect(outcome(fsync(writer)), 0, 2, "the second fsync of the writer");
	expect(outcome(fsync(reader)), EIO, 2, "fsync of the reader after a failed write-back");
	expect(outcome(fsync(reader)), 0, 2, "the second fsync of the reader");
	expect(outcome(fsync(writer)), 0, 2, "the third fsync of the writer");
	must((late = open(path, O_RDONLY)) >= 0, "open");
	expect(outcome(fsync(late)), 0, 2, "fsync of a handle opened after both had heard");
	must(close(late) == 0 && close(reader) == 0 && close(writer) == 0 && close(backing) == 0, "close");
	must((late = open(path, O_RDONLY)) >= 0, "open");
	expect(outcome(fsync(late)), 0, 2, "fsync of a handle opened after all were closed");
	must(close(late) == 0, "close");
}

/* Nobody is there when it fails; who comes next is told, and nobody after that. */
static void check_nobody(void)
{
	char path[32];
	int fd;

	if (strcmp(mode, "periodic") != 0)
		return;
	snprintf(path, sizeof(path), "file.%u", files++);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0644);
	must(fd >= 0, "open");
	for (unsigned page = 0; page < SIZE / PAGE; page++)
		must(put(fd, page) == 0, "write");
	must(fsync(fd) == 0, "fsync");
	sync();
	writes_fail(true);
	must(put(fd, 3) == 0, "write");
	must(close(fd) == 0, "close");
	wait_for_ticks();
	writes_fail(false);
	fd = open(path, O_RDONLY);
	expect(outcome(fsync(fd)), EIO, 0, "fsync of the first handle after a failure that nobody saw");
	close(fd);
	fd = open(path, O_RDONLY);
	expect(outcome(fsync(fd)), 0, 0, "fsync of the second");
	close(fd);
}

int main(int argc, char **argv)
{
	static const unsigned counts[] = {1, 2, HANDLES};

	if (argc != 4 || chdir(argv[1]) < 0) {
		fprintf(stderr, "usage: flakey DIRECTORY MODE INTERVAL_MS\n");
		return 2;
	}
	mode = argv[2];
	interval_us = (useconds_t)strtoul(argv[3], NULL, 10) * 1000;
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		check_handles(counts[i]);
	check_nobody();
	check_write_back();
	return 0;
}
