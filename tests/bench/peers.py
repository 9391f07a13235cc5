# SPDX-License-Identifier: MIT
"""Who is compared: the file systems, their commands with equal settings, their versions."""
import dataclasses
import gzip
import os
import re
import shlex
import shutil
import subprocess

import mounts
from machine import first_line

EXAMPLES = "/usr/share/doc/libfuse3-dev/examples"


@dataclasses.dataclass
class Peer:
    """One file system; its command has {backing}, {mnt}, {lower}, {upper} and {scratch} for paths."""
    name: str
    kind: str  # native, kernel: no daemon, fuse, or bare: the least daemon there can be
    command: list = dataclasses.field(default_factory=list)
    version: str = ""
    ours: bool = False
    writeback: bool = False  # the kernel collects its writes: other promises, so compared among themselves
    io_uring: bool = False  # mounted while the kernel's FUSE over io_uring is turned on
    runs: int = 0  # samples at most, where each takes very long; 0: no limit of its own

    def words(self, **paths):
        """The command for these paths."""
        return [re.sub(r"\{(backing|mnt|lower|upper|scratch)\}", lambda found: paths[found[1]], word)
                for word in self.command]

    def takes_part(self, case):
        """Is this case for this peer? A peer's write-back form has something to show only where it writes."""
        if self.kind == "bare" or case.bare_only:
            return self.kind == "bare" and case.bare
        return case.writes or self.ours or not self.writeback


def passthrough_ll(work):
    """libfuse's example, compiled; None where its source is not installed."""
    target = os.path.join(work, "passthrough_ll")
    for name in ("passthrough_ll.c", "passthrough_helpers.h"):
        source = os.path.join(EXAMPLES, name)
        try:
            if os.path.exists(source):
                with open(source, "rb") as file:
                    text = file.read()
            else:
                with gzip.open(source + ".gz") as file:
                    text = file.read()
        except OSError:
            return None
        with open(os.path.join(work, name), "wb") as file:
            file.write(text)
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], capture_output=True, text=True)
    made = subprocess.run(["cc", "-O2", "-w", "-o", target, os.path.join(work, "passthrough_ll.c"),
                           *flags.stdout.split()], capture_output=True, text=True)
    return target if made.returncode == 0 else None


def standard_peers(work, timeout, bare):
    """Every peer that this machine has, with equal settings: the kernel trusts attributes and names for as
    long, keeps a file's pages until the file changes, and extended attributes work."""
    kernel = "Linux " + os.uname().release
    example = passthrough_ll(work)
    common = "allow_other,default_permissions"
    times = "attr_timeout=%g,entry_timeout=%g,negative_timeout=0" % (timeout, timeout)
    merger = ("allow_other,cache.files=auto-full,cache.attr=%d,cache.entry=%d,cache.negative_entry=0,"
              "minfreespace=0,xattr=passthrough" % (timeout, timeout))
    overlay = "allow_other,lowerdir={lower},upperdir={backing},workdir={scratch},timeout=%g" % timeout
    lowlevel = "source={backing},cache=always,timeout=%g,xattr,%s" % (timeout, common)
    found = [
        Peer("native", "native", version=kernel),
        Peer("bind mount", "kernel", ["mount", "--bind", "{backing}", "{mnt}"], version=kernel),
        Peer("bindfs", "fuse", ["bindfs", "-f", "--xattr-rw", "-o", times + ",auto_cache", "{backing}", "{mnt}"],
             first_line("bindfs", "--version")),
    ]
    for writeback in (False, True):
        suffix = " writeback" if writeback else ""
        found += [
            Peer("mergerfs" + suffix, "fuse",
                 ["mergerfs", "-f", "-o", merger + (",cache.writeback=true" if writeback else ""),
                  "{backing}", "{mnt}"], first_line("mergerfs", "--version"), writeback=writeback),
            Peer("fuse-overlayfs" + suffix, "fuse",
                 ["fuse-overlayfs", "-f", "-o", overlay + ",writeback=%d" % writeback, "{mnt}"],
                 first_line("fuse-overlayfs", "--version"), writeback=writeback),
            Peer("passthrough_ll" + suffix, "fuse",
                 [example or "passthrough_ll", "-f", "-o", lowlevel + (",writeback" if writeback else ""),
                  "{mnt}"],
                 "libfuse " + first_line("pkg-config", "--modversion", "fuse3"), writeback=writeback),
        ]
    found.sort(key=lambda peer: peer.writeback)  # stable: the write-back forms last
    left_out = ["%s: not installed" % peer.name for peer in found
                if peer.command and shutil.which(peer.command[0]) is None]
    found = [peer for peer in found if not peer.command or shutil.which(peer.command[0])]
    return found + [Peer("bare", "bare", [bare, "-f", "{mnt}"])], left_out


def overlays(runs):
    """Those that copy a whole file before its first write, over BACKING, with at most so many samples."""
    where = "lowerdir={backing},upperdir={upper},workdir={scratch}"
    found = [Peer("overlayfs", "kernel", ["mount", "-t", "overlay", "overlay", "-o", where, "{mnt}"], runs=runs),
             Peer("fuse-overlayfs", "fuse", ["fuse-overlayfs", "-f", "-o", "allow_other," + where, "{mnt}"],
                  runs=runs)]
    return [peer for peer in found if shutil.which(peer.command[0])]


def peer_from_words(text):
    """--peer 'NAME=COMMAND {backing} {mnt}'"""
    name, equals, command = text.partition("=")
    if not equals or not name.strip() or "{mnt}" not in command:
        raise ValueError("--peer '%s': should be 'NAME=COMMAND {backing} {mnt}'" % text)
    words = shlex.split(command)
    return Peer(name.strip(), "fuse", words, first_line(words[0], "--version"),
                writeback="writeback" in name.lower())


def offers(help_text, option):
    """Does --help name this option, and this value of it where it lists the values?"""
    key, equals, value = option.partition("=")
    for found in re.finditer(r"^\s+(?:-o )?%s(=\S*)?(?=\s|$)" % re.escape(key), help_text, re.M):
        values = (found[1] or "")[1:].split("|")
        # SIZE and its like stand for any value
        if bool(equals) == bool(found[1]) and (not equals or value in values or any(v.isupper() for v in values)):
            return True
    return False


def variants(daemon, option_sets, timeout):
    """memmapfs-fuse with each set of options that this binary offers; the others as lines that say so. With
    io_uring FUSE over io_uring is turned on in the kernel while the daemon mounts."""
    done = subprocess.run([daemon, "--help"], capture_output=True, text=True)
    version = first_line(daemon, "--version")
    found, left_out = [], []
    for options in option_sets:
        words = [] if options in ("", "plain") else options.split(",")
        name = "memmapfs-fuse" + (" " + options if words else "")
        io_uring = "io_uring" in words
        if io_uring and not os.access(mounts.IO_URING_SWITCH, os.W_OK):
            left_out.append("%s: this kernel has no FUSE over io_uring" % name)
            continue
        missing = [word for word in words if not offers(done.stdout + done.stderr, word)]
        if missing:
            left_out.append("%s: this memmapfs-fuse has no %s" % (name, ", ".join(missing)))
            continue
        # with cache=none timeouts are refused
        times = [] if "cache=none" in words else [
            "attr_timeout=%g" % timeout, "entry_timeout=%g" % timeout, "negative_timeout=0"]
        found.append(Peer(name, "fuse", [daemon, "-f", "{backing}", "{mnt}", "-o",
                                         ",".join(["allow_other"] + times + words)],
                          version, ours=True,
                          writeback="writeback" in words, io_uring=io_uring))
    return found, left_out
