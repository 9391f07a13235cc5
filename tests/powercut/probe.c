/* SPDX-License-Identifier: MIT */
/*
 * What a mount does about durability, asked of it as its users are: does an fsync reach the disk, who hears
 * of a write-back that failed, what is left when its daemon is killed. It judges nothing; each answer is a
 * line of the log, "V name words". Runs in the guest; /backing lies on /dev/mapper/flaky over /dev/vda.
 *
 * usage: probe flushes|errors|client MOUNT; probe kill MOUNT PID; probe direct MOUNT PID NAME
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LOG_FD 3
#define PAGE 4096
#define FILE_SIZE (16 * PAGE)
#define BEHIND "/backing/data/"
/* Whatever a mount does by itself it has done then. */
#define BACKGROUND_S 12

static void answer(const char *name, const char *words)
{
	char line[200];
	int length = snprintf(line, sizeof(line), "V %s %s\n", name, words);

	if (write(LOG_FD, line, (size_t)length) != length)
		abort();
}

static void must(bool worked, const char *what)
{
	char line[200];
	int length;

	if (worked)
		return;
	length = snprintf(line, sizeof(line), "E probe: %s: %s\n", what, strerror(errno));
	if (write(LOG_FD, line, (size_t)length) != length)
		abort();
	exit(1);
}

static int outcome(int result)
{
	return result < 0 ? errno : 0;
}

static const char *told(int result)
{
	int error = outcome(result);

	return error == 0 ? "nothing" : error == EIO ? "EIO" : strerror(error);
}

/* Requests to empty its cache that the disk has completed. */
static unsigned long flushes(void)
{
	unsigned long fields[17] = {0};
	FILE *file = fopen("/sys/block/vda/stat", "re");

	must(file != NULL, "/sys/block/vda/stat");
	for (size_t i = 0; i < 17; i++)
		must(fscanf(file, "%lu", &fields[i]) == 1, "/sys/block/vda/stat");
	fclose(file);
	return fields[15];
}

static void fill(int fd, char letter, unsigned pages)
{
	char bytes[PAGE];

	memset(bytes, letter, sizeof(bytes));
	for (unsigned page = 0; page < pages; page++)
		must(pwrite(fd, bytes, sizeof(bytes), (off_t)page * PAGE) == PAGE, "write");
}

/* Fewer than all of the file's pages, so that none but these are new. */
static void change(int fd, char letter)
{
	fill(fd, letter, 1);
}

static int file_new(const char *name)
{
	int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0644);

	must(fd >= 0, name);
	fill(fd, 'a', FILE_SIZE / PAGE);
	must(fsync(fd) == 0, "fsync");
	sync();
	return fd;
}

static void *map(int fd)
{
	void *bytes = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	must(bytes != MAP_FAILED, "mmap");
	return bytes;
}

static void reaches_disk(const char *name, unsigned long before)
{
	answer(name, flushes() > before ? "yes" : "no");
}

static void ask_flushes(void)
{
	int fd = file_new("flushed"), directory = open(".", O_RDONLY | O_DIRECTORY), synchronous;
	unsigned long before;
	char *bytes;

	change(fd, 'b');
	before = flushes();
	must(fsync(fd) == 0, "fsync");
	reaches_disk("fsync", before);

	change(fd, 'c');
	before = flushes();
	must(fdatasync(fd) == 0, "fdatasync");
	reaches_disk("fdatasync", before);

	synchronous = open("flushed", O_WRONLY | O_DSYNC);
	must(synchronous >= 0, "open");
	before = flushes();
	change(synchronous, 'd');
	reaches_disk("O_DSYNC", before);
	close(synchronous);

	bytes = map(fd);
	bytes[0] = 'e';
	before = flushes();
	must(msync(bytes, FILE_SIZE, MS_SYNC) == 0, "msync");
	reaches_disk("msync", before);
	munmap(bytes, FILE_SIZE);

	before = flushes();
	must(mkdir("made", 0755) == 0 && directory >= 0, "mkdir");
	/* Not every file system has it for directories. */
	if (fsync(directory) < 0)
		answer("fsync-directory", told(-1));
	else
		reaches_disk("fsync-directory", before);
	close(directory);

	before = flushes();
	change(fd, 'f');
	must(close(fd) == 0, "close");
	reaches_disk("close", before);
}

static void writes_fail(bool fail)
{
	must(system(fail ? "/bin/table flakey" : "/bin/table linear") == 0, "dmsetup");
}

