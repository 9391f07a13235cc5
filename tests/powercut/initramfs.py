# SPDX-License-Identifier: MIT
"""
The guest's initramfs: busybox, the program under test with its libraries, the writers, kernel modules.

usage: initramfs.py OUTPUT MODULES_DIRECTORY NAME=FILE... [-- MODULE...]

Every NAME=FILE is put there, executables with the shared libraries that ldd names. Modules come with
those that they need, in an order in which they can be inserted.
"""

import os
import re
import stat
import subprocess
import sys


class Archive:
    """A cpio archive in the "newc" format, which is all that the kernel unpacks."""

    def __init__(self):
        self.parts = []
        self.names = set()

    def _entry(self, name, mode, data):
        encoded = name.encode() + b"\0"
        fields = (len(self.names), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        for part in (head, data):
            self.parts.append(part + b"\0" * (-len(part) % 4))

    def add(self, name, data, mode):
        if name in self.names:
            return
        directory = os.path.dirname(name)
        if directory and directory not in self.names:
            self.add(directory, b"", stat.S_IFDIR | 0o755)
        self.names.add(name)
        self._entry(name, mode, data)

    def add_file(self, name, path):
        with open(path, "rb") as file:
            self.add(name, file.read(), stat.S_IFREG | 0o755)

    def finish(self):
        self._entry("TRAILER!!!", 0, b"")
        return b"".join(self.parts)


def libraries(path):
    """What the program at @path is linked with: the names that it is found by, and the files."""
    done = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return re.findall(r"(/\S+) \(0x", done.stdout) if done.returncode == 0 else []


def find_modules(root, wanted):
    """The files of @wanted and of what they need, each after what it needs; those built in are no files."""
    files = {}
    for directory, _, names in os.walk(root):
        for name in names:
            if name.endswith(".ko"):
                files[name[:-3].replace("-", "_")] = os.path.join(directory, name)
    with open(os.path.join(root, "modules.builtin"), encoding="utf-8") as file:
        builtin = {os.path.basename(line.strip())[:-3].replace("-", "_") for line in file}
    order = []

    def visit(name):
        if name in builtin or files.get(name) in order:
            return
        if name not in files:
            sys.exit(f"initramfs.py: no module {name} in {root}")
        with open(files[name], "rb") as file:
            depends = re.search(rb"\0depends=([^\0]*)\0", file.read())
        for other in filter(None, depends.group(1).decode().split(",") if depends else []):
            visit(other.replace("-", "_"))
        order.append(files[name])

    for name in wanted:
        visit(name.replace("-", "_"))
    return order


def main():
    output, modules_root, rest = sys.argv[1], sys.argv[2], sys.argv[3:]
    modules = rest[rest.index("--") + 1 :]
    archive = Archive()
    for pair in rest[: rest.index("--")]:
        name, path = pair.split("=", 1)
        archive.add_file(name, path)
        for library in libraries(path):
            # The loader is where the program says, the libraries where the loader looks without a cache.
            loader = os.path.basename(library).startswith("ld-linux")
            archive.add_file(library[1:] if loader else "lib/" + os.path.basename(library), library)
    order = find_modules(modules_root, modules)
    for path in order:
        archive.add_file("modules/" + os.path.basename(path), path)
    text = "".join(os.path.basename(path) + "\n" for path in order)
    archive.add("modules/order", text.encode(), stat.S_IFREG | 0o644)
    with open(output, "wb") as file:
        file.write(archive.finish())


main()
