"""Look the pinned packages of constraints.txt up in the advisory database that pip-audit asks; exit 1 when one is known bad.

``python .ci/audit.py PIP_AUDIT``: path of the pip-audit program. The versions are taken as pinned and hashed, nothing is
installed or resolved. When the advisory service cannot be reached, or knows none of the packages (a mirror that serves files
only), that is said and is not a failure: it would be one of the network, not of the tree.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

_AWAY = re.compile(r"ConnectionError|Could not connect|Max retries|timed out|ServiceError|Name or service|SSLError")


def verdict(code: int, report: str, errors: str) -> tuple[int, str]:
    """Return the exit code and what to print, from what pip-audit did."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        if _AWAY.search(errors):
            return 0, "the advisory service cannot be reached from here: nothing was audited"
        return 1, f"pip-audit failed with code {code}:\n{errors[-2000:]}"
    audited = [package for package in packages if "skip_reason" not in package]
    bad = [package for package in audited if package.get("vulns")]
    if bad:
        lines = [
            f"{package['name']} {package['version']}: {vuln['id']}, fixed in {', '.join(vuln['fix_versions']) or 'nothing yet'}"
            for package in bad
            for vuln in package["vulns"]
        ]
        return 1, "\n".join(lines)
    if not audited:
        return (
            0,
            f"the advisory service knows none of the {len(packages)} packages: it is not reached from here, nothing was audited",
        )
    return 0, f"{len(audited)} of {len(packages)} pinned packages audited, none with a known vulnerability"


def main() -> int:
    """Run pip-audit on the constraints beside this folder."""
    pinned = Path(__file__).parents[1] / "constraints.txt"
    options = ["--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "15"]
    done = subprocess.run([sys.argv[1], *options, "-r", str(pinned)], capture_output=True, text=True, check=False)  # noqa: S603
    code, said = verdict(done.returncode, done.stdout, done.stderr)
    print(said)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
