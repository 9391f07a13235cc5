/* SPDX-License-Identifier: MIT */
/* From argv to a command. */
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"
#include "util.h"

#define JSON_OPTION                                                                                          \
	{                                                                                                    \
		"json", NULL, "print JSON"                                                                   \
	}

static const struct ctl_command commands[] = {
	{"stats",
	 "MNT",
	 "the figures of a mount",
	 1,
	 1,
	 ctl_stats,
	 {JSON_OPTION,
	  {"prometheus", NULL, "print the Prometheus text format"},
	  {"reset", NULL, "put the counters back to zero"}}},
	{"top",
	 "MNT",
	 "the busiest files of a mount, live",
	 1,
	 1,
	 ctl_top,
	 {{"sort", "MEASURE", "io, mapped, resident, dirty or locked (default io)"},
	  {"interval", "SECONDS", "time between two looks (default 2)"}}},
	{"map", "FILE", "which parts of a file are in memory, as a picture", 1, 1, ctl_map, {JSON_OPTION}},
	{"list", "", "the mounts of this machine", 0, 0, ctl_list, {JSON_OPTION}},
	{"umount", "MNT", "unmount, and wait for the last sync", 1, 1, ctl_umount, {{NULL, NULL, NULL}}},
	{"advise",
	 "ADVICE[:OFFSET:LENGTH] FILE...",
	 "give a hint of madvise(2)",
	 2,
	 -1,
	 ctl_advise,
	 {{NULL, NULL, NULL}}},
	{"preload",
	 "PATH...",
	 "read files, or all below directories, into memory",
	 1,
	 -1,
	 ctl_preload,
	 {{"progress", NULL, "on a terminal, show bytes, rate and time left"}}},
	{"evict",
	 "PATH...",
	 "write files back and drop them from memory",
	 1,
	 -1,
	 ctl_evict,
	 {{NULL, NULL, NULL}}},
	{"lock", "PATH...", "keep files in memory", 1, -1, ctl_lock, {{NULL, NULL, NULL}}},
	{"unlock", "PATH...", "undo lock", 1, -1, ctl_unlock, {{NULL, NULL, NULL}}},
	{"sync",
	 "FILE|MNT...",
	 "put what was written to a file or a mount onto the disk",
	 1,
	 -1,
	 ctl_sync,
	 {{NULL, NULL, NULL}}},
	{"explain",
	 "FILE...",
	 "the policy that applies to a file, and why",
	 1,
	 -1,
	 ctl_explain,
	 {JSON_OPTION}},
	{"profile save",
	 "FILE MNT",
	 "note which parts of which files are in memory",
	 2,
	 2,
	 ctl_profile_save,
	 {{NULL, NULL, NULL}}},
	{"profile load",
	 "FILE MNT",
	 "bring them back",
	 2,
	 2,
	 ctl_profile_load,
	 {{"progress", NULL, "on a terminal, show bytes, rate and time left"}}},
	{"layer status", "TARGET", "what a layer has of which file", 1, 1, ctl_layer_status, {JSON_OPTION}},
	{"layer diff",
	 "TARGET",
	 "how a layer differs from what is under it",
	 1,
	 1,
	 ctl_layer_diff,
	 {{"stat", NULL, "print sums instead of ranges"}, JSON_OPTION}},
	{"layer commit",
	 "TARGET [PATH...]",
	 "write what a layer has into what is under it",
	 1,
	 -1,
	 ctl_layer_commit,
	 {{"force", NULL, "also over what somebody changed there meanwhile"}}},
	{"layer discard",
	 "TARGET [PATH...]",
	 "throw away what a layer has",
	 1,
	 -1,
	 ctl_layer_discard,
	 {{NULL, NULL, NULL}}},
	{"layer checkpoint",
	 "TARGET NEWDIR",
	 "make a kept layer a base, and go on empty over it",
	 2,
	 2,
	 ctl_layer_checkpoint,
	 {{NULL, NULL, NULL}}},
	{"layer adopt",
	 "LAYER BACKING",
	 "give a kept layer to another BACKING, one that took the old one's place",
	 2,
	 2,
	 ctl_layer_adopt,
	 {{"force", NULL, "also where files that it has pages of are missing or others"}}},
};

