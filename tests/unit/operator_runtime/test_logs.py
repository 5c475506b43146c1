from __future__ import annotations

import json
import logging
import sys

from ensemble_operator.logs import JsonFormatter


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
