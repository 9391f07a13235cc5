/* SPDX-License-Identifier: MIT */
/*
 * A file of the mount may be in memory twice: in BACKING's page cache, which the windows share with
 * everybody who works in BACKING, and in the kernel's own cache of the mount. The picture is of the first: it is
 * what hints, preloading and locking act on, and only the daemon can ask for it. The second is told in
 * a line below, from a question that this process asks itself.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/picture.h"
#include "ctl/text.h"
#include "mapping/residency.h"
#include "util.h"

#define PARTS_EACH 256 /* asked for at once */
#define COLUMNS_MIN 10
#define BESIDE 12 /* columns of a line beside the picture */
#define BELOW 10  /* lines around it */

static void take_parts(struct picture *picture, size_t first, const json_t *answer)
{
	const json_t *part;
	size_t i;

	json_array_foreach(json_object_get(answer, "parts"), i, part)
	{
		if (first + i >= picture->count)
			return;
		picture->parts[first + i].cached = (uint64_t)json_integer_value(json_array_get(part, 0));
		picture->parts[first + i].dirty = (uint64_t)json_integer_value(json_array_get(part, 1));
		picture->parts[first + i].locked = (uint64_t)json_integer_value(json_array_get(part, 2));
	}
}

static int ask_parts(const struct client *client, struct picture *picture)
{
	for (size_t first = 0, got; first < picture->count; first += got) {
		char value[80];
		json_t *answer;
		int result;

		snprintf(value, sizeof(value), "%llu:%llu:%zu",
			 (unsigned long long)first * picture->part_bytes,
			 (unsigned long long)picture->part_bytes, MIN(picture->count - first, PARTS_EACH));
		result = client_ask(client, "residency", value, &answer);
		if (result < 0)
			return result;
		take_parts(picture, first, answer);
		got = json_array_size(json_object_get(answer, "parts"));
		json_decref(answer);
		if (got == 0)
			return -EPROTO;
	}
	return 0;
}

static void find_holes(const struct client *client, struct picture *picture)
{
	uint64_t at = 0;

	while (at < picture->size) {
		off_t data = lseek(client->fd, (off_t)at, SEEK_DATA), hole;

		/* ENXIO: no data from here to the end. Any other errno: nothing is known of holes. */
		if (data < 0 && errno != ENXIO)
			return;
		picture_add_hole(picture, at, data < 0 ? picture->size : (uint64_t)data);
		if (data < 0)
			return;
		hole = lseek(client->fd, data, SEEK_HOLE);
		if (hole <= data)
			return;
		at = (uint64_t)hole;
	}
}

/* Bytes of the file in the kernel's own cache of the mount. False: the kernel does not tell us. */
static bool ask_mount_cache(const struct client *client, struct residency *ret_residency)
{
	return residency_count(client->fd, 0, (uint64_t)client->info.st_size, ret_residency) == 0;
}

static void print_sum(const char *name, char character, uint64_t pages, const struct picture *picture,
		      uint64_t all)
{
	char bytes[TEXT_SIZE], percent[TEXT_SIZE];

	printf("  %c  %-14s %9s  %7s\n", character, name, text_bytes(pages * picture->page_bytes, bytes),
	       text_percent(pages, all, percent));
}

/* Cached pages may lie in holes as well: somebody has read them. */
static uint64_t absent_pages(const struct picture *picture)
{
	uint64_t absent = 0;

	for (size_t i = 0; i < picture->count; i++) {
		const struct picture_part *part = &picture->parts[i];
		uint64_t known = part->cached + part->hole;

		absent += part->pages - MIN(known, part->pages);
	}
	return absent;
}

static void print_mount_cache(const struct client *client)
{
	struct residency residency;
	char cached[TEXT_SIZE], dirty[TEXT_SIZE];

	if (!ask_mount_cache(client, &residency))
		return;
	printf("Besides, in the kernel's own cache of the mount: %s, %s of it dirty\n",
	       text_bytes(residency.cached, cached), text_bytes(residency.dirty, dirty));
}

static void print_picture(const struct client *client, const struct picture *picture, size_t columns)
{
	struct picture_part sum = picture_sum(picture);
	CLEANUP(free_pointer) char *name = text_fit(client->path, columns);
	char size[TEXT_SIZE], part[TEXT_SIZE];

	printf("%s\n%s; a character is %s\n", name == NULL ? client->path : name,
	       text_bytes(picture->size, size), text_bytes(picture->part_bytes, part));
	picture_print(stdout, picture, columns);
	print_sum("resident", '#', sum.cached, picture, sum.pages);
	puts("  +  resident in part");
	print_sum("dirty", 'D', sum.dirty, picture, sum.pages);
	print_sum("locked", 'L', sum.locked, picture, sum.pages);
	print_sum("hole", ' ', sum.hole, picture, sum.pages);
	print_sum("not resident", '.', absent_pages(picture), picture, sum.pages);
	print_mount_cache(client);
}

static json_int_t bytes_of(uint64_t pages)
{
	return (json_int_t)pages * (json_int_t)page_size();
}

static enum ctl_status print_json(const struct client *client, const struct picture *picture)
{
	struct picture_part sum = picture_sum(picture);
	struct residency residency;
	json_t *parts = json_array();
	json_t *object = json_pack("{sI sI sI sI sI sI sI so}", "size", (json_int_t)picture->size, "resident",
				   bytes_of(sum.cached), "dirty", bytes_of(sum.dirty), "locked",
				   bytes_of(sum.locked), "hole", bytes_of(sum.hole), "not_resident",
				   bytes_of(absent_pages(picture)), "part_bytes",
				   (json_int_t)picture->part_bytes, "parts", parts);

	for (size_t i = 0; i < picture->count; i++) {
		const struct picture_part *part = &picture->parts[i];

		json_array_append_new(parts, json_pack("{sI sI sI sI sI}", "offset",
						       (json_int_t)i * (json_int_t)picture->part_bytes,
						       "resident", bytes_of(part->cached), "dirty",
						       bytes_of(part->dirty), "locked",
						       bytes_of(part->locked), "hole", bytes_of(part->hole)));
	}
	if (ask_mount_cache(client, &residency))
		json_object_set_new(object, "mount_cache",
				    json_pack("{sI sI}", "resident", (json_int_t)residency.cached, "dirty",
					      (json_int_t)residency.dirty));
	return ctl_print_json(object);
}

enum ctl_status ctl_map(const char *const *options, char **operands, int count)
{
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	CLEANUP(picture_fini) struct picture picture = {0};
	size_t columns, rows;

	(void)count;
	if (client_open(operands[0], CLIENT_FILE, &client) < 0)
		return CTL_FAILED;
	text_terminal(STDOUT_FILENO, &columns, &rows);
	columns = MAX(columns, COLUMNS_MIN + BESIDE) - BESIDE;
	rows = MAX(rows, BELOW + 1) - BELOW;
	if (picture_new((uint64_t)client.info.st_size, page_size(), columns * rows, &picture) < 0) {
		ctl_say("'%s': %s", operands[0], strerror(ENOMEM));
		return CTL_FAILED;
	}
	if (ask_parts(&client, &picture) < 0)
		return CTL_FAILED;
	find_holes(&client, &picture);
	if (options[0] != NULL)
		return print_json(&client, &picture);
	print_picture(&client, &picture, columns);
	return CTL_DONE;
}
