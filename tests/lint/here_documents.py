# SPDX-License-Identifier: MIT
"""The Python in shell scripts, as files that flake8 can read.

here_documents.py DIRECTORY SCRIPT...

Each here-document that ends with PY or EOP becomes DIRECTORY/SCRIPT/LINE.py, with blank lines before it, so that a
message names the script's line. What a mount test's program has without importing it by name, all of fsutil.py and
of the modules that the script itself writes, is defined on the first line.
"""
import ast
import errno
import os
import re
import sys
import textwrap

BEGIN = re.compile(r"^[^#]*<<(-?)'(PY|EOP)'")
MODULE = re.compile(r"/(\w+)\.py\"? <<")
STAR = re.compile(r"^from (\w+) import \*$", re.M)
FSUTIL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mount", "fsutil.py")


def names_of(source):
    """What a module's star import brings."""
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update(alias.asname or alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name))
    return {name for name in names if name != "*" and not name.startswith("_")}


def documents(lines):
    """(index of the first line, the line that begins it, text) of each."""
    index = 0
    while index < len(lines):
        begin = BEGIN.match(lines[index])
        index += 1
        if not begin:
            continue
        start = index
        while (lines[index].lstrip("\t") if begin[1] else lines[index]) != begin[2]:
            index += 1
        text = "\n".join(lines[start:index]) + "\n"
        yield start, lines[start - 1], textwrap.dedent(text) if begin[1] else text


def scope(begin, text, fsutil, modules):
    """The names that a document has without defining or importing them, but for Python's own."""
    stars = STAR.findall(text)
    if stars:
        return set().union(*(fsutil | modules.get(name, set()) for name in stars))
    imported = {alias.name for node in ast.parse(text).body if isinstance(node, (ast.Import, ast.ImportFrom))
                for alias in node.names}
    # One that imports for itself what fsutil.py has is run without that.
    if "python3" in begin or imported & fsutil:
        return set()
    return fsutil.union(*modules.values())


def main(directory, scripts):
    with open(FSUTIL) as file:
        fsutil = names_of(file.read()).union(name for name in dir(errno) if name.startswith("E"))
    for script in scripts:
        with open(script) as file:
            whole = file.read()
        found = list(documents(whole.split("\n")))
        written = {MODULE.search(begin)[1]: names_of(text) for _, begin, text in found if MODULE.search(begin)}
        modules = {name: names for name, names in written.items() if "from %s import *" % name in whole}
        os.makedirs(os.path.join(directory, script))
        for start, begin, text in found:
            names = scope(begin, text, fsutil, modules)
            heading = " = ".join(sorted(names)) + " = None" if names else ""
            with open(os.path.join(directory, script, "%d.py" % start), "w") as file:
                file.write(heading + "\n" * start + STAR.sub("", text))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
