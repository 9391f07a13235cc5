/* SPDX-License-Identifier: MIT */
#include "layer/home.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "util.h"

#define HOLDER_SIZE (PATH_MAX + 64)

int home_refuse(char **ret_error, int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(ret_error, format, arguments) < 0)
		*ret_error = NULL;
	va_end(arguments);
	return error;
}

/* Each holder has a line, and it counts as long as its process is there. */
static int refuse_held(const struct home *home, const char *path, char **ret_error)
{
	char text[8 * HOLDER_SIZE] = "", *rest = text, *line, *first = NULL;
	ssize_t length = pread(home->lock_fd, text, sizeof(text) - 1, 0);
	unsigned others = 0;

	text[MAX(length, 0)] = '\0';
	while ((line = strsep(&rest, "\n")) != NULL) {
		int process;

		if (sscanf(line, "process %d", &process) != 1 || (kill(process, 0) < 0 && errno == ESRCH))
			continue;
		if (first == NULL)
			first = line;
		else
			others++;
	}
	if (first == NULL)
		return home_refuse(ret_error, -EBUSY, "layer '%s' is in use by another process", path);
	if (others == 0)
		return home_refuse(ret_error, -EBUSY, "layer '%s' is in use by %s", path, first);
	return home_refuse(ret_error, -EBUSY, "layer '%s' is in use by %s, and %u more", path, first, others);
}

static int say_holder(const struct home *home, const char *path, const char *holder, bool alone,
		      char **ret_error)
{
	char line[HOLDER_SIZE];
	int length = snprintf(line, sizeof(line), "%s\n", holder);

	length = MIN(length, (int)sizeof(line) - 1);
	if ((alone && ftruncate(home->lock_fd, 0) < 0) || lseek(home->lock_fd, 0, SEEK_END) < 0 ||
	    write(home->lock_fd, line, (size_t)length) != length)
		return home_refuse(ret_error, -errno, "cannot write the lock of layer '%s': %s", path,
				   strerror(errno));
	return 0;
}

