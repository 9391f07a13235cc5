# SPDX-License-Identifier: MIT
"""Whole programs: archives, version control, databases, builds."""
import os
import re
import shutil

from cases import CaseFailed, case
from datasets import as_postgres, git_environment, postgres_programs, start_postgres, stop_postgres


@case("untar", "untar", "s", needs=("archive",), writes=True, quick=True)
def untar(run):
    """A tree of some thousand files, from an archive outside."""
    _, seconds = run.command("tar", "-xf", os.path.join(run.tools["work"], "archive.tar"), "-C", run.path("run"))
    return run.sizes.tree, 0, seconds


def status(run):
    """git status of a tree without changes."""
    output, seconds = run.command("git", "-c", "safe.directory=*", "-C", run.path("data", "git"), "status",
                                  "--porcelain", env=git_environment())
    if output:
        raise CaseFailed("git status found a change: " + output.splitlines()[0])
    return run.sizes.tree, 0, seconds


@case("git-status-cold", "git status, cold in the mount", "s", needs=("git",), warm_backing=status)
def git_status_cold(run):
    """A look-up for each file, and every directory read."""
    return status(run)


@case("git-status-warm", "git status, warm", "s", needs=("git",), warm_backing=status, warm=status, quick=True)
def git_status_warm(run):
    """The second one."""
    return status(run)


def sqlite(run, mode, transactions):
    """Inserts, a transaction each."""
    database = run.path("run", "database")
    setup = ("PRAGMA journal_mode=%s; PRAGMA synchronous=FULL; "
             "CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT, v BLOB); CREATE INDEX t_k ON t(k);" % mode)
    run.command("sqlite3", "-batch", "-bail", database, setup)
    insert = "INSERT INTO t(k, v) VALUES(hex(randomblob(8)), randomblob(200));\n"
    _, seconds = run.command("sqlite3", "-batch", "-bail", database,
                             text="PRAGMA journal_mode=%s; PRAGMA synchronous=FULL;\n" % mode
                             + insert * transactions)
    output, _ = run.command("sqlite3", "-batch", "-bail", database, "SELECT count(*) FROM t;")
    if output.strip() != str(transactions):
        raise CaseFailed("sqlite3: %s rows of %d" % (output.strip(), transactions))
    return transactions, 0, seconds


@case("sqlite-delete", "sqlite3, an insert a transaction, DELETE journal", "µs", writes=True, quick=True)
def sqlite_delete(run):
    """A journal made and removed for each."""
    return sqlite(run, "DELETE", run.sizes.sqlite_delete)


@case("sqlite-wal", "sqlite3, an insert a transaction, WAL", "µs", writes=True)
def sqlite_wal(run):
    """A log appended to, and a mapped index."""
    return sqlite(run, "WAL", run.sizes.sqlite_wal)


def copy_cluster(run):
    """In BACKING, before the mount: a new copy of the cluster."""
    if postgres_programs() is None:
        raise CaseFailed("PostgreSQL is not installed")
    run.command("cp", "-a", run.native("data", "postgres"), run.native("run", "postgres"))


def start_cluster(run):
    """The server, on the mount."""
    start_postgres(run, run.path("run", "postgres"))


def stop_cluster(run):
    """It must be gone before the mount can go."""
    stop_postgres(run, run.path("run", "postgres"))


@case("pgbench", "pgbench, 4 clients", "µs", needs=("postgres",), reset=copy_cluster, warm=start_cluster,
      after=stop_cluster, writes=True)
def pgbench(run):
    """TPC-B-like transactions; the time of one."""
    output, _ = run.command(*as_postgres("pgbench", "-h", run.tools["sockets"], "-U", "postgres", "-n", "-c", "4",
                                         "-j", "2", "-t", str(run.sizes.pgbench), "postgres"))
    rate = re.search(r"tps = ([0-9.]+)", output)
    if rate is None:
        raise CaseFailed("pgbench names no rate")
    return 4 * run.sizes.pgbench, 0, 4 * run.sizes.pgbench / float(rate[1])


def copy_source(run):
    """In BACKING, before the mount: sources that nobody has built."""
    shutil.copytree(run.native("data", "source"), run.native("run", "source"))


def make(run):
    """A make for each directory, as many jobs as processors."""
    _, seconds = run.command("make", "-s", "-j%d" % len(os.sched_getaffinity(0)), "-C", run.path("run", "source"))
    return run.sizes.units, 0, seconds


@case("make", "make, kernel-style, from nothing", "s", needs=("source",), reset=copy_source, writes=True)
def make_all(run):
    """Mostly the compiler."""
    return make(run)


@case("make-again", "make, kernel-style, nothing to do but link", "s", needs=("source",), reset=copy_source,
      warm=make, writes=True)
def make_again(run):
    """Mostly stat(2)."""
    return make(run)
