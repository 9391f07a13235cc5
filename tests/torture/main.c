/* SPDX-License-Identifier: MIT */
/*
 * Arguments, the shared memory, the three processes, and a parent that does no operation: it notices a
 * process that died and one that stopped making progress, and says at the end how much was done.
 */
#include "race.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define HANG_SECONDS 60 /* without a single burst */

static const char usage_text[] =
	"usage: torture --mount DIR [--backing DIR] [OPTION...]\n"
	"  --mount DIR          where two processes work\n"
	"  --backing DIR        where one works directly; default: the mount's DIR, a plain directory\n"
	"  --origin DIR         all three work on the mount, on files that are made in DIR, which is behind "
	"it,\n"
	"                       and must stay there as they were: for mode=cow\n"
	"  --seed N             what is done; default from the clock, printed\n"
	"  --ops N              end after N operations in each mode\n"
	"  --seconds S          end after S seconds, shared between the modes (default 10 without --ops)\n"
	"  --max-size BYTES     of most files, default 262144; one in four is 16 times as long\n"
	"  --files N            1 to 15, default 4\n"
	"  --cache MODE         auto, none or always: what the mount's cache promises\n"
	"  --serial, --racing   one mode only\n"
	"  --handover open|stat after a change in BACKING open the file again (default), or also force a "
	"stat\n"
	"  --strict             racing, cache=auto: forgive no stale read on the mount while BACKING "
	"changes\n"
	"  --skip KIND[,...]    leave out operations, named as in the summary, or direct (O_DIRECT)\n"
	"  --sabotage           damage a byte behind everybody's back: must end with exit status 1\n"
	"  --log-dir DIR        for the log of a failure, default /tmp\n"
	"exit status: 0 clean, 1 mismatch, 2 usage or set-up\n";

static _Noreturn void usage(const char *why)
{
	fprintf(stderr, "torture: %s\n%s", why, usage_text);
	exit(2);
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(text, &end, 0);
	if (errno != 0 || end == text || *end != '\0')
		usage("not a number");
	return n;
}

static enum cache_mode cache_parse(const char *text)
{
	if (strcmp(text, "auto") == 0)
		return CACHE_AUTO;
	if (strcmp(text, "none") == 0)
		return CACHE_NONE;
	if (strcmp(text, "always") == 0)
		return CACHE_ALWAYS;
	usage("--cache wants auto, none or always");
}

static uint32_t skip_parse(char *text)
{
	uint32_t skip = 0;

	for (char *word = strtok(text, ","); word != NULL; word = strtok(NULL, ",")) {
		unsigned k = 0;

		while (k < K_COUNT && strcmp(word, kind_name[k]) != 0)
			k++;
		if (k == K_COUNT && strcmp(word, "direct") != 0)
			usage("--skip wants names of operations as the summary prints them, or direct");
		skip |= 1U << k;
	}
	return skip;
}

