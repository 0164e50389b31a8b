"""Run the keeper, or remove data directories with all that belongs to them.

python -m config.embedded DATA_DIR [--no-fsync]
python -m config.embedded --destroy DATA_DIR ...
"""

import os
import sys
from pathlib import Path

from config.embedded.errors import EmbeddedError
from config.embedded.keeper import keep
from config.embedded.servers import destroy
from config.files import prepare_data_dir


def main(arguments: list[str]) -> int:
    os.umask(0o077)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    try:
        if arguments[0] == "--destroy":
            for data_dir in arguments[1:]:
                destroy(Path(data_dir))
        else:
            keep(prepare_data_dir(Path(arguments[0])), fsync="--no-fsync" not in arguments)
    except EmbeddedError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
