/* SPDX-License-Identifier: MIT */
#include "policy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs.h"
#include "layer/layer.h"
#include "rules.h"
#include "util.h"

static const enum advice advices[] = {
	[ADVISE_NORMAL] = ADVICE_NORMAL,
	[ADVISE_RANDOM] = ADVICE_RANDOM,
	[ADVISE_SEQUENTIAL] = ADVICE_SEQUENTIAL,
	[ADVISE_WILLNEED] = ADVICE_WILLNEED,
};

static const enum paging_preload preloads[] = {
	[PRELOAD_OFF] = PAGING_OFF,
	[PRELOAD_ASYNC] = PAGING_ASYNC,
	[PRELOAD_SYNC] = PAGING_SYNC,
	[PRELOAD_POPULATE] = PAGING_POPULATE,
};

static const enum paging_idle idles[] = {
	[IDLE_COLD] = PAGING_COLD,
	[IDLE_PAGEOUT] = PAGING_PAGEOUT,
	[IDLE_UNMAP] = PAGING_UNMAP,
};

static void from_options(const struct options *options, struct policy *ret_policy)
{
	*ret_policy = (struct policy){
		.sync = options->sync,
		.sync_interval_ms = options->sync_interval_ms,
		.writes = options->writes,
		.cache = options->cache,
		.paging =
			{
				.advice = advices[options->advise],
				.preload = preloads[options->preload],
				.huge_pages = options->hugepages,
				.lock = options->mlock,
				.idle = idles[options->idle_action],
				.idle_ms = options->idle_ms,
			},
	};
}

void policy_options(const struct fs *fs, const struct policy *policy, struct options *ret_options)
{
	const struct paging *paging = &policy->paging;

	*ret_options = fs->options;
	ret_options->sync = policy->sync;
	ret_options->sync_interval_ms = policy->sync_interval_ms;
	ret_options->writes = policy->writes;
	ret_options->cache = policy->cache;
	ret_options->hugepages = paging->huge_pages;
	ret_options->mlock = paging->lock;
	ret_options->idle_ms = paging->idle_ms;
	for (unsigned i = 0; i < ARRAY_LENGTH(advices); i++) {
		if (advices[i] == paging->advice)
			ret_options->advise = i;
	}
	for (unsigned i = 0; i < ARRAY_LENGTH(preloads); i++) {
		if (preloads[i] == paging->preload)
			ret_options->preload = i;
	}
	for (unsigned i = 0; i < ARRAY_LENGTH(idles); i++) {
		if (idles[i] == paging->idle)
			ret_options->idle_action = i;
	}
}

void policy_table_init(struct policy_table *table, const struct options *options, struct rules *rules,
		       char *rules_path)
{
	pthread_mutex_init(&table->lock, NULL);
	table->first = NULL;
	table->rules = rules;
	table->rules_path = rules_path;
	from_options(options, &table->mount);
}

void policy_table_fini(struct policy_table *table)
{
	for (const struct policy *policy = table->first, *next; policy != NULL; policy = next) {
		next = policy->next;
		free((struct policy *)policy);
	}
	rules_free(table->rules);
	free(table->rules_path);
	pthread_mutex_destroy(&table->lock);
}

static bool same_policy(const struct policy *one, const struct policy *other)
{
	return one->sync == other->sync && one->sync_interval_ms == other->sync_interval_ms &&
	       one->writes == other->writes && one->cache == other->cache &&
	       one->paging.advice == other->paging.advice && one->paging.preload == other->paging.preload &&
	       one->paging.huge_pages == other->paging.huge_pages && one->paging.lock == other->paging.lock &&
	       one->paging.idle == other->paging.idle && one->paging.idle_ms == other->paging.idle_ms &&
	       memcmp(one->lines, other->lines, sizeof(one->lines)) == 0;
}

/* The one of the table that is like @wanted. */
static const struct policy *intern_locked(struct policy_table *table, const struct policy *wanted)
{
	struct policy *fresh;

	if (same_policy(&table->mount, wanted))
		return &table->mount;
	for (const struct policy *policy = table->first; policy != NULL; policy = policy->next) {
		if (same_policy(policy, wanted))
			return policy;
	}
	fresh = malloc(sizeof(*fresh));
	if (fresh == NULL)
		return &table->mount;
	*fresh = *wanted;
	fresh->next = table->first;
	table->first = fresh;
	return fresh;
}

