# SPDX-License-Identifier: MIT
"""What the cases read, made once in BACKING before any mount, and the same on every machine."""
import glob
import os
import pwd
import random
import signal
import subprocess
import time

from cases import CaseFailed

SMALL = 3000  # bytes of a small file
OLD = 1600000000  # files' times: long before anybody's index was written


def large(run):
    """One large file."""
    run.drive("write", run.native("data", "large"), size=run.sizes.large, block=1 << 20, sequential=1, create=1)


def huge(run):
    """One that takes long to copy."""
    run.drive("write", run.native("data", "huge"), size=run.sizes.huge, block=1 << 20, sequential=1, create=1)


def committed(run):
    """One that is written anew, and one with what it then has, which cp(1) takes."""
    for seed, name in enumerate(("committed", "source")):
        run.drive("write", run.native("data", name), size=run.sizes.committed, block=1 << 20, sequential=1, create=1,
                  seed=seed)


def scattered(run):
    """One of which half is as much as the committed one."""
    run.drive("write", run.native("data", "scattered"), size=2 * run.sizes.committed, block=1 << 20, sequential=1,
              create=1)


def files(run):
    """Many small files, a hundred a directory."""
    run.drive("make-tree", run.native("data", "files"), count=run.sizes.files, block=SMALL)


def _write(path, text):
    with open(path, "w") as file:
        file.write(text)
    os.utime(path, (OLD, OLD))


def _tree(top, count):
    """A source tree's shape: directories three deep, files of a few KiB."""
    rng = random.Random(7)
    for number in range(count):
        directory = "%s/d%02d/e%d/f%d" % (top, number % 23, number % 7, number % 3)
        os.makedirs(directory, exist_ok=True)
        length = int(min(rng.lognormvariate(8, 1), 200000))
        _write("%s/source%05d.txt" % (directory, number), "%x\n" % rng.getrandbits(length * 4 + 4))


def git_environment():
    """git without the user's and the machine's settings, and without locks taken for a mere look."""
    return dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1", GIT_OPTIONAL_LOCKS="0",
                HOME="/nonexistent")


