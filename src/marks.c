/* SPDX-License-Identifier: MIT */
#include "marks.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "util.h"

#define BUCKETS_MIN 64

int marks_init(struct marks *marks)
{
	pthread_mutex_init(&marks->lock, NULL);
	marks->mask = BUCKETS_MIN - 1;
	marks->count = 0;
	marks->buckets = calloc(BUCKETS_MIN, sizeof(marks->buckets[0]));
	return marks->buckets == NULL ? -ENOMEM : 0;
}

void marks_fini(struct marks *marks)
{
	if (marks->buckets == NULL)
		return;
	for (size_t i = 0; i <= marks->mask; i++) {
		for (struct mark *mark = marks->buckets[i], *next; mark != NULL; mark = next) {
			next = mark->next;
			free(mark);
		}
	}
	free(marks->buckets);
	marks->buckets = NULL;
	pthread_mutex_destroy(&marks->lock);
}

static struct mark **bucket_of(struct mark **buckets, size_t mask, uint64_t hash)
{
	return &buckets[(hash ^ hash >> 32) & mask];
}

/* Without memory the chains just stay as they are. */
static void resize_locked(struct marks *marks, size_t wanted)
{
	struct mark **buckets = calloc(wanted, sizeof(buckets[0]));

	if (buckets == NULL)
		return;
	for (size_t i = 0; i <= marks->mask; i++) {
		for (struct mark *mark = marks->buckets[i], *next; mark != NULL; mark = next) {
			struct mark **bucket = bucket_of(buckets, wanted - 1, mark->hash);

			next = mark->next;
			mark->next = *bucket;
			*bucket = mark;
		}
	}
	free(marks->buckets);
	marks->buckets = buckets;
	marks->mask = wanted - 1;
}

struct mark *marks_add(struct marks *marks, uint64_t hash, uint64_t nodeid)
{
	struct mark *mark = calloc(1, sizeof(*mark)), **bucket;

	if (mark == NULL)
		return NULL;
	mark->hash = hash;
	mark->nodeid = nodeid;
	LOCK_SCOPE(&marks->lock);
	if (++marks->count > marks->mask + 1)
		resize_locked(marks, 2 * (marks->mask + 1));
	bucket = bucket_of(marks->buckets, marks->mask, hash);
	mark->next = *bucket;
	*bucket = mark;
	return mark;
}

static bool is_there_locked(const struct marks *marks, uint64_t hash)
{
	const struct mark *mark = *bucket_of(marks->buckets, marks->mask, hash);

	while (mark != NULL && mark->hash != hash)
		mark = mark->next;
	return mark != NULL;
}

void marks_remove(struct marks *marks, struct mark *mark, void (*last)(void *context), void *context)
{
	struct mark **link;

	pthread_mutex_lock(&marks->lock);
	link = bucket_of(marks->buckets, marks->mask, mark->hash);
	while (*link != mark)
		link = &(*link)->next;
	*link = mark->next;
	if (last != NULL && !is_there_locked(marks, mark->hash))
		last(context);
	if (--marks->count < (marks->mask + 1) / 4 && marks->mask + 1 > BUCKETS_MIN)
		resize_locked(marks, (marks->mask + 1) / 2);
	pthread_mutex_unlock(&marks->lock);
	free(mark);
}

size_t marks_find(struct marks *marks, uint64_t hash, uint64_t *ret_nodeids, size_t max)
{
	size_t count = 0;

	LOCK_SCOPE(&marks->lock);
	for (const struct mark *mark = *bucket_of(marks->buckets, marks->mask, hash);
	     mark != NULL && count < max; mark = mark->next) {
		if (mark->hash == hash)
			ret_nodeids[count++] = mark->nodeid;
	}
	return count;
}

size_t marks_count(struct marks *marks)
{
	LOCK_SCOPE(&marks->lock);
	return marks->count;
}
