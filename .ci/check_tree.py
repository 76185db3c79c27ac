"""Refuse what must not be committed: notebook outputs, paths of one machine, package index addresses, big or generated files.

Run as ``python .ci/check_tree.py [FOLDER]``: reads every file that git tracks there and prints one line per finding.
Exit code 0 when there is none, 1 otherwise. Standard library only, so that it runs before anything is installed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_BYTES = 1_000_000
GENERATED = re.compile(
    r"(^|/)(__pycache__|\.ipynb_checkpoints|[^/]+\.egg-info|build|dist)/|\.(pyc|db|db-wal|db-shm|log)$|(^|/)\.env$"
)
BINARY = {".png", ".parquet", ".npz", ".ico", ".woff2", ".gz"}

# Written in pieces, so that this file does not contain what it looks for.
_INDEX_HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("deb", "debian", "org"),
    )
]
INDEX_ADDRESS = re.compile(
    "|".join(
        [
            *map(re.escape, _INDEX_HOSTS),
            r"--?(?:extra-)?index-" + "url",
            "find-" + "links",
            r"://[^\s\"']+/sim" + "ple(?:/|\\b)",
        ]
    )
)
MACHINE_PATH = re.compile(r"(?<![\w.$}~-])/(?:work|root|home|Users|opt|tmp)/[A-Za-z_]|\b[A-Z]:\\" + "Users")
CONFLICT = re.compile(r"^(?:<{7} |>{7} |={7}$)", re.MULTILINE)
# Where a package of the operating system installs itself, or a path that is an example in prose, not of one machine.
ALLOWED_LINE = "machine-path: allowed"


def tracked_files(folder: Path) -> list[str]:
    """Return the paths git tracks in ``folder``, relative to it."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=folder, check=True, capture_output=True)  # noqa: S607
    return [name for name in done.stdout.decode().split("\0") if name and (folder / name).is_file()]


def notebook_findings(text: str) -> Iterator[str]:
    """Yield what a notebook must not carry: outputs and execution counts."""
    for number, cell in enumerate(json.loads(text)["cells"]):
        if cell["cell_type"] != "code":
            continue
        if cell.get("outputs"):
            yield f"cell {number} has outputs: clear them (jupyter nbconvert --clear-output --inplace FILE)"
        if cell.get("execution_count") is not None:
            yield f"cell {number} has an execution count: clear it"


def text_findings(text: str) -> Iterator[str]:
    """Yield machine paths, package index addresses and conflict marks with their line."""
    for number, line in enumerate(text.splitlines(), start=1):
        if ALLOWED_LINE in line:
            continue
        for what, pattern in (("path of one machine", MACHINE_PATH), ("package index address", INDEX_ADDRESS)):
            found = pattern.search(line)
            if found:
                yield f"line {number}: {what} {found.group(0)!r}: use a relative path, a setting or a name"
    if CONFLICT.search(text):
        yield "merge conflict marks"


def file_findings(folder: Path, name: str) -> Iterator[str]:
    """Yield every finding of one tracked file."""
    if GENERATED.search(name):
        yield "generated or private file: git rm --cached it and add it to .gitignore"
    data = (folder / name).read_bytes()
    if len(data) > MAX_BYTES:
        yield f"{len(data):,} bytes, more than {MAX_BYTES:,}: ship a smaller file"
    if Path(name).suffix in BINARY:
        return
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        yield f"not UTF-8 text and not one of {sorted(BINARY)}"
        return
    if name.endswith(".ipynb"):
        yield from notebook_findings(text)
    yield from text_findings(text)


def main(arguments: list[str]) -> int:
    """Print every finding of the tree and return the exit code."""
    folder = Path(arguments[0] if arguments else ".").resolve()
    names = tracked_files(folder)
    findings = [f"{name}: {finding}" for name in names for finding in file_findings(folder, name)]
    for finding in findings:
        print(finding)
    print(f"{len(names)} tracked files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
