"""The mutation score of the modules named in pyproject.toml: of their lines broken on purpose, how many tests notice.

Run by `make mutants`, or for another group of modules by `make mutants ARGS="--of engine"`; needs the test suite's
tools. A mutant that no test runs counts as unnoticed, one whose tests do not end as noticed: on a busy machine these may
be tests that were slow, so they are counted apart. Ends with 1 when the score of all modules together is under the least
one.

A group of modules that many tests run takes hours. `--sample 500` tries as many, drawn by lot, and says how far off
the score may be; with `--seconds 1.5` only tests that take up to so long are asked, which makes it a score at least.
"""

import argparse
import json
import math
import os
import random
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from config.embedded import provide
from config.env import data_dir_of

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".data" / "mutants"
LEAST = 0.90
# mutmut's exit codes of a mutant's tests; anything else was not checked, or not by a test.
_OUTCOMES = {0: "survived", 1: "killed", 3: "killed", 5: "untested", 33: "untested"}
_TIMEOUTS = (-24, 24, 36, 152)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--of", choices=groups(), help="a group of pyproject.toml's [tool.weir.mutants]")
    parser.add_argument("--sample", type=int, help="try so many mutants, drawn by lot")
    parser.add_argument("--seed", type=int, default=1, help="of the lot")
    parser.add_argument("--seconds", type=float, help="leave out tests that take longer")
    parser.add_argument("--report-only", action="store_true", help="print what the last run found")
    parser.add_argument("names", nargs="*", help="mutants to try, such as 'tenants.scope.*'")
    options = parser.parse_args()
    folder = workplace(options.of) if options.of else ROOT
    tried = Trial(folder, PLACE / "servers" / (options.of or "usual"), options.workers)
    names = options.names
    if not options.report_only:
        if options.sample or options.seconds:
            tried.prepare()
        if options.seconds:
            leave_out_slow_tests(folder / "mutants", options.seconds)
        if options.sample:
            names = drawn(folder / "mutants", options.sample, options.seed)
        tried.run(names)
    return report(folder / "mutants", set(names) if options.sample else None)


def groups() -> dict[str, dict[str, Any]]:
    """What differs from [tool.mutmut], by group."""
    found: dict[str, dict[str, Any]] = _settings()["weir"]["mutants"]
    return found


def workplace(group: str) -> Path:
    """A folder that is the project with another [tool.mutmut]: the tool has one configuration and one place a folder."""
    folder = PLACE / group
    folder.mkdir(parents=True, exist_ok=True)
    for entry in ROOT.iterdir():
        link = folder / entry.name
        if entry.name not in ("mutants", ".data", "pyproject.toml") and not link.is_symlink():
            link.symlink_to(entry)
    usual, own = _settings()["mutmut"], groups()[group]
    whole = [*usual["source_paths"], *usual["also_copy"]]
    copied = [name for name in whole if name not in own["source_paths"]]
    # Lists, texts, numbers and truth values are written alike in JSON and TOML.
    lines = [f"{name} = {json.dumps(value)}" for name, value in {**usual, "also_copy": copied, **own}.items()]
    text = (ROOT / "pyproject.toml").read_text()
    rest = re.sub(r"^\[tool\.(mutmut|weir)\b.*?(?=^\[|\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    (folder / "pyproject.toml").write_text("\n".join((rest, "[tool.mutmut]", *lines, "")))
    return folder


class Trial:
    """A place with mutants, and servers for their tests."""

    def __init__(self, folder: Path, servers: Path, workers: int) -> None:
        self._folder, self._servers, self._workers = folder, servers, workers

    def prepare(self) -> None:
        """Make the mutants, and find out which tests run them and how long they take."""
        # The tool does this before it finds that none has such a name, and says so with a traceback.
        self.run(["nothing.by.this.name"], errors=subprocess.DEVNULL)

    def run(self, names: list[str], *, errors: int | None = None) -> None:
        """Try the mutants that were not tried yet, or those named."""
        # For all of them, so that they do not start servers of their own; kept until this process ends. Apart from those
        # of the tests, which would find the template database of the mutants outdated, and replace it.
        os.environ |= {"WEIR_ENV": "test", "WEIR_DATA_DIR": str(self._servers)}
        provide(os.environ, data_dir_of(os.environ))
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(self._workers), *names]
        subprocess.run(command, cwd=self._folder, stderr=errors, check=False)


def drawn(folder: Path, count: int, seed: int) -> list[str]:
    """So many of the mutants that were made there, by lot; the same ones for the same seed."""
    every = sorted(name for meta in folder.rglob("*.py.meta") for name in _codes(meta))
    return random.Random(seed).sample(every, min(count, len(every)))


def leave_out_slow_tests(folder: Path, seconds: float) -> None:
    """Have no mutant wait for a test that takes longer; which ones a function has is in mutmut's own notes."""
    notes = folder / "mutmut-stats.json"
    stats = json.loads(notes.read_text())
    slow = {test for test, took in stats["duration_by_test"].items() if took > seconds}
    tests_of = stats["tests_by_mangled_function_name"]
    stats["tests_by_mangled_function_name"] = {
        function: [test for test in tests if test not in slow] for function, tests in tests_of.items()
    }
    notes.write_text(json.dumps(stats))


def report(folder: Path, only: set[str] | None = None) -> int:
    """Print a line per module, of all mutants or of `only` these; 1 when the whole score is under LEAST or nothing was
    tried."""
    table = Table("Module", "Mutants", "Noticed", "of these by time", "Survived", "Untested", "Score")
    whole: Counter[str] = Counter()
    for meta in sorted(folder.rglob("*.py.meta")):
        codes = [code for name, code in _codes(meta).items() if only is None or name in only]
        counts = Counter(outcome(code) for code in codes if code is not None)
        if counts:
            whole += counts
            table.add_row(str(meta.relative_to(folder)).removesuffix(".meta"), *_cells(counts))
    table.add_section()
    table.add_row("all", *_cells(whole))
    Console().print(table)
    if only is not None and whole:
        score = _score(whole)
        off = 1.96 * math.sqrt(score * (1 - score) / whole.total())
        Console().print(f"Drawn by lot: {score:.1%}, off by {off:.1%} at most in 95 of 100 such draws.")
    return 0 if whole and _score(whole) >= LEAST else 1


def _codes(meta: Path) -> dict[str, int | None]:
    codes: dict[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
    return codes


def _settings() -> dict[str, Any]:
    tools: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    return tools


def outcome(code: int) -> str:
    """What mutmut's exit code of a mutant says."""
    return "timed out" if code in _TIMEOUTS else _OUTCOMES.get(code, "unclear")


def _score(counts: Counter[str]) -> float:
    return (counts["killed"] + counts["timed out"]) / max(counts.total(), 1)


def _cells(counts: Counter[str]) -> list[str]:
    untested = counts["untested"] + counts["unclear"]
    noticed = counts["killed"] + counts["timed out"]
    numbers = (counts.total(), noticed, counts["timed out"], counts["survived"], untested)
    return [*(str(number) for number in numbers), f"{_score(counts):.1%}"]


if __name__ == "__main__":
    sys.exit(main())
