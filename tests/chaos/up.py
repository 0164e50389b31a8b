"""`python -m tests.chaos.up`: `manage.py up --no-demo` whose workers are told to do things differently (odds.py).

What is different stands in the environment as JSON: WEIR_CHAOS, for every worker; WEIR_CHAOS_WORKERS says how many.
"""

import json
import os
import sys

from config.boot import prepare

prepare("up")

from config.env import ENV  # noqa: E402
from config.supervisor import plan  # noqa: E402
from config.supervisor.plan import Options  # noqa: E402
from config.supervisor.supervise import up  # noqa: E402

_children = plan.children


def _with_odd_workers(*args, **kwargs):
    children = _children(*args, **kwargs)
    for child in children:
        if child.name.startswith("worker"):
            place = child.argv.index("celery")
            child.argv[place - 1 : place + 1] = ["-m", "tests.chaos.worker"]
            if port := json.loads(os.environ["WEIR_CHAOS"]).get("redis_port"):
                host, _, rest = child.env["REDIS_URL"].rpartition(":")
                child.env["CELERY_BROKER_URL"] = f"{host}:{port}/{rest.partition('/')[2]}"
    return children


if __name__ == "__main__":
    plan.children = _with_odd_workers
    workers = int(os.environ.get("WEIR_CHAOS_WORKERS", "1"))
    options = Options(data_dir=ENV.data_dir, port=ENV.port, workers=workers, demo=False)
    sys.exit(up(options, dict(os.environ)))
