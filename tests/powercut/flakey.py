# SPDX-License-Identifier: MIT
"""Errors of a disk that really fails, in the guest. Called by scripts/powercut --flakey."""

import argparse
import os
import re
import shutil
import sys

from cut import make_disk
from disk import Disk
from guest import Failure, Guest

LOST = re.compile(r"offset (\d+) length (\d+): ")


def run(arguments, fs):
    """Returns the lines that the guest said."""
    directory = os.path.join(arguments.work, f"flakey.{fs}")
    os.mkdir(directory)
    disk = Disk(os.path.join(directory, "nbd"), *make_disk(directory, fs))
    guest = Guest(directory, arguments.kernel, os.path.join(arguments.work, "initramfs"), disk)
    try:
        guest.wait_for("P")
        guest.tell(
            [f"fs={fs}", f"kinds={arguments.mode}", f"options={arguments.options}", "script=flakey.sh"]
        )
        guest.wait_for("G", errors=False)
        lines = guest.log().splitlines()
    finally:
        guest.kill()
    shutil.rmtree(directory)
    return lines


def main():
    parser = argparse.ArgumentParser()
    for name in ("--mode", "--fs", "--options", "--kernel", "--work"):
        parser.add_argument(name)
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    kept = wrong = 0
    for fs in arguments.fs.split(","):
        try:
            lines = run(arguments, fs)
        except Failure as failure:
            print(f"FAIL {fs}: {failure}")
            wrong += 1
            continue
        for line in lines:
            logged = LOST.search(line) if line.startswith("D ") else None
            kept += line.startswith("K ")
            bad = line.startswith("E ") or (logged is not None and int(logged.group(2)) == 0)
            wrong += bad
            if bad or arguments.verbose:
                print(f"{'FAIL' if bad else 'ok  ' if line.startswith('K ') else '    '} {fs}: {line[2:]}")
    print(f"powercut: errors of a failing disk: {kept} times the rule held, {wrong} times not")
    sys.exit(1 if wrong or not kept else 0)


if __name__ == "__main__":
    main()
