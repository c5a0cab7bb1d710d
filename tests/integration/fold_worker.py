"""A process that folds again and again until it is killed: `fold_worker.py <settings as json>`."""

import json
import sys

from retention_pipelines.cache.fold import fold
from retention_pipelines.postgres.server import open_server
from retention_pipelines.settings import load_settings
from retention_pipelines.warehouse import Lake


def main() -> None:
    settings = load_settings({}, **json.loads(sys.argv[1]))
    with Lake(settings) as lake, open_server(settings) as server:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            fold(lake, server, settled_seconds=0, worth_seconds=0)


if __name__ == "__main__":
    main()