static int take_lock(struct home *home, const char *path, const char *holder, char **ret_error)
{
	home->lock_fd = openat(home->directory, HOME_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (home->lock_fd < 0)
		return home_refuse(ret_error, -errno, "cannot open the lock of layer '%s': %s", path,
				   strerror(errno));
	if (flock(home->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return refuse_held(home, path, ret_error);
	return say_holder(home, path, holder, true, ret_error);
}

static int open_directory(struct home *home, const char *path, char **ret_error)
{
	home->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (home->directory < 0 || (home->path = realpath(path, NULL)) == NULL)
		return home_refuse(ret_error, -errno, "cannot open layer '%s': %s", path, strerror(errno));
	return 0;
}

/* A directory without a database has nothing in it, or only what a daemon made that died before it got far. */
static int check_empty(const struct home *home, const char *path, char **ret_error)
{
	DIR *directory = fdopendir(openat(home->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	const struct dirent *entry;
	int result = 0;

	if (directory == NULL)
		return home_refuse(ret_error, -errno, "cannot read layer '%s': %s", path, strerror(errno));
	while (result == 0 && (entry = readdir(directory)) != NULL) {
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, HOME_LOCK) != 0 &&
		    strcmp(entry->d_name, HOME_PAGES) != 0)
			result = home_refuse(ret_error, -ENOTEMPTY,
					     "'%s' is no layer: it has no %s, but '%s' is in it", path,
					     HOME_DATABASE, entry->d_name);
	}
	closedir(directory);
	return result;
}

static int open_database(struct home *home, const char *path, bool shared, char **ret_error)
{
	char name[64];
	int result;

	snprintf(name, sizeof(name), "/proc/self/fd/%d/%s", home->directory, HOME_DATABASE);
	result = shared ? db_open_shared(name, &home->db) : db_open(name, &home->db);
	if (result == -EPROTO && db_format() != 0)
		return home_refuse(ret_error, result,
				   "layer '%s' has format %d, and this program knows format %d", path,
				   db_format(), DB_FORMAT);
	if (result == -EPROTO || result == -EUCLEAN)
		return home_refuse(ret_error, result, "'%s/%s' is not a layer's database, or is damaged",
				   path, HOME_DATABASE);
	if (result < 0)
		return home_refuse(ret_error, result, "cannot open '%s/%s': %s", path, HOME_DATABASE,
				   strerror(-result));
	return 0;
}

static int open_pages(struct home *home, const char *path, char **ret_error)
{
	home->pages = openat(home->directory, HOME_PAGES, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (home->pages < 0)
		return home_refuse(ret_error, -errno, "cannot open '%s/%s': %s", path, HOME_PAGES,
				   strerror(errno));
	return 0;
}

int home_number_get(struct layer_db *db, const char *fact, uint64_t *ret_number)
{
	CLEANUP(free_pointer) void *value = NULL;
	ssize_t size = db_fact_get(db, fact, &value);

	if (size < 0)
		return (int)size;
	if (size != sizeof(*ret_number))
		return -EUCLEAN;
	memcpy(ret_number, value, sizeof(*ret_number));
	return 0;
}

int home_number_put(struct layer_db *db, const char *fact, uint64_t number)
{
	return db_fact_put(db, fact, &number, sizeof(number));
}

static int read_identity(struct home *home)
{
	CLEANUP(free_pointer) void *id = NULL;
	ssize_t size = db_fact_get(home->db, FACT_ID, &id);
	int result;

	if (size < 0)
		return (int)size;
	if (size != HOME_ID_LENGTH)
		return -EUCLEAN;
	memcpy(home->id, id, HOME_ID_LENGTH);
	result = home_number_get(home->db, FACT_FIRST, &home->first);
	return result < 0 ? result : home_number_get(home->db, FACT_GENERATION, &home->generation);
}

static int make_identity(struct home *home)
{
	uint64_t random[3];
	int result;

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	snprintf(home->id, sizeof(home->id), "%016llx%016llx", (unsigned long long)random[0],
		 (unsigned long long)random[1]);
	/* Numbers of other layers are others, and all fit into SQLite's. Below are those of BACKING's objects. */
	home->first = ((random[2] >> 34) + 1) * HOME_IDS;
	result = db_fact_put(home->db, FACT_ID, home->id, HOME_ID_LENGTH);
	if (result == 0)
		result = home_number_put(home->db, FACT_FIRST, home->first);
	return result < 0 ? result : home_number_put(home->db, FACT_GENERATION, 0);
}

static int identify(struct home *home, const char *path, bool make, char **ret_error)
{
	int result = read_identity(home);

	if (result == -ENODATA && make)
		result = make_identity(home);
	if (result == -ENODATA || result == -EUCLEAN)
		return home_refuse(ret_error, -EUCLEAN, "'%s/%s' is not a layer's database, or is damaged",
				   path, HOME_DATABASE);
	return result;
}

int home_open(const char *path, const char *holder, struct home *ret_home, char **ret_error)
{
	struct home *home = ret_home;
	int result;

	*home = HOME_NONE;
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return home_refuse(ret_error, -errno, "cannot make layer '%s': %s", path, strerror(errno));
	result = open_directory(home, path, ret_error);
	if (result == 0)
		result = take_lock(home, path, holder, ret_error);
	if (result == 0 && faccessat(home->directory, HOME_DATABASE, F_OK, 0) < 0)
		result = check_empty(home, path, ret_error);
	if (result == 0)
		result = open_database(home, path, false, ret_error);
	if (result == 0 && mkdirat(home->directory, HOME_PAGES, 0700) < 0 && errno != EEXIST)
		result = home_refuse(ret_error, -errno, "cannot make '%s/%s': %s", path, HOME_PAGES,
				     strerror(errno));
	if (result == 0)
		result = open_pages(home, path, ret_error);
	if (result == 0 && fsync(home->directory) < 0)
		result = -errno;
	return result < 0 ? result : identify(home, path, true, ret_error);
}

static bool has_log(const struct home *home)
{
	struct stat info;

	return fstatat(home->directory, HOME_DATABASE_LOG, &info, 0) == 0 && info.st_size > 0;
}

/* Is its database of a format that is brought up to date when it is opened to be written? */
static bool is_older(struct home *home)
{
	char *ignored = NULL;
	int result = open_database(home, "", true, &ignored);

	free(ignored);
	db_close(home->db);
	home->db = NULL;
	return result == -EPROTO && db_format() > 0 && db_format() < DB_FORMAT;
}

/* Brings into the database what a crash has left in its log. The layer is held alone. */
static int recover(struct home *home, const char *path, char **ret_error)
{
	bool changed;
	int result = open_database(home, path, false, ret_error);

	if (result == 0)
		result = identify(home, path, true, ret_error);
	if (result == 0)
		result = db_commit(home->db, &changed);
	db_close(home->db);
	home->db = NULL;
	return result;
}

static int take_shared_lock(struct home *home, const char *path, const char *holder, char **ret_error)
{
	bool alone;
	int result = 0;

	home->lock_fd = openat(home->directory, HOME_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	/* What nobody can write needs no lock. */
	if (home->lock_fd < 0 && errno == EROFS && !has_log(home))
		return 0;
	if (home->lock_fd < 0)
		return home_refuse(ret_error, -errno, "cannot open the lock of layer '%s': %s", path,
				   strerror(errno));
	alone = flock(home->lock_fd, LOCK_EX | LOCK_NB) == 0;
	if (alone && (has_log(home) || is_older(home)))
		result = recover(home, path, ret_error);
	if (result < 0)
		return result;
	/* A lock that is changed is let go for a moment. */
	if (flock(home->lock_fd, LOCK_SH | LOCK_NB) < 0 || has_log(home))
		return refuse_held(home, path, ret_error);
	return say_holder(home, path, holder, alone, ret_error);
}

int home_open_shared(const char *path, const char *holder, struct home *ret_home, char **ret_error)
{
	struct home *home = ret_home;
	int result;

	*home = HOME_NONE;
	result = open_directory(home, path, ret_error);
	if (result == 0 && faccessat(home->directory, HOME_DATABASE, F_OK, 0) < 0)
		result = home_refuse(ret_error, -ENOTDIR, "'%s' is no layer: it has no %s", path,
				     HOME_DATABASE);
	if (result == 0)
		result = take_shared_lock(home, path, holder, ret_error);
	if (result == 0)
		result = open_database(home, path, true, ret_error);
	if (result == 0)
		result = open_pages(home, path, ret_error);
	return result < 0 ? result : identify(home, path, false, ret_error);
}

int home_open_reader(const struct home *home, struct layer_db **ret_db, char **ret_error)
{
	struct home reading = HOME_NONE;
	int result;

	reading.directory = home->directory;
	result = open_database(&reading, home->path, true, ret_error);
	if (result == 0)
		*ret_db = reading.db;
	return result;
}

#define SHARE_TRIES 100
#define SHARE_PAUSE_US 10000

int home_share(struct home *home, const char *holder, char **ret_error)
{
	for (unsigned tries = 0; flock(home->lock_fd, LOCK_SH | LOCK_NB) < 0; tries++) {
		if (tries == SHARE_TRIES)
			return refuse_held(home, home->path, ret_error);
		usleep(SHARE_PAUSE_US);
	}
	return say_holder(home, home->path, holder, true, ret_error);
}

void home_close(struct home *home)
{
	db_close(home->db);
	home->db = NULL;
	close_fd(&home->pages);
	close_fd(&home->directory);
	close_fd(&home->lock_fd);
	free_pointer(&home->path);
}

bool home_is_same(const struct home *home, const struct home *other)
{
	struct stat one, two;

	return fstat(home->directory, &one) == 0 && fstat(other->directory, &two) == 0 &&
	       one.st_dev == two.st_dev && one.st_ino == two.st_ino;
}

/* One line a layer: "ID GENERATION PATH", each with a zero behind it, as a path may have line breaks. */
static int read_line(const char *line, struct home_below *ret_below)
{
	unsigned long long generation;
	int length = 0;

	if (sscanf(line, "%32[0-9a-f] %llu %n", ret_below->id, &generation, &length) != 2 || length == 0 ||
	    strlen(ret_below->id) != HOME_ID_LENGTH)
		return -EUCLEAN;
	ret_below->generation = generation;
	ret_below->path = strdup(line + length);
	return ret_below->path == NULL ? -ENOMEM : 0;
}

int home_stack_read(struct layer_db *db, struct home_stack *ret_stack)
{
	CLEANUP(free_pointer) void *value = NULL;
	struct home_stack stack = {0};
	ssize_t size = db_fact_get(db, FACT_STACK, &value);
	int result = size == -ENODATA ? 0 : (int)MIN(size, 0);

	for (const char *line = value; size > 0 && result == 0 && line < (char *)value + size;
	     line += strlen(line) + 1) {
		struct home_below *grown = reallocarray(stack.below, stack.count + 1, sizeof(stack.below[0]));

		result = grown == NULL ? -ENOMEM : 0;
		if (result < 0)
			break;
		stack.below = grown;
		stack.below[stack.count] = (struct home_below){0};
		result = read_line(line, &stack.below[stack.count++]);
	}
	if (result < 0)
		home_stack_fini(&stack);
	else
		*ret_stack = stack;
	return result;
}

int home_stack_write(struct layer_db *db, const struct home_stack *stack)
{
	CLEANUP(free_pointer) char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);

	if (stream == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < stack->count; i++) {
		const struct home_below *below = &stack->below[i];

		fprintf(stream, "%s %llu %s", below->id, (unsigned long long)below->generation, below->path);
		fputc('\0', stream);
	}
	if (fclose(stream) != 0)
		return -ENOMEM;
	return db_fact_put(db, FACT_STACK, text, size);
}

void home_stack_fini(struct home_stack *stack)
{
	for (size_t i = 0; i < stack->count; i++)
		free(stack->below[i].path);
	free(stack->below);
	*stack = (struct home_stack){0};
}
