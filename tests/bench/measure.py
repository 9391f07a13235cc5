# SPDX-License-Identifier: MIT
"""One measurement: prepare, mount, warm, run, account, unmount. And the order of all of them."""
import os
import subprocess
import sys

import datasets
from cases import CaseFailed
from machine import drop_caches
from mounts import Mount, MountFailed


class Bench:
    """All that measurements share."""

    def __init__(self, area, make_run, mnt, cpu):
        self.area, self.make_run, self.mnt, self.cpu = area, make_run, mnt, cpu
        self.made = {}  # data set: None, or why it could not be made

    def data(self, case):
        """The data sets that a case reads, made when they are first asked for."""
        for name in case.needs:
            if name not in self.made:
                try:
                    datasets.DATASETS[name](self.make_run())
                    self.made[name] = None
                except (CaseFailed, OSError, KeyError, subprocess.SubprocessError) as error:
                    self.made[name] = "%s: %s" % (name, error)
                self.area.sync()
            if self.made[name]:
                raise CaseFailed("no data set " + self.made[name])

    def measure(self, case, peer, number):
        """One sample: a dict of what was counted, or of 'failed' and why."""
        run = self.make_run(seed=number + 1)
        run.state.update(kind=peer.kind, peer=peer.name)
        try:
            self.data(case)
            self.area.clear_run()
            if case.reset:
                case.reset(run)
            self.area.sync()
            if case.cold == "both":
                drop_caches()
            elif case.warm_backing:
                case.warm_backing(run)
            disk = self.area.disk()
            sample = self._mounted(case, peer, run)
            self.area.sync()
        except (CaseFailed, MountFailed, OSError, subprocess.SubprocessError) as error:
            return {"failed": str(error)}
        after = self.area.disk()
        if disk and after:
            sample["disk_read"], sample["disk_written"] = after[0] - disk[0], after[1] - disk[1]
        return sample

    def _mounted(self, case, peer, run):
        cached = self.area.page_cache()
        cpus = {self.cpu} if case.pinned else None
        with Mount(peer, self.area, self.mnt, cpus) as mount:
            run.top, run.cpus, run.on_timeout = mount.top, cpus, mount.abort
            try:
                if case.warm:
                    case.warm(run)
                children = os.times()
                used = mount.cpu()
                operations, size, seconds = case.run(run)
                used_after = mount.cpu()
                children_after = os.times()
                sample = {
                    "operations": operations, "bytes": size, "seconds": seconds,
                    "client_cpu": children_after.children_user + children_after.children_system
                                  - children.children_user - children.children_system,
                    "page_cache": self.area.page_cache() - cached,
                    "private": mount.private(),
                }
                if used is not None and used_after is not None:
                    sample["daemon_cpu"] = used_after - used
                elif peer.kind in ("fuse", "bare") and mount.process.poll() is not None:
                    raise CaseFailed("the daemon has ended: " + mount.said())
            finally:
                if case.after:
                    case.after(run)
        return sample

    def trial(self, peer):
        """Does it mount, answer and go again? None, or why not."""
        try:
            with Mount(peer, self.area, self.mnt) as mount, mount.watched(20):
                os.statvfs(mount.top) if peer.kind == "bare" else os.listdir(mount.top)
        except (MountFailed, OSError, subprocess.SubprocessError) as error:
            return str(error)
        return None


def rounds(bench, case, peers, count, tell):
    """All samples of one case: A B C, A B C, ... A peer that has failed twice is not asked a third time."""
    samples = {peer.name: [] for peer in peers if peer.takes_part(case)}
    for number in range(count):
        for peer in peers:
            if peer.name not in samples or 0 < peer.runs <= number:
                continue
            earlier = samples[peer.name]
            if len(earlier) >= 2 and all("failed" in sample for sample in earlier):
                continue
            sample = bench.measure(case, peer, number)
            earlier.append(sample)
            if tell:
                said = sample.get("failed") or "%.4f s" % sample["seconds"]
                print("%s, %s, run %d: %s" % (case.name, peer.name, number + 1, said), file=sys.stderr)
    return samples
