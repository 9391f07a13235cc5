# SPDX-License-Identifier: MIT
"""The figures as Markdown."""

MIB = 1 << 20


def number(value, digits=3):
    """A number with so many digits that mean something."""
    if value is None:
        return ""
    if abs(value) >= 10 ** (digits - 1):
        return "%d" % round(value)
    return "%.*g" % (digits, value)


def mebibytes(value):
    """Bytes as MiB."""
    return "" if value is None else number(value / MIB)


def percent(value):
    """A share."""
    return "" if value is None else "±%.0f %%" % (value * 100)


def ratio(value):
    """How many times."""
    return "" if value is None else "%.2f" % value


def table(head, rows, left=1):
    """A table of Markdown, its first columns to the left."""
    yield "| %s |" % " | ".join(head)
    yield "|%s|" % "|".join("---" if n < left else "--:" for n in range(len(head)))
    for row in rows:
        yield "| %s |" % " | ".join(text.replace("|", "\\|") for text in row)


def machine_lines(results):
    """What it was measured on and with."""
    machine, settings = results["machine"], results["settings"]
    yield "- %s, %d CPUs, %s GiB, Linux %s, %s" % (
        machine["processor"], machine["cpus"], number(machine["memory_bytes"] / 2 ** 30), machine["kernel"],
        machine["system"])
    yield "- BACKING: %s" % settings["backing"]
    yield "- libfuse %s, %s, Python %s" % (machine["libfuse"], machine["fio"] or "no fio", machine["python"])
    yield "- %d runs of each, interleaved; %s sizes" % (settings["runs"], "small" if settings["quick"] else "full")
    if results.get("peers"):
        yield "- each run on a new mount; the kernel trusts attributes and names for %g s" % settings["timeout"]
        yield "- " + "; ".join("%s: %s" % program for program in sorted(results["programs"].items()))


def peer_lines(results):
    """Who took part, and who did not."""
    yield from table(["file system", "version", "command"],
                     [[peer["name"], peer["version"],
                       "`%s`" % " ".join(peer["command"]) if peer["command"] else ""]
                      for peer in results["peers"]], 3)
    for line in results["left_out"]:
        yield ""
        yield "Left out: %s." % line


def cell(figures):
    """One case and one file system, in the short table."""
    if figures is None:
        return ""
    if "median" not in figures:
        return "failed"
    text = number(figures["median"])
    if "ratio_to_native" in figures:
        text += " (%s)" % ratio(figures["ratio_to_native"])
    return text + ("*" if figures["failed"] else "")


def short_table(results):
    """Cases by file systems."""
    names = [peer["name"] for peer in results["peers"] if peer["kind"] != "bare"]
    rows = [[case["title"], case["unit"]] + [cell(case["results"].get(name)) for name in names]
            for case in results["cases"] if "bare" not in case["results"]]
    yield from table(["case", "unit"] + names, rows, 2)


def cpu(figures):
    """What the daemon's processor time was, for the work done."""
    if figures.get("daemon_cpu") is None:
        return ""
    if "daemon_cpu_a_gib" in figures and figures["bytes"] >= 4096 * figures["operations"]:
        return "%s s/GiB" % number(figures["daemon_cpu_a_gib"])
    return "%s µs/op" % number(figures["daemon_cpu_us_an_operation"])


def detail(case):
    """One case, a row for each file system."""
    yield "### %s" % case["title"]
    yield ""
    yield "`%s`, in %s" % (case["name"], case["unit"])
    yield ""
    rows = []
    for name, figures in case["results"].items():
        if "median" not in figures:
            rows.append([name, "failed: " + figures.get("why", "")] + [""] * 9)
            continue
        rows.append([
            name, number(figures["median"]), percent(figures["spread"]), ratio(figures.get("ratio_to_native")),
            ratio(figures.get("ratio_to_best_peer")), cpu(figures), mebibytes(figures["page_cache"]),
            mebibytes(figures["private"]), mebibytes(figures.get("disk_read")),
            mebibytes(figures.get("disk_written")),
            "%d of %d: %s" % (figures["failed"], figures["runs"], figures["why"]) if figures["failed"] else ""])
    head = ["file system", "median", "spread", "to native", "to best peer", "daemon CPU", "page cache MiB",
            "private MiB", "disk read MiB", "disk written MiB", "runs failed"]
    if not any(row[-1] for row in rows):
        head.pop()
        rows = [row[:-1] for row in rows]
    yield from table(head, rows)


def mapping_lines(mapping):
    """The mapping cache beside pread(2)."""
    yield "## Mapping cache in process"
    yield ""
    yield ("Random reads of one file in memory, nanoseconds each. `pin` finds, pins, copies and unpins for each "
           "read; `pinned` copies from a window pinned once. In brackets: times faster than pread(2).")
    yield ""
    rows = []
    for entry in mapping:
        row = [number(entry["length"], 6)]
        for way in ("pread", "pin", "pinned"):
            text = "%s %s" % (number(entry[way]["median"]), percent(entry[way]["spread"]))
            if way != "pread":
                text += " (%s)" % ratio(entry["pread"]["median"] / entry[way]["median"])
            row.append(text)
        rows.append(row)
    yield from table(["bytes", "pread(2)", "pin", "pinned"], rows)


def markdown(results):
    """All of it."""
    lines = ["# Benchmark of memmapfs-fuse", "", *machine_lines(results), ""]
    if results.get("peers"):
        lines += [*peer_lines(results), "", "## All cases", "",
                  "Medians; in brackets the speed as a multiple of native's. Where the unit is µs or s less is "
                  "better; the ratios always say how many times as fast. `*`: some runs failed.", "",
                  *short_table(results), ""]
    if results.get("goals"):
        lines += ["## Goals", "", *table(["goal", "wanted", "measured", "met"],
                                         [[goal["goal"], goal["wanted"], goal["measured"],
                                           "yes" if goal["met"] else "**no**"] for goal in results["goals"]]), ""]
    if results.get("cases"):
        lines += ["## Each case", "",
                  "Spread: half the distance between the quartiles. Ratios of speed to native and to the fastest "
                  "other FUSE file system; where a case writes, those with a write-back cache are compared among "
                  "themselves. Page cache: what the mount and the case added to it.", ""]
        for case in results["cases"]:
            lines += [*detail(case), ""]
    if results.get("mapping"):
        lines += [*mapping_lines(results["mapping"]), ""]
    return "\n".join(lines)
