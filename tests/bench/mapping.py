# SPDX-License-Identifier: MIT
"""scripts/bench mapping: runs the C program and gathers its figures."""
import json
import os
import statistics
import subprocess

from results import spread_of

MIB = 1 << 20


def measure(words, work):
    """A list, one entry a length: {'length': ..., 'pread': {'median', 'spread'}, ...} in nanoseconds."""
    path = os.path.join(work, "mapped")
    size = (16 if words.quick else 256) * MIB
    with open(path, "wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
    done = subprocess.run([os.path.join(words.tools, "bench_mapping"), path, "0.02" if words.quick else "0.3",
                           str(words.runs)], stdout=subprocess.PIPE, text=True, check=True)
    samples = json.loads(done.stdout)
    entries = []
    for length in sorted({sample["length"] for sample in samples}):
        entry = {"length": length}
        for way in ("pread", "pin", "pinned"):
            values = [sample["ns"] for sample in samples if (sample["length"], sample["way"]) == (length, way)]
            entry[way] = {"median": statistics.median(values), "spread": spread_of(values), "samples": values}
        entries.append(entry)
    return entries
