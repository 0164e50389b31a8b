"""Run Django's deployment checks as production would be: python -m config.deploy_check

The values are made up on the spot and reach nothing; what is checked is what settings.py makes of them.
"""

import base64
import os
import secrets
import subprocess
import sys

from config.env import BASE_DIR


def production_values() -> dict[str, str]:
    """A complete, valid production environment that belongs to nobody."""
    database = "postgresql://{login}:none@db.invalid:5432/weir"
    return {
        "WEIR_ENV": "production",
        "WEIR_BASE_URL": "https://weir.invalid",
        "ALLOWED_HOSTS": "weir.invalid",
        "SECRET_KEY": secrets.token_urlsafe(50),
        "WEIR_VAULT_KEYS": base64.urlsafe_b64encode(os.urandom(32)).decode(),
        "DATABASE_URL": database.format(login="weir_app"),
        "DATABASE_OPS_URL": database.format(login="weir_ops"),
        "WEIR_TRUSTED_PROXIES": "1",
        "REDIS_URL": "redis://redis.invalid:6379/0",
        "EMAIL_URL": "smtp+tls://user:none@mail.invalid:587",
        "WEIR_METRICS_TOKEN": secrets.token_urlsafe(24),
    }


def main() -> int:
    command = [sys.executable, str(BASE_DIR / "manage.py"), "check", "--deploy", "--fail-level", "WARNING"]
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(command, env=environment | production_values()).returncode


if __name__ == "__main__":
    sys.exit(main())
