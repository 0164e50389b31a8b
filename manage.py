#!/usr/bin/env python
"""Weir's commands: python manage.py help"""

import sys

from django.core.management import execute_from_command_line

from config import env_report
from config.boot import prepare, refuse
from config.env import EnvInvalid
from config.errors import CannotStart


def main() -> int:
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        prepare(command)
        if command == "env_check" and "--help" not in sys.argv:
            return env_report.main()  # without Django, which would not start with a faulty environment
        execute_from_command_line(sys.argv)
    except (EnvInvalid, CannotStart) as error:
        return refuse(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