/* Has the file lost its last name? Then what follows its path is a remark of the kernel's. */
static bool has_no_name(struct fs *fs, struct inode *inode)
{
	CLEANUP(fd_use_end) struct fd_use use = FD_USE_NONE;
	struct statx stx;
	struct stat info;

	if (fs->layer != NULL)
		return layer_statx(fs, inode, &stx) < 0 || stx.stx_nlink == 0;
	return inode_fd(fs, inode, FD_PATH, &use) < 0 || fstat(use.fd, &info) < 0 || info.st_nlink == 0;
}

static char *below(const char *path, const char *root)
{
	size_t length = strlen(root);

	if (length == 1)
		return strdup(path + 1);
	if (strncmp(path, root, length) != 0 || path[length] != '/')
		return NULL;
	return strdup(path + length + 1);
}

char *policy_path(struct fs *fs, struct inode *inode)
{
	CLEANUP(free_pointer) char *path = inode_name(fs, inode);
	CLEANUP(free_pointer) char *root = NULL;
	char *result;

	if (path == NULL || path[0] != '/' || has_no_name(fs, inode))
		return NULL;
	result = below(path, fs->backing_path);
	if (result != NULL)
		return result;
	/* BACKING has been renamed since. */
	root = inode_name(fs, fs->root);
	return root == NULL || root[0] != '/' ? NULL : below(path, root);
}

const struct policy *policy_of_inode(struct fs *fs, struct inode *inode, bool *ret_known)
{
	struct policy_table *table = &fs->policies;
	struct options options = fs->options;
	CLEANUP(free_pointer) char *path = NULL;
	unsigned lines[PATH_OPTIONS] = {0};
	struct policy policy;

	*ret_known = true;
	if (table->rules_path == NULL)
		return &table->mount;
	path = policy_path(fs, inode);
	*ret_known = path != NULL;
	if (path == NULL)
		return &table->mount;
	LOCK_SCOPE(&table->lock);
	rules_apply(table->rules, path, &options, lines);
	from_options(&options, &policy);
	memcpy(policy.lines, lines, sizeof(lines));
	return intern_locked(table, &policy);
}

static char *rule_text(const struct fs *fs, unsigned line)
{
	char *text;

	if (line == 0)
		return strdup("mount options");
	return asprintf(&text, "%s:%u", fs->policies.rules_path, line) < 0 ? NULL : text;
}

char *policy_rule(const struct fs *fs, const struct policy *policy, enum path_option option)
{
	return rule_text(fs, policy->lines[option]);
}

char *policy_last_rule(const struct fs *fs, const struct policy *policy)
{
	unsigned last = 0;

	for (size_t i = 0; i < PATH_OPTIONS; i++)
		last = MAX(last, policy->lines[i]);
	return rule_text(fs, last);
}

/* The shorter of two times, where 0 is none. */
static uint64_t shorter(uint64_t one, uint64_t other)
{
	return one == 0 ? other : other == 0 ? one : MIN(one, other);
}

uint64_t policy_idle_ms(struct fs *fs)
{
	struct policy_table *table = &fs->policies;

	LOCK_SCOPE(&table->lock);
	return shorter(fs->options.idle_ms, table->rules == NULL ? 0 : rules_idle_ms(table->rules));
}

uint64_t policy_sync_ms(struct fs *fs)
{
	struct policy_table *table = &fs->policies;
	uint64_t mount_ms = fs->options.sync_interval_ms;

	LOCK_SCOPE(&table->lock);
	return shorter(fs->options.sync == SYNC_PERIODIC ? mount_ms : 0,
		       table->rules == NULL ? 0 : rules_sync_ms(table->rules, mount_ms));
}

int policy_reload(struct fs *fs, size_t *ret_count, char **ret_error)
{
	struct policy_table *table = &fs->policies;
	struct rules *rules, *before;
	int result = rules_load(table->rules_path, &fs->options, &rules, ret_error);

	if (result < 0)
		return result;
	*ret_count = rules_count(rules);
	pthread_mutex_lock(&table->lock);
	before = table->rules;
	table->rules = rules;
	pthread_mutex_unlock(&table->lock);
	rules_free(before);
	return 0;
}