/* The kernel writes back by itself, and fails. Who of those who had the file open then hears of it? */
static void ask_errors(void)
{
	int writer = file_new("failed"), reader = open("failed", O_RDONLY), late;
	int behind = open(BEHIND "failed", O_RDWR);

	must(reader >= 0 && behind >= 0, "open");
	/* Names that were made are synced before: a journal that fails ends the file system. */
	sleep(BACKGROUND_S);
	sync();
	writes_fail(true);
	answer("write", told((int)pwrite(writer, "changed", 7, 0)));
	/* Where the kernel keeps writes to itself, they are handed over now; not by a wait, that would hear. */
	must(sync_file_range(writer, 0, FILE_SIZE, SYNC_FILE_RANGE_WRITE) == 0, "sync_file_range");
	usleep(500000);
	must(sync_file_range(behind, 0, FILE_SIZE, SYNC_FILE_RANGE_WRITE) == 0, "sync_file_range");
	sleep(BACKGROUND_S);
	writes_fail(false);
	answer("close-of-dup", told(close(dup(writer))));
	answer("fsync-writer", told(fsync(writer)));
	answer("fsync-writer-again", told(fsync(writer)));
	answer("fsync-reader", told(fsync(reader)));
	answer("close-writer", told(close(writer)));
	late = open("failed", O_RDWR);
	must(late >= 0, "open");
	answer("fsync-late", told(fsync(late)));
}

/* Does the file in BACKING begin with this letter? */
static void is_behind(const char *name, const char *file, char letter)
{
	char path[100], byte = 0;
	int fd;

	snprintf(path, sizeof(path), BEHIND "%s", file);
	fd = open(path, O_RDONLY);
	answer(name, fd >= 0 && pread(fd, &byte, 1, 0) == 1 && byte == letter ? "kept" : "lost");
	close(fd);
}

static void ask_kill(pid_t daemon)
{
	int open_one = file_new("kill.open"), closed = file_new("kill.closed"),
	    mapped = file_new("kill.mapped");
	int synced = file_new("kill.synced");
	char *bytes = map(mapped), *others = map(synced);

	bytes[0] = others[0] = 'm';
	must(msync(others, FILE_SIZE, MS_SYNC) == 0, "msync");
	change(open_one, 'k');
	change(closed, 'k');
	must(close(closed) == 0, "close");
	must(kill(daemon, SIGKILL) == 0, "kill");
	usleep(500000);
	is_behind("kill-open", "kill.open", 'k');
	is_behind("kill-closed", "kill.closed", 'k');
	is_behind("kill-mapped", "kill.mapped", 'm');
	is_behind("kill-msynced", "kill.synced", 'm');
}

/* The client is killed: what it had written, and stored, and not synced. */
static void ask_client(void)
{
	int fd = file_new("client.written"), mapped = file_new("client.mapped");
	pid_t child = fork();

	must(child >= 0, "fork");
	if (child == 0) {
		char *bytes = map(mapped);

		change(fd, 'c');
		bytes[0] = 'c';
		raise(SIGKILL);
	}
	must(waitpid(child, NULL, 0) == child, "waitpid");
	must(close(fd) == 0 && close(mapped) == 0, "close");
	usleep(1000000);
	is_behind("client-written", "client.written", 'c');
	is_behind("client-mapped", "client.mapped", 'c');
}

/* Syncs of the mount so far, by its own count. */
static unsigned long syncs(void)
{
	static const char key[] = "\"msyncs\":";
	char text[65536];
	ssize_t length = getxattr(".", "user.memmapfs.stats", text, sizeof(text) - 1);
	const char *at;

	must(length > 0, "getxattr");
	text[length] = '\0';
	at = strstr(text, key);
	must(at != NULL, "statistics");
	return strtoul(at + strlen(key), NULL, 10);
}

/* Has the process a mapping made with MAP_SYNC? */
static bool has_map_sync(const char *pid)
{
	char line[512];
	bool found = false;
	FILE *file;

	snprintf(line, sizeof(line), "/proc/%s/smaps", pid);
	file = fopen(line, "re");
	must(file != NULL, line);
	while (fgets(line, sizeof(line), file) != NULL)
		found |= strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " sf") != NULL;
	fclose(file);
	return found;
}

/* Writes into a file in DAX mode, under sync=immediate. */
static void ask_direct(const char *pid, const char *name)
{
	int fd = file_new(name);
	char label[64], words[64];
	unsigned long before = syncs();

	fill(fd, 'd', 8);
	snprintf(label, sizeof(label), "%s-syncs", name);
	snprintf(words, sizeof(words), "%lu", syncs() - before);
	answer(label, words);
	snprintf(label, sizeof(label), "%s-mapped", name);
	answer(label, has_map_sync(pid) ? "MAP_SYNC" : "msync");
	snprintf(label, sizeof(label), "%s-behind", name);
	is_behind(label, name, 'd');
	must(close(fd) == 0, "close");
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (argc < 3 || chdir(argv[2]) < 0) {
		fprintf(stderr, "usage: probe flushes|errors|client MOUNT; probe kill MOUNT PID; "
				"probe direct MOUNT PID NAME\n");
		return 2;
	}
	if (strcmp(what, "flushes") == 0)
		ask_flushes();
	else if (strcmp(what, "errors") == 0)
		ask_errors();
	else if (strcmp(what, "client") == 0)
		ask_client();
	else if (strcmp(what, "kill") == 0 && argc == 4)
		ask_kill((pid_t)strtol(argv[3], NULL, 10));
	else if (strcmp(what, "direct") == 0 && argc == 5)
		ask_direct(argv[3], argv[4]);
	else
		return 2;
	return 0;
}
