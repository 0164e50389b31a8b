"""Make `.venv` with everything that requirements.lock pins. Standard library alone: it runs before anything is there.

    python3.11 -I config/install.py

Does nothing, and needs no network, when the lock has not changed since. May be interrupted and started again, or
started twice at once.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed"


class InstallFailed(Exception):
    """The environment could not be made; the message says what to do."""


def main() -> int:
    if sys.version_info[:2] != (3, 11):
        return _fail(
            f"Weir needs Python 3.11; this is {sys.version.split()[0]}. Name one: make PYTHON=/path/to/python3.11"
        )
    with (ROOT / ".venv.lock").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        wanted = _fingerprint()
        if STAMP.is_file() and STAMP.read_text() == wanted and PYTHON.exists():
            return 0
        began = time.monotonic()
        print("Installing the pinned packages into .venv (a few seconds to a minute) ...", flush=True)
        STAMP.unlink(missing_ok=True)
        try:
            _install()
        except InstallFailed as error:
            return _fail(str(error))
        STAMP.write_text(wanted)
        print(f"Installed in {time.monotonic() - began:.0f} s.", flush=True)
    return 0


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


def _fingerprint() -> str:
    """Changes with the lock, with the interpreter, and when the folder is moved (scripts name their interpreter)."""
    return (
        f"{hashlib.sha256(LOCK.read_bytes()).hexdigest()} {sys.version.split()[0]} {sys.base_prefix} {VENV}\n"
    )


def _install() -> None:
    if not _works():
        _make_venv()
    if _with_uv():
        return
    # pip alone takes about a minute where uv takes seconds, but reads every configuration of its own.
    command: list[str | Path] = [
        PYTHON,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--require-hashes",
        "--requirement",
        LOCK,
    ]
    if subprocess.run([*command, "--disable-pip-version-check"]).returncode:
        raise InstallFailed(
            "The packages could not be installed (see above). The first time needs a package index."
        )


def _works() -> bool:
    """Whether a usable environment is left from an earlier time, perhaps an interrupted one."""
    if not PYTHON.exists():
        return False
    probe = "import pip, sys; assert [sys.version, sys.base_prefix, sys.prefix] == sys.argv[1:]"
    done = subprocess.run(
        [PYTHON, "-I", "-c", probe, sys.version, sys.base_prefix, VENV], capture_output=True
    )
    return done.returncode == 0


def _make_venv() -> None:
    shutil.rmtree(VENV, ignore_errors=True)
    try:
        venv.create(VENV, with_pip=True, symlinks=True)
    except (subprocess.CalledProcessError, OSError, ImportError) as error:
        raise InstallFailed(
            f"No virtual environment could be made ({error}). On Debian and Ubuntu: apt install python3.11-venv"
        ) from None


def _with_uv() -> bool:
    """Install uv at the version and hashes of the lock, then everything else with it; False when that did not work."""
    pinned = re.search(r"^uv==.*?(?=^\S|\Z)", LOCK.read_text(), re.MULTILINE | re.DOTALL)
    if pinned is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / "uv.txt"
        alone.write_text(pinned.group())
        command: list[str | Path] = [
            PYTHON,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--requirement",
            alone,
        ]
        if subprocess.run([*command, "--disable-pip-version-check"], stderr=subprocess.DEVNULL).returncode:
            return False
    sync = [
        str(VENV / "bin" / "uv"),
        "pip",
        "sync",
        "--quiet",
        "--require-hashes",
        "--python",
        str(PYTHON),
        str(LOCK),
    ]
    return subprocess.run(sync, env=_uv_environment(), stderr=subprocess.DEVNULL).returncode == 0


def _uv_environment() -> dict[str, str]:
    """uv does not read pip's configuration; hand it the index that pip would use."""
    environment = dict(os.environ)
    index = subprocess.run(
        [PYTHON, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True
    ).stdout.strip()
    index = os.environ.get("PIP_INDEX_URL", index)
    if index and not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & environment.keys():
        environment["UV_DEFAULT_INDEX"] = index
    return environment


if __name__ == "__main__":
    sys.exit(main())
