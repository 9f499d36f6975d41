"""`detector run`."""

import asyncio
from pathlib import Path

from detector.daemon import serve
from detector.loading import load_models
from detector.operate.logs import configure
from detector.settings.load import load_config


def run_daemon(path: Path | None) -> None:
    config = load_config(path)
    configure(config.log)
    asyncio.run(serve(config, load_models(config, path), path=path))