static void options_parse(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{"mount", 1, NULL, 'm'},  {"backing", 1, NULL, 'b'},  {"seed", 1, NULL, 's'},
		{"ops", 1, NULL, 'n'},	  {"seconds", 1, NULL, 't'},  {"max-size", 1, NULL, 'z'},
		{"files", 1, NULL, 'f'},  {"cache", 1, NULL, 'c'},    {"serial", 0, NULL, 'S'},
		{"racing", 0, NULL, 'R'}, {"handover", 1, NULL, 'h'}, {"sabotage", 0, NULL, 'x'},
		{"skip", 1, NULL, 'k'},	  {"strict", 0, NULL, 'T'},   {"log-dir", 1, NULL, 'l'},
		{"origin", 1, NULL, 'o'}, {"help", 0, NULL, 'H'},     {NULL, 0, NULL, 0},
	};
	int c;

	*o = (struct options){
		.seed = (uint64_t)(now() * 1e6), .max_size = 256 << 10, .files = 4, .log_dir = "/tmp"};
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'm':
			o->side[0].dir = optarg;
			break;
		case 'b':
			o->side[1].dir = optarg;
			break;
		case 's':
			o->seed = number(optarg);
			break;
		case 'n':
			o->ops = number(optarg);
			break;
		case 't':
			o->seconds = strtod(optarg, NULL);
			break;
		case 'z':
			o->max_size = number(optarg) & ~(PAGE - 1);
			break;
		case 'f':
			o->files = (unsigned)number(optarg);
			break;
		case 'c':
			o->cache = cache_parse(optarg);
			break;
		case 'S':
			o->serial = true;
			break;
		case 'R':
			o->racing = true;
			break;
		case 'h':
			o->handover_stat = strcmp(optarg, "stat") == 0;
			break;
		case 'x':
			o->sabotage = true;
			break;
		case 'T':
			o->strict = true;
			break;
		case 'k':
			o->skip = skip_parse(optarg);
			break;
		case 'o':
			o->origin = optarg;
			break;
		case 'l':
			o->log_dir = optarg;
			break;
		case 'H':
			fputs(usage_text, stdout);
			exit(0);
		default:
			usage("unknown option");
		}
	}
	if (optind != argc || o->side[0].dir == NULL)
		usage("--mount DIR is needed, and nothing but options");
	if (o->origin != NULL && (o->side[1].dir != NULL || o->sabotage))
		usage("--origin goes with neither --backing nor --sabotage");
	if (o->side[1].dir == NULL)
		o->side[1].dir = o->side[0].dir;
	if (o->max_size < 4 * PAGE || o->max_size > 64 << 20 || o->files < 1 || o->files >= MAX_FILES)
		usage("--max-size is 16384 to 67108864, --files 1 to 15");
	if (!o->serial && !o->racing)
		o->serial = o->racing = true;
	if (o->ops == 0 && o->seconds == 0)
		o->seconds = 10;
}

static void *share(size_t size)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED) {
		perror("torture: mmap");
		exit(2);
	}
	return mem;
}

/*
 * Most files are small, so that their ends and the boundaries of small windows are hit often. One in four
 * spans many windows, and one in four lies across the first GiB, where the largest windows meet.
 */
static void files_create(struct shared *sh)
{
	for (unsigned f = 0; f < sh->opt.files; f++) {
		struct model *m = &sh->file[f];
		char path[512];
		int fd;

		snprintf(m->name, sizeof(m->name), "torture.%" PRIu64 ".%ld.%u", sh->opt.seed, (long)getpid(),
			 f);
		m->max = f % 4 == 2 ? sh->opt.max_size * 16 : sh->opt.max_size;
		m->base = f % 4 == 3 ? (1UL << 30) - (m->max / 2 & ~(PAGE - 1)) : 0;
		m->gen = 1;
		m->data = share(m->max + PAGE);
		snprintf(path, sizeof(path), "%s/%s", dir_of_files(sh), m->name);
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 || ftruncate(fd, (off_t)m->base) != 0) {
			fprintf(stderr, "torture: create '%s': %s\n", path, strerror(errno));
			exit(2);
		}
		if (sh->opt.origin != NULL)
			origin_fill(sh, f, fd);
		close(fd);
	}
}

static struct shared *shared_new(const struct options *o)
{
	struct shared *sh = share(sizeof(*sh));
	struct rng r;

	sh->opt = *o;
	for (unsigned i = 0; i < 2; i++) {
		if (side_probe(&sh->opt.side[i]) != 0)
			exit(2);
		if (o->skip >> K_COUNT & 1)
			sh->opt.side[i].direct = false;
	}
	rng_seed(&sh->rng, o->seed, 0);
	sh->pool = share(POOL + PAGE);
	rng_seed(&r, o->seed, 1);
	for (size_t i = 0; i < POOL; i += 4) {
		uint32_t word = (uint32_t)rng_next(&r);

		memcpy(sh->pool + i, &word, 4);
	}
	sh->race = share(race_size());
	sh->sabotage_at = o->sabotage && o->serial ? 3000 : UINT64_MAX;
	files_create(sh);
	return sh;
}

static _Noreturn void proc_main(struct shared *sh, unsigned id, void (*run)(struct proc *), struct rng *rng)
{
	struct proc p = {.sh = sh, .id = id, .side = &sh->opt.side[id == BACK], .rng = rng};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned f = 0; f < MAX_FILES; f++)
		p.slot[f].fd = -1;
	p.buf = share(IO_MAX + PAGE);
	run(&p);
	_exit(0);
}

