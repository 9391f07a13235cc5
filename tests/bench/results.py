# SPDX-License-Identifier: MIT
"""From samples to figures: medians, spreads, ratios."""
import statistics

GIB = 1 << 30


def speed(sample):
    """Work a second; of bytes where there are any. Within one case all do the same work."""
    return (sample["bytes"] or sample["operations"]) / max(sample["seconds"], 1e-9)


def shown(case, sample):
    """The sample in the case's unit."""
    seconds = max(sample["seconds"], 1e-9)
    return {"MB/s": sample["bytes"] / seconds / 1e6, "k/s": sample["operations"] / seconds / 1e3,
            "µs": seconds / max(sample["operations"], 1) * 1e6, "s": seconds}[case.unit]


def median_of(samples, key):
    """The median of one count; None where it was not taken."""
    values = [sample[key] for sample in samples if sample.get(key) is not None]
    return statistics.median(values) if values else None


def spread_of(values):
    """Half of the distance between the quartiles, as a share of the median."""
    middle = statistics.median(values)
    if len(values) < 3 or middle == 0:
        return None
    quarters = statistics.quantiles(values, n=4, method="inclusive")
    return (quarters[2] - quarters[0]) / 2 / middle


def summarize(case, samples):
    """The figures of one case and one peer."""
    good = [sample for sample in samples if "failed" not in sample]
    reasons = [sample["failed"] for sample in samples if "failed" in sample]
    figures = {"runs": len(samples), "failed": len(reasons), "samples": samples}
    if reasons:
        figures["why"] = reasons[-1]
    if not good:
        return figures
    values = [shown(case, sample) for sample in good]
    figures.update(
        median=statistics.median(values), spread=spread_of(values), least=min(values), most=max(values),
        speed=statistics.median(speed(sample) for sample in good),
        seconds=median_of(good, "seconds"), operations=good[0]["operations"], bytes=good[0]["bytes"],
        client_cpu=median_of(good, "client_cpu"), daemon_cpu=median_of(good, "daemon_cpu"),
        page_cache=median_of(good, "page_cache"), private=median_of(good, "private"),
        disk_read=median_of(good, "disk_read"), disk_written=median_of(good, "disk_written"))
    if figures["daemon_cpu"] is not None:
        if figures["bytes"]:
            figures["daemon_cpu_a_gib"] = figures["daemon_cpu"] / figures["bytes"] * GIB
        if figures["operations"]:
            figures["daemon_cpu_us_an_operation"] = figures["daemon_cpu"] / figures["operations"] * 1e6
    return figures


def best_peer(case, peers, figures, writeback):
    """The fastest other FUSE file system; where a case writes, of those with the same promise."""
    names = [peer.name for peer in peers
             if peer.kind == "fuse" and not peer.ours and "speed" in figures.get(peer.name, {})
             and (not case.writes or peer.writeback == writeback)]
    return max(names, key=lambda name: figures[name]["speed"], default=None)


def compare(case, peers, samples):
    """All figures of one case, with ratios of speed: above 1 is faster than the other."""
    figures = {name: summarize(case, taken) for name, taken in samples.items()}
    native = figures.get("native", {})
    for peer in peers:
        mine = figures.get(peer.name, {})
        if "speed" not in mine:
            continue
        if "speed" in native:
            mine["ratio_to_native"] = mine["speed"] / native["speed"]
            if case.writes and native.get("disk_written") and mine.get("disk_written") is not None:
                mine["disk_written_to_native"] = mine["disk_written"] / native["disk_written"]
        best = best_peer(case, peers, figures, peer.writeback)
        if best:
            mine["best_peer"] = best
            mine["ratio_to_best_peer"] = mine["speed"] / figures[best]["speed"]
            if mine.get("daemon_cpu") is not None and figures[best].get("daemon_cpu"):
                mine["daemon_cpu_to_best_peer"] = mine["daemon_cpu"] / figures[best]["daemon_cpu"]
        if case.read_cache and mine["bytes"] and mine.get("page_cache") is not None:
            mine["page_cache_to_bytes"] = mine["page_cache"] / mine["bytes"]
    return figures
