# SPDX-License-Identifier: MIT
"""Cuts the power as often as asked, two guests at a time, and sums up. Called by scripts/powercut."""

import argparse
import concurrent.futures
import os
import random
import sys

from cut import boot, cut
from guest import Failure
from pmem import ask

KEEP = ("none", "some", "all")


def milliseconds(text):
    for unit, factor in (("ms", 1), ("s", 1000), ("m", 60000), ("", 1000)):
        if text.endswith(unit):
            return int(float(text[: len(text) - len(unit)]) * factor)
    raise ValueError(text)


def describe(spec):
    return f"{spec['mode']} on {spec['fs']}, run {spec['run']}, the disk keeps {spec['keep']} of what was not flushed"


def specs(arguments, memory):
    chance = random.Random(arguments.seed)
    interval = arguments.interval_ms / 1000
    for number in range(arguments.cuts):
        for fs in arguments.fs.split(","):
            for mode in arguments.mode.split(","):
                run = arguments.run if arguments.run is not None else chance.randrange(1 << 24)
                options = [f"sync={mode}"]
                if mode == "periodic":
                    options.append(f"sync_interval={arguments.interval_ms}ms")
                if arguments.layer:
                    options.append("mode=cow,layer=/backing/layer")
                if arguments.options:
                    options.append(arguments.options)
                yield {
                    "mode": mode,
                    "fs": fs,
                    "run": run,
                    "keep": "all" if arguments.dax else arguments.keep or KEEP[number % len(KEEP)],
                    "kinds": arguments.kinds,
                    "options": ",".join(options),
                    "interval_us": arguments.interval_ms * 1000,
                    # Before the first interval is over, periodic promises little.
                    "seconds": (0.3 + interval * (mode == "periodic"), 1.5 + 4 * interval),
                    "broken": arguments.broken,
                    "dax": arguments.dax,
                    "layer": arguments.layer,
                    "command": arguments.command,
                    "daemon": arguments.daemon,
                    "kernel": arguments.kernel,
                    "initramfs": os.path.join(arguments.work, "initramfs"),
                    "memory": memory,
                    "directory": os.path.join(arguments.work, f"{mode}.{fs}.{run}.{number}"),
                }


def show(result, verbose):
    bad = result["violations"] or result["failure"]
    if verbose or bad:
        detail = ""
        if "lived_ms" in result:
            detail = (
                f"; lived {result['lived_ms']} ms, {result['writes']} writes, {result['promised']} promised,"
                f" {result['flushes']} flushes, {result['unflushed']} unflushed, longest sync"
                f" {result['longest_sync_ms']} ms, tolerance {result['tolerance_ms']} ms, took {result['took_s']} s"
            )
        print(f"{'FAIL' if bad else 'ok  '} {describe(result)}{detail}", flush=True)
    if result["failure"]:
        print(f"  {result['failure']}", flush=True)
    for violation in result["violations"][:5]:
        print("  " + violation.replace("\n", "\n  "), flush=True)
    if len(result["violations"]) > 5:
        print(f"  and {len(result['violations']) - 5} more", flush=True)
    if bad:
        print(
            f"  again: scripts/powercut --cuts 1 --mode {result['mode']} --fs {result['fs']} --run {result['run']}"
            f" --keep {result['keep']}; the evidence is in {result['directory']}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cuts", type=int)
    parser.add_argument("--mode")
    parser.add_argument("--fs")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--run", type=int)
    parser.add_argument("--keep", choices=KEEP)
    parser.add_argument("--kinds")
    parser.add_argument("--options")
    parser.add_argument("--interval", dest="interval_ms", type=milliseconds)
    parser.add_argument("--broken", choices=("all", "background"))
    parser.add_argument("--dax", action="store_true")
    parser.add_argument("--layer", action="store_true")
    parser.add_argument("--command", choices=("checkpoints", "commits", "discards"))
    parser.add_argument("--daemon")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--kernel")
    parser.add_argument("--work")
    arguments = parser.parse_args()

    initramfs, memory, wrong = os.path.join(arguments.work, "initramfs"), None, 0
    try:
        if arguments.dax:
            wrong = ask(arguments.work, arguments.kernel, initramfs, arguments.verbose)
        else:
            memory = boot(os.path.join(arguments.work, "boot"), arguments.kernel, initramfs)
    except Failure as failure:
        sys.exit(f"powercut: {failure}")
    cuts = violating = violations = failures = writes = promised = idle = 0
    with concurrent.futures.ProcessPoolExecutor(arguments.jobs) as pool:
        waiting = [pool.submit(cut, spec) for spec in specs(arguments, memory)]
        for future in concurrent.futures.as_completed(waiting):
            result = future.result()
            cuts += 1
            violating += bool(result["violations"])
            violations += len(result["violations"])
            failures += bool(result["failure"])
            writes += result["writes"]
            promised += result["promised"]
            idle += not result["promised"] and not result["failure"]
            show(result, arguments.verbose)
    print(
        f"powercut: {cuts} cuts, {writes} acknowledged writes, {promised} of them promised to be on disk:"
        f" {violations} violations in {violating} cuts, {failures} cuts failed, {idle} promised nothing"
    )
    sys.exit(1 if violations or failures or idle or wrong else 0)


if __name__ == "__main__":
    main()
