"""What Dockyard told the person during the running test: the lines that it logged, in their order."""

import logging

LINES: list[str] = []


class Keeper(logging.Handler):
    """Keeps messages as a person sees them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        LINES.append(record.getMessage())