/* For racing: nobody can be expected to read one given byte in time, so damage goes on till it is noticed. */
static void sabotage_racing(struct shared *sh, uint64_t *count)
{
	char path[512];
	uint8_t byte = 0xaa; /* even: not a mark of any stripe, nor any datum */
	int fd;

	snprintf(path, sizeof(path), "%s/%s", sh->opt.side[1].dir, sh->file[RACE_FILE].name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (pwrite(fd, &byte, 1, (off_t)(*count * 8 % 4096)) == 1)
		(*count)++;
	close(fd);
}

static int children_reap(pid_t *pid, unsigned *left, struct shared *sh)
{
	int bad = 0;

	for (unsigned i = 0; i < NPROC; i++) {
		int status;

		if (pid[i] <= 0 || waitpid(pid[i], &status, WNOHANG) != pid[i])
			continue;
		pid[i] = 0;
		(*left)--;
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			continue;
		bad = 1;
		if (WIFSIGNALED(status) && atomic_exchange(&sh->failed, 1) == 0) {
			fprintf(stderr, "torture: process %u ended by signal %d (%s)\n", i, WTERMSIG(status),
				strsignal(WTERMSIG(status)));
			rings_dump(sh, "a process ended by a signal");
		}
	}
	return bad;
}

/* Run the three processes to their end. Return 0 when all of them found everything right. */
static int run_all(struct shared *sh, void (*run)(struct proc *), struct rng *rng)
{
	pid_t pid[NPROC];
	unsigned left = NPROC;
	uint64_t beat = 0, sabotaged = 0;
	double last = now(), failed_at = 0;
	int bad = 0;

	fflush(NULL);
	for (unsigned i = 0; i < NPROC; i++) {
		pid[i] = fork();
		if (pid[i] == 0)
			proc_main(sh, i, run, rng);
		if (pid[i] < 0) {
			perror("torture: fork");
			exit(2);
		}
	}
	while (left > 0) {
		bad |= children_reap(pid, &left, sh);
		if (left == 0)
			break;
		usleep(5000);
		if (run == racing_run && sh->opt.sabotage)
			sabotage_racing(sh, &sabotaged);
		if (atomic_load(&sh->beat) != beat) {
			beat = atomic_load(&sh->beat);
			last = now();
		} else if (now() - last > HANG_SECONDS && atomic_exchange(&sh->failed, 1) == 0) {
			fprintf(stderr, "torture: no progress for %d seconds\n", HANG_SECONDS);
			rings_dump(sh, "no progress");
		}
		if (atomic_load(&sh->failed)) {
			bad = 1;
			if (failed_at == 0)
				failed_at = now();
			/* the others see it within 200 ms, unless they hang in a request */
			for (unsigned i = 0; now() - failed_at > 3 && i < NPROC; i++) {
				if (pid[i] > 0)
					kill(pid[i], SIGKILL);
			}
			if (now() - failed_at > 10) {
				fprintf(stderr, "torture: a process hangs in the kernel\n");
				break;
			}
		}
	}
	return bad;
}

static void files_remove(const struct shared *sh)
{
	for (unsigned f = 0; f < sh->opt.files; f++) {
		char path[512];

		/* by the mount, so that it does not keep a name that is gone */
		snprintf(path, sizeof(path), "%s/%s", sh->opt.side[0].dir, sh->file[f].name);
		unlink(path);
	}
}

int main(int argc, char **argv)
{
	struct options o;
	struct shared *sh;
	double start, part;
	int bad = 0;

	options_parse(&o, argc, argv);
	sh = shared_new(&o);
	start = now();
	part = o.seconds / (o.serial && o.racing ? 2 : 1);
	if (o.serial) {
		sh->deadline = o.seconds > 0 ? start + part : 0;
		bad = run_all(sh, serial_run, &sh->rng);
	}
	if (o.racing && (!bad || o.sabotage)) {
		if (o.sabotage && o.serial && !bad)
			fprintf(stderr, "torture: serial mode did not notice the damage\n");
		atomic_store(&sh->stop, 0);
		atomic_store(&sh->failed, 0);
		sh->ops = counts_checked(sh);
		sh->deadline = o.seconds > 0 ? now() + part : 0;
		sh->in_racing = true;
		bad = run_all(sh, racing_run, &sh->rng);
	}
	if (!bad)
		files_remove(sh);
	if (o.origin != NULL)
		bad |= origin_check(sh);
	summary_print(sh, now() - start, !bad);
	return bad;
}
