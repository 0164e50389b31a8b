"""Run the keeper: python -m config.embedded DATA_DIR [--no-fsync]"""

import os
import sys
from pathlib import Path

from config.embedded.errors import EmbeddedError
from config.embedded.keeper import keep
from config.embedded.layout import prepare_data_dir


def main() -> int:
    os.umask(0o077)
    try:
        keep(prepare_data_dir(Path(sys.argv[1])), fsync="--no-fsync" not in sys.argv)
    except EmbeddedError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
