/* SPDX-License-Identifier: MIT */
#include "layer/report.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "control_protocol.h"
#include "fs.h"
#include "json_name.h"
#include "layer/keep.h"
#include "layer/report_diff.h"
#include "layer/serve.h"
#include "layer/stack.h"
#include "layer/subject.h"

/* An answer's end has to fit behind its last row. */
#define ANSWER_SIZE (CONTROL_TEXT_SIZE - 1024)

int report_begin(struct report *report)
{
	report->text = malloc(CONTROL_TEXT_SIZE);
	report->length = 0;
	if (report->text == NULL)
		return -ENOMEM;
	report->length = (size_t)sprintf(report->text, "{\"rows\":[");
	report->rows = 0;
	return 0;
}

int report_add(struct report *report, json_t *row)
{
	CLEANUP(free_pointer) char *text = row == NULL ? NULL : json_dumps(row, JSON_COMPACT);

	json_decref(row);
	if (text == NULL)
		return -ENOMEM;
	if (report->length + strlen(text) >= ANSWER_SIZE)
		return report->rows == 0 ? -ENAMETOOLONG : 1;
	report->length +=
		(size_t)sprintf(report->text + report->length, "%s%s", report->rows > 0 ? "," : "", text);
	report->rows++;
	return 0;
}

int report_end(struct report *report, int result, const char *next, char **ret_reply)
{
	CLEANUP(free_pointer) char *text = report->text;

	if (result < 0)
		return result;
	if (next == NULL)
		sprintf(text + report->length, "],\"next\":null}");
	else
		sprintf(text + report->length, "],\"next\":\"%s\"}", next);
	*ret_reply = text;
	text = NULL;
	return 0;
}

bool report_number(const char *text, const char **ret_end, uint64_t *ret_number)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret_number = strtoull(text, &end, 10);
	*ret_end = end;
	return errno == 0;
}

int report_info(struct fs *fs, char **ret_reply)
{
	const struct layer *layer = fs->layer;
	json_t *object;

	/* A checkpoint adds one. */
	LAYER_SERVE_SCOPE(fs);
	object = json_pack("{so sI so so sI sI sI sb}", "directory",
			   layer->kept ? json_name(fs->options.layer) : json_null(), "bases",
			   (json_int_t)layer->base_count, "base",
			   layer->base_count > 0 ? json_name(layer->bases[0]->home.path) : json_null(),
			   "backing", json_name(fs->backing_path), "format", (json_int_t)DB_FORMAT, "bytes",
			   (json_int_t)(atomic_load(&layer->page_count) * LAYER_PAGE), "max",
			   (json_int_t)layer->max, "interrupted",
			   keep_commit_noted(fs, NULL, NULL) > 0 && !atomic_load(&layer->progress.running));

	*ret_reply = object == NULL ? NULL : json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return *ret_reply == NULL ? -ENOMEM : 0;
}

/* A removed file that somebody still has open is in no listing of the layer either. */
static bool has_content(const struct subject *subject)
{
	return S_ISREG(subject->type) && ((subject->own & OWN_CONTENT) || !subject->has_origin);
}

static int status_row(struct fs *fs, uint64_t id, struct report *report)
{
	CLEANUP(subject_close) struct subject subject = {0};
	CLEANUP(free_pointer) char *path = NULL;
	enum origin_change change;
	uint64_t pages, bytes;
	int result = subject_open(fs, id, &subject);

	if (result < 0)
		return result == -ENOENT ? 0 : result;
	if (!has_content(&subject) || ((subject.own & OWN_ATTRIBUTES) && subject.stx.stx_nlink == 0))
		return 0;
	change = subject_change(&subject);
	pages = pages_data(&subject.pages);
	bytes = pages * LAYER_PAGE;
	path = subject_path(fs, id);
	return report_add(
		report,
		json_pack("{so sb sI sI sI so}", "path", path == NULL ? json_null() : json_name(path), "new",
			  !subject.has_origin, "size", (json_int_t)subject.stx.stx_size, "pages",
			  (json_int_t)pages, "bytes", (json_int_t)bytes, "base",
			  subject.has_origin ? json_string(origin_change_name(change)) : json_null()));
}

int report_status(struct fs *fs, const char *cursor, char **ret_reply)
{
	struct report report;
	const char *end = cursor;
	char next[32] = "";
	uint64_t id = 0;
	int result;

	if (*cursor != '\0' && (!report_number(cursor, &end, &id) || *end != '\0'))
		return -EINVAL;
	result = report_begin(&report);
	while (result == 0) {
		struct node_row row;

		LAYER_SERVE_SCOPE(fs);
		LOCK_SCOPE(&fs->layer->lock);
		result = db_node_next(fs->layer->db, id, &row);
		if (result < 0)
			break;
		result = status_row(fs, row.id, &report);
		if (result == 0)
			id = row.id;
		db_row_fini(&row);
	}
	snprintf(next, sizeof(next), "%" PRIu64, id);
	return report_end(&report, result == -ENOENT ? 0 : result, result == -ENOENT ? NULL : next,
			  ret_reply);
}
