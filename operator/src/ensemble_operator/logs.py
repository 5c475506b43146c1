"""Structured logs: one JSON object a line on standard error."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "k8s_ref"}
"""Attributes every record has, or that a library adds; all others are ours and are written."""


OUTAGE_SECONDS = 30.0
"""How often the libraries may tell that the API server is away."""


class JsonFormatter(logging.Formatter):
    """time, level, logger, message, then whatever `extra` the call gave."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, tz=UTC)
        line: dict[str, object] = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class Sparse(logging.Filter):
    """Lets one line of a logger through in so many seconds: each of many streams tells the same outage."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.created - self._last.get(record.name, 0.0) < self._seconds:
            return False
        self._last[record.name] = record.created
        return True


def configure(level: str) -> None:
    """Send all logs to standard error as JSON.

    Args:
        level: debug, info, warning or error; libraries speak only from warning on unless it is debug.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if level != "debug":
        for name in ("kopf", "kubernetes", "urllib3", "aiohttp", "asyncio"):
            logging.getLogger(name).setLevel(logging.WARNING)
        for name in ("kopf._cogs.clients.watching", "kopf._cogs.clients.fetching", "urllib3.connectionpool"):
            logging.getLogger(name).addFilter(Sparse(OUTAGE_SECONDS))
