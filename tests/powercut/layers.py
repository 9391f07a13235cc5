# SPDX-License-Identifier: MIT
"""What is looked for after a cut beside the writers' promises, where commands on the layer were interrupted."""

import hashlib
import os
import re
import stat
import subprocess

GIVEN = 8192  # bytes of each file that is changed and discarded
ORIGINAL = b"original\n" * GIVEN


def round_of(content, name):
    """The round in which a file was changed; 0: it is as it was given; None: it is neither."""
    if content == ORIGINAL[:GIVEN]:
        return 0
    found = re.match(rb"round (\d+) file (\S+)\n", content)
    if not found or found[2].decode() != name or content != (found[0] * GIVEN)[:GIVEN]:
        return None
    return int(found[1])


def check_given(log, mount):
    """The files are changed one after the other, and discarded together. Returns violations."""
    rounds = []
    for name in ("1", "2", "3", "4"):
        with open(os.path.join(mount, "given", name), "rb") as file:
            rounds.append(round_of(file.read(), name))
    if None in rounds:
        return [f"given/{rounds.index(None) + 1} is neither as it was given nor as it was written"]
    changed = [number for number in rounds if number]
    if rounds != changed + [0] * (4 - len(changed)) or len(set(changed)) > 1:
        return [f"the files that were given are of rounds {rounds}"]
    if changed and changed[0] <= log.discarded:
        return [f"what was discarded in round {log.discarded} is there: {rounds}"]
    return []


def tree(top):
    """By path, what can be seen of an object."""
    found = {}
    for directory, names, files in os.walk(top):
        for name in names + files:
            path = os.path.join(directory, name)
            info = os.lstat(path)
            content = ""
            if stat.S_ISREG(info.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            elif stat.S_ISLNK(info.st_mode):
                content = os.readlink(path)
            size = 0 if stat.S_ISDIR(info.st_mode) else info.st_size
            links = 0 if stat.S_ISDIR(info.st_mode) else info.st_nlink
            found[os.path.relpath(path, top)] = (oct(info.st_mode), links, size, info.st_mtime_ns, content)
    return found


def commit_again(daemon, mount, root):
    """The commit that was interrupted is repeated: BACKING has then what the mount shows. Returns violations."""
    shown = tree(mount)
    done = subprocess.run([os.path.join(os.path.dirname(daemon), "memmapfsctl"), "layer", "commit", mount],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return [f"the commit cannot be repeated: {done.stderr.strip()}"]
    violations = []
    for what, now in (("the mount shows", tree(mount)), ("BACKING has", tree(root))):
        for path in sorted(set(shown) | set(now)):
            if shown.get(path) != now.get(path):
                violations.append(f"after the commit {what} of {path!r}: {now.get(path)}, and before the mount showed "
                                  f"{shown.get(path)}")
    return violations
