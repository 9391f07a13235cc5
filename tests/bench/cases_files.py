# SPDX-License-Identifier: MIT
"""Many small files: attributes, opens, names made and taken."""
from cases import case
from datasets import SMALL


def read_all(run):
    """open, read, close of every small file."""
    return run.drive("small-read", run.path("data", "files"), count=run.sizes.files, block=SMALL)


def stat_all(run):
    """stat of every small file."""
    return run.drive("stat", run.path("data", "files"), count=run.sizes.files)


@case("stat-cold", "stat of small files, cold in the mount", "k/s", needs=("files",), warm_backing=read_all,
      quick=True)
def stat_cold(run):
    """A look-up each."""
    return stat_all(run)


@case("stat-warm", "stat of small files, warm", "k/s", needs=("files",), warm_backing=read_all, warm=stat_all,
      quick=True)
def stat_warm(run):
    """The kernel knows names and attributes, for as long as the mount lets it."""
    return stat_all(run)


@case("open-cold", "open, read, close of small files, cold in the mount", "k/s", needs=("files",),
      warm_backing=read_all, quick=True)
def open_cold(run):
    """Look-up, open, read and close."""
    return read_all(run)


@case("open-warm", "open, read, close of small files, warm", "k/s", needs=("files",), warm_backing=read_all,
      warm=read_all, quick=True)
def open_warm(run):
    """Names, attributes and data are cached by the mount, where it keeps them."""
    return read_all(run)


@case("open-warm-pinned", "open, read, close of small files, warm, pinned", "k/s", needs=("files",),
      warm_backing=read_all, warm=read_all, pinned=True)
def open_warm_pinned(run):
    """The same without wake-ups across processors."""
    return read_all(run)


@case("create-unlink", "create, close and unlink of an empty file", "k/s", writes=True, quick=True)
def create_unlink(run):
    """One after the other."""
    return run.drive("create-unlink", run.path("run"), count=run.sizes.created)
