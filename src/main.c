/* SPDX-License-Identifier: MIT */
/* From argv to the exit code: builds everything up, waits, and tears it down. */
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>

#include "creds.h"
#include "farewell.h"
#include "fs.h"
#include "fuse_ops/ops.h"
#include "layer/sweep.h"
#include "log.h"
#include "loop.h"
#include "mapping/guard.h"
#include "options.h"
#include "rules.h"
#include "session.h"
#include "sync.h"
#include "warm.h"
#include "watch.h"

/* libfuse's, see fuse_main(3) */
enum exit_code {
	EXIT_FINE = 0,
	EXIT_OPTIONS = 1,
	EXIT_MOUNTPOINT = 2,
	EXIT_SETUP = 3,
	EXIT_MOUNT = 4,
	EXIT_DAEMONIZE = 5,
	EXIT_SIGNALS = 6,
	EXIT_LOOP = 7,
};

static int print(char *text)
{
	if (text == NULL)
		return EXIT_SETUP;
	fputs(text, stdout);
	free(text);
	return EXIT_FINE;
}

static int print_version(void)
{
	printf("memmapfs-fuse %s\nlibfuse %s\n", MEMMAPFS_VERSION, fuse_pkgversion());
	return EXIT_FINE;
}

/*
 * Goes on in a child; the parent stays until the child writes a byte to @ret_ready (the mount serves) or
 * ends, and exits with what became of it.
 */
static enum exit_code daemonize(int *ret_ready)
{
	int pipes[2], status;
	pid_t child;
	char byte;

	if (pipe2(pipes, O_CLOEXEC) < 0 || (child = fork()) < 0) {
		log_error("cannot daemonize: %s", strerror(errno));
		return EXIT_DAEMONIZE;
	}
	if (child == 0) {
		close(pipes[0]);
		*ret_ready = pipes[1];
		return EXIT_FINE;
	}
	close(pipes[1]);
	if (read(pipes[0], &byte, 1) == 1)
		exit(EXIT_FINE);
	if (waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) != 0)
		exit(WEXITSTATUS(status));
	exit(EXIT_DAEMONIZE);
}

/* The mount serves: tell whoever waits for that, and let go of the terminal. */
static void announce(const struct fs *fs, int ready)
{
	sd_notifyf(0, "READY=1\nSTATUS=serving %s on %s", fs->backing_path, fs->mount_path);
	if (ready < 0)
		return;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	log_to_syslog();
	/* Only now: below an automount point nobody but the process group that systemd started may look
	 * at MOUNTPOINT while it is being mounted. */
	setsid();
	if (chdir("/") < 0)
		log_warning("chdir '/': %s", strerror(errno));
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		close(null);
	}
	if (write(ready, "", 1) < 0)
		log_warning("the starting process is gone");
	close(ready);
}

/* From a mounted session to the end of its last worker. */
static enum exit_code serve(struct fs *fs, struct session *session, int ready)
{
	enum exit_code code = EXIT_FINE;
	struct loop *loop = NULL;
	int result;

	result = loop_start(fs, &loop);
	if (result < 0) {
		log_error("cannot start the event loop: %s", strerror(-result));
		session_unmount(session);
		return EXIT_SIGNALS;
	}
	result = session_start(session);
	if (result == 0)
		result = session_probe(session);
	if (result == 0)
		result = watch_start(fs);
	if (result < 0) {
		log_error("cannot serve '%s': %s", fs->mount_path, strerror(-result));
		session_unmount(session);
		code = EXIT_LOOP;
	} else {
		announce(fs, ready);
		warm_start(fs);
		sweep_start(fs);
	}
	if (session_wait(session) < 0)
		code = EXIT_LOOP;
	sd_notify(0, "STOPPING=1\nSTATUS=syncing");
	session_unmount(session);
	/* From here on nothing may wait for the mount: not a client, and not the loop's own work. */
	session_abort(session);
	warm_stop(fs);
	sweep_stop(fs);
	ops_cancel_waits(fs);
	loop_quiesce(loop);
	result = sync_all(fs, false);
	if (result < 0) {
		log_error("the last sync of '%s' failed: %s", fs->backing_path, strerror(-result));
		code = EXIT_LOOP;
	}
	if (atomic_load(&fs->sync_failed))
		code = EXIT_LOOP;
	loop_stop(loop);
	return code;
}

static enum exit_code run(struct options *options, const char *program)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	struct session *session = NULL;
	bool foreground = options->foreground || options->debug, mountpoint_bad = false;
	enum exit_code code = EXIT_SETUP;
	struct rules *rules = NULL;
	json_t *profile = NULL;
	char *error = NULL;
	int ready = -1, result;

	if (fs == NULL)
		return EXIT_SETUP;
	if ((options->rules != NULL && rules_load(options->rules, options, &rules, &error) < 0) ||
	    (options->profile != NULL && warm_load(options->profile, &profile, &error) < 0)) {
		log_error("%s", error == NULL ? "out of memory" : error);
		free(error);
		code = EXIT_OPTIONS;
		goto out;
	}
	/* Before anything is opened: /proc/self is the process that opens it. */
	if (!foreground) {
		code = daemonize(&ready);
		if (code != EXIT_FINE)
			goto out;
	}
	result = fs_open(fs, options, rules, &error, &mountpoint_bad);
	rules = NULL;
	if (result < 0) {
		log_error("%s", error == NULL ? strerror(-result) : error);
		free(error);
		code = mountpoint_bad ? EXIT_MOUNTPOINT : EXIT_SETUP;
		goto out;
	}
	code = EXIT_SETUP;
	if (fs->options.fsync == FSYNC_IGNORE)
		log_warning("fsync=ignore: fsync is answered without syncing; a power cut loses what it "
			    "promised");
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	if (guard_init() < 0) {
		code = EXIT_SIGNALS;
		goto out;
	}
	code = EXIT_MOUNT;
	if (session_new(fs, program, &session) < 0) {
		code = EXIT_OPTIONS;
		goto out;
	}
	if (session_mount(session) < 0)
		goto out;
	watch_open(fs);
	result = fs->privileged ? creds_drop() : 0;
	if (result < 0) {
		log_error("cannot drop capabilities: %s", strerror(-result));
		session_unmount(session);
		code = EXIT_SETUP;
		goto out;
	}
	fs->warm.profile = profile;
	profile = NULL;
	code = serve(fs, session, ready);
	farewell_say(fs, (int)code);
out:
	rules_free(rules);
	json_decref(profile);
	options_fini(options);
	session_free(session);
	fs_close(fs);
	free(fs);
	return code;
}

int main(int argc, char **argv)
{
	struct options options;
	char *error = NULL;
	int result = options_parse(argc, argv, &options, &error);

	if (result < 0) {
		fprintf(stderr, "memmapfs-fuse: %s\n", error == NULL ? strerror(-result) : error);
		free(error);
		return EXIT_OPTIONS;
	}
	if (options.help)
		return print(options_usage());
	if (options.version)
		return print_version();
	log_open(options.debug ? LEVEL_DEBUG : options.log_level);
	return (int)run(&options, argv[0]);
}
