"""What to do about YAML that cannot be read: the parser says only what it expected."""

from __future__ import annotations

CURES = (
    (r"character '\t'", "indent with spaces, not with tabs"),
    ("that cannot start any token", "quote the value"),
    ("undefined alias", "define the anchor (&NAME) above it"),
    ("duplicate anchor", "rename one of the anchors"),
    ("mapping values are not allowed", "quote a value that holds ': ', or indent like the lines around it"),
    ("sequence entries are not allowed", "begin the list on a line of its own"),
    ("unexpected end of stream", "close the quote"),
    ("unknown escape character", "write the backslash twice, or use single quotes"),
    ("expected ',' or", "close the bracket, or put a comma between its items"),
    ("expected <block end>", "indent the fields of one object, or the items of one list, alike"),
    ("could not find expected ':'", "write KEY: VALUE"),
    ("expected '<document start>'", "begin each further document with a line ---"),
    ("expected alphabetic or numeric character", "quote a value that begins with * or &"),
)
"""Part of PyYAML's message -> cure; the first that fits."""
OTHERWISE = "correct the line, or the one above it"
TEMPLATE = "fill in the template first: helm template prints what can be read"


def cure_of(problem: str, line: str) -> str:
    """The next thing to try.

    Args:
        problem: PyYAML's message.
        line: of the file, where it stands.
    """
    if "{{" in line or "{%" in line:
        return TEMPLATE
    return next((cure for part, cure in CURES if part in problem), OTHERWISE)