def git(run):
    """A repository with everything committed. Its index holds neither inode numbers nor ctimes, which some
    mounts make up anew each time: a status is to compare, and not to read all files again."""
    top = run.native("data", "git")
    _tree(top, run.sizes.tree)
    names = ["-c", "safe.directory=*", "-c", "user.name=bench", "-c", "user.email=bench@example.org",
             "-C", top]
    for words in (["init", "-q"], ["config", "core.checkStat", "minimal"], ["config", "core.trustctime", "false"],
                  ["config", "gc.auto", "0"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run(["git", *names, *words], check=True, env=git_environment(), stdout=subprocess.DEVNULL)


def archive(run):
    """An archive of a tree like it, outside of BACKING."""
    top = os.path.join(run.tools["work"], "archive")
    _tree(top, run.sizes.tree)
    subprocess.run(["tar", "-C", top, "-cf", top + ".tar", "."], check=True)


TOP_MAKEFILE = """\
DIRS := %s
.PHONY: all $(DIRS)
all: program
$(DIRS):
\t@$(MAKE) --no-print-directory -C $@ -f ../Makefile.build
program: $(DIRS)
\t@cc -o $@ $(addsuffix /built.a,$(DIRS))
"""

# as the kernel's build does it: a make for each directory, a file of dependencies for each object
BUILD_MAKEFILE = """\
objects := $(patsubst %.c,%.o,$(wildcard *.c))
built.a: $(objects)
\t@rm -f $@; ar rcs $@ $(objects)
%.o: %.c
\t@cc -O1 -I../include -MMD -MF .$*.d.tmp -c -o $@ $< && mv .$*.d.tmp .$*.d
-include $(patsubst %.o,.%.d,$(objects))
"""


def source(run):
    """C sources with headers, a make for each directory."""
    top = run.native("data", "source")
    per_directory = 8
    directories = ["part%02d" % n for n in range((run.sizes.units + per_directory - 1) // per_directory)]
    os.makedirs(top + "/include")
    for number in range(40):
        _write("%s/include/header%02d.h" % (top, number),
               "#pragma once\n" + "".join("static inline int f%d_%d(int x) { return x * %d + %d; }\n"
                                          % (number, k, k + 3, number) for k in range(20)))
    for index, directory in enumerate(directories):
        os.makedirs("%s/%s" % (top, directory))
        for number in range(per_directory):
            unit = index * per_directory + number
            headers = "".join('#include "header%02d.h"\n' % ((unit * 7 + k) % 40) for k in range(12))
            body = "".join("int u%d_%d(int x) { return f%d_%d(x) + %d; }\n"
                           % (unit, k, (unit * 7 + k % 12) % 40, k % 20, k) for k in range(30))
            main = "int main(void) { return u0_0(0) == 12345; }\n" if unit == 0 else ""
            _write("%s/%s/unit%03d.c" % (top, directory, unit), headers + body + main)
    _write(top + "/Makefile", TOP_MAKEFILE % " ".join(directories))
    _write(top + "/Makefile.build", BUILD_MAKEFILE)


def postgres_programs():
    """The directory of the newest PostgreSQL's programs, or None."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"), key=lambda path: int(path.split("/")[4]))
    return os.path.dirname(found[-1]) if found else None


def as_postgres(program, *words):
    """A command of PostgreSQL's, as its user."""
    return ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "env", "HOME=/tmp",
            "LC_ALL=C.UTF-8", os.path.join(postgres_programs() or "/usr/bin", program), *words)


def start_postgres(run, data):
    """A server on the data directory, its socket outside of BACKING."""
    sockets = run.tools["sockets"]
    run.command(*as_postgres("pg_ctl", "-D", data, "-w", "-t", "20", "-s", "-l", sockets + "/log", "-o",
                             "-k %s -c listen_addresses='' -c shared_buffers=32MB -c checkpoint_timeout=1h"
                             % sockets, "start"))


def stop_postgres(run, data):
    """Stop it, soon, and if it does not hear (it may hang in a mount, or have lost its files) for certain."""
    lock = run.tools["sockets"] + "/.s.PGSQL.5432.lock"
    try:
        with open(lock) as file:
            server = int(file.readline())
    except (OSError, ValueError):
        return  # it never came so far
    try:
        run.command(*as_postgres("pg_ctl", "-D", data, "-w", "-t", "20", "-s", "-m", "fast", "stop"))
    except CaseFailed:
        for number in (signal.SIGQUIT, signal.SIGKILL):
            deadline = time.monotonic() + 5
            while os.path.exists("/proc/%d" % server) and time.monotonic() < deadline:
                os.kill(server, number)
                time.sleep(0.2)
        for path in glob.glob(run.tools["sockets"] + "/.s.*"):
            os.unlink(path)


def postgres(run):
    """A cluster with pgbench's tables, and nothing running."""
    data = run.native("data", "postgres")
    os.makedirs(data)
    user = pwd.getpwnam("postgres")
    os.chown(data, user.pw_uid, user.pw_gid)
    os.makedirs(run.tools["sockets"], exist_ok=True)
    os.chown(run.tools["sockets"], user.pw_uid, user.pw_gid)
    run.command(*as_postgres("initdb", "-D", data, "-A", "trust", "-U", "postgres", "--wal-segsize=4"))
    start_postgres(run, data)
    try:
        run.command(*as_postgres("pgbench", "-h", run.tools["sockets"], "-U", "postgres", "-q", "-i",
                                 "-s", str(run.sizes.pg_scale), "postgres"))
    finally:
        stop_postgres(run, data)


DATASETS = {"large": large, "huge": huge, "committed": committed, "scattered": scattered,
            "files": files, "git": git, "archive": archive, "source": source,
            "postgres": postgres}
