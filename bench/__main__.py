"""Run the benchmarks, all or the named ones, in a data directory of their own, and write what came out."""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
NAMES = ("accept", "burst", "ceiling", "fairness", "policies")


def main(wanted: list[str]) -> int:
    if unknown := set(wanted) - set(NAMES):
        print(f"There is no benchmark {', '.join(sorted(unknown))}: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    os.environ.setdefault("WEIR_DATA_DIR", str(ROOT / ".data" / "bench"))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from config.boot import prepare

    prepare("bench")
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--no-input", "--verbosity", "0"], cwd=ROOT, check=True
    )
    import django

    django.setup()
    from bench import accept, burst, ceiling, fairness, policies

    measures = {
        "accept": accept.measure,
        "burst": burst.measure,
        "ceiling": ceiling.measure,
        "fairness": fairness.measure,
        "policies": policies.measure,
    }
    RESULTS.mkdir(exist_ok=True)
    for name in wanted or NAMES:
        results = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": platform.platform(),
            "python": f"{platform.python_version()}, {platform.python_compiler()}",
        }
        results |= measures[name]()
        path = RESULTS / f"{name}.json"
        path.write_text(json.dumps(results, indent=2) + "\n")
        print(f"Written to {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
