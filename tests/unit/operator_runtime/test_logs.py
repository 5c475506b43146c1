from __future__ import annotations

import json
import logging
import sys

from ensemble_operator.logs import JsonFormatter, Sparse


def test_line_is_one_json_object_with_extras() -> None:
    record = logging.makeLogRecord(
        {
            "name": "n",
            "levelno": logging.INFO,
            "levelname": "INFO",
            "msg": "two\nlines %s",
            "args": ("x",),
            "key": "a/b",
        }
    )
    line = JsonFormatter().format(record)
    assert "\n" not in line
    document = json.loads(line)
    assert document["message"] == "two\nlines x"
    assert document["key"] == "a/b"
    assert document["level"] == "info"
    assert set(document) == {"time", "level", "logger", "message", "key"}


def test_exception_is_kept_in_the_line() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        record = logging.makeLogRecord({"msg": "m", "exc_info": sys.exc_info()})
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert "ValueError: why" in json.loads(line)["exception"]


def test_an_outage_is_told_now_and_then_only() -> None:
    sparse = Sparse(30)
    told = []
    for second in (0, 1, 29, 31, 32, 70):
        record = logging.makeLogRecord({"name": "streams", "msg": "away"})
        record.created = 1_000.0 + second
        if sparse.filter(record):
            told.append(second)
    assert told == [0, 31, 70]
    other = logging.makeLogRecord({"name": "else", "msg": "away"})
    other.created = 1_070.0
    assert sparse.filter(other)
