"""The ledger's pages on the sample's records, served by the very program that `invoke report` starts."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ledger import sample

from .conftest import ROOT


@contextlib.contextmanager
def serve_sample(folder: Path) -> Iterator[str]:
    """Yield the address of a server, which ends with the block; `folder` gets the records."""
    folder.mkdir(parents=True, exist_ok=True)
    for record in sample.make_records(datetime.now(UTC)):
        (folder / f"{record['id']}.json").write_text(json.dumps(record), "utf-8")
    command = (sys.executable, "-m", "ledger.report", str(folder))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