static void print_help(void)
{
	puts("usage: memmapfsctl COMMAND [OPTION...] OPERAND...\n"
	     "\n"
	     "Look at, and steer, mounts of memmapfs-fuse(8).\n"
	     "\n"
	     "Commands; each knows --help:");
	for (size_t i = 0; i < ARRAY_LENGTH(commands); i++)
		printf("  %-17s %s\n", commands[i].name, commands[i].meaning);
	puts("\n"
	     "  -h, --help     print this help\n"
	     "  -V, --version  print the version\n"
	     "\n"
	     "Exit status: 0 done, 1 failed or found a difference, 2 usage. See memmapfsctl(1).");
}

static void print_command_help(const struct ctl_command *command)
{
	printf("usage: memmapfsctl %s%s%s%s\n\n%c%s.\n", command->name,
	       command->options[0].name != NULL ? " [OPTION...]" : "", *command->operands != '\0' ? " " : "",
	       command->operands, command->meaning[0] - 'a' + 'A', command->meaning + 1);
	puts("");
	for (const struct ctl_option *option = command->options; option->name != NULL; option++) {
		int column = printf("  --%s%s%s", option->name, option->argument != NULL ? "=" : "",
				    option->argument != NULL ? option->argument : "");

		printf("%*s  %s\n", MAX(20 - column, 0), "", option->meaning);
	}
	printf("%-20s  %s\n", "  -h, --help", "print this help");
}

/* One word or two; @ret_words tells how many. */
static const struct ctl_command *find_command(int argc, char **argv, int *ret_words)
{
	for (size_t i = 0; i < ARRAY_LENGTH(commands); i++) {
		const char *name = commands[i].name, *space = strchr(name, ' ');

		if (space == NULL && strcmp(name, argv[1]) == 0) {
			*ret_words = 1;
			return &commands[i];
		}
		if (space != NULL && argc > 2 && strlen(argv[1]) == (size_t)(space - name) &&
		    strncmp(name, argv[1], (size_t)(space - name)) == 0 && strcmp(space + 1, argv[2]) == 0) {
			*ret_words = 2;
			return &commands[i];
		}
	}
	return NULL;
}

static enum ctl_status run_command(const struct ctl_command *command, int argc, char **argv)
{
	struct option options[CTL_OPTIONS_MAX + 2] = {{"help", no_argument, NULL, 'h'}};
	const char *values[CTL_OPTIONS_MAX] = {NULL};
	int found, index, count;

	for (int i = 0; command->options[i].name != NULL; i++)
		options[i + 1] = (struct option){
			command->options[i].name,
			command->options[i].argument != NULL ? required_argument : no_argument, NULL, 0};
	opterr = 0;
	while ((found = getopt_long(argc, argv, ":h", options, &index)) != -1) {
		switch (found) {
		case 'h':
			print_command_help(command);
			return CTL_DONE;
		case ':':
			return ctl_usage_error("'%s' needs an argument", argv[optind - 1]);
		case '?':
			return ctl_usage_error("unknown option '%s'", argv[optind - 1]);
		default:
			values[index - 1] = optarg == NULL ? "" : optarg;
		}
	}
	count = argc - optind;
	if (count < command->min)
		return ctl_usage_error("too few words: it takes %s", command->operands);
	if (command->max >= 0 && count > command->max)
		return ctl_usage_error("too many words: '%s'", argv[optind + command->max]);
	return command->run(values, argv + optind, count);
}

static enum ctl_status run(int argc, char **argv)
{
	const struct ctl_command *command;
	int words;

	if (argc < 2)
		return ctl_usage_error("no command given");
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		print_help();
		return CTL_DONE;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		puts("memmapfsctl " MEMMAPFS_VERSION);
		return CTL_DONE;
	}
	command = find_command(argc, argv, &words);
	if (command == NULL)
		return ctl_usage_error("unknown command '%s'", argv[1]);
	ctl_begin(command->name);
	return run_command(command, argc - words, argv + words);
}

int main(int argc, char **argv)
{
	enum ctl_status status;

	setlocale(LC_ALL, "");
	/* Numbers are for scripts too. */
	setlocale(LC_NUMERIC, "C");
	/* A write to a closed pipe fails, and is told by the exit status. */
	signal(SIGPIPE, SIG_IGN);
	status = run(argc, argv);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		if (errno != EPIPE)
			ctl_say("cannot write: %s", strerror(errno));
		if (status == CTL_DONE)
			status = CTL_FAILED;
	}
	return (int)status;
}
