"""Stories that know nothing of each other are told at once: most of a rollout is waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.e2e import live

Story = Callable[[live.Namespace], None]


def begin(request: pytest.FixtureRequest, stories: Iterable[Story]) -> Iterator[dict[str, Future[None]]]:
    """The body of a fixture: start those stories of a module that were chosen; their results by name."""
    names = " ".join(item.name for item in request.session.items if item.fspath == request.node.fspath)
    make_namespace: live.NamespaceFactory = request.getfixturevalue("make_namespace")
    chosen = [story for story in stories if name_of(story) in names]
    with ThreadPoolExecutor(max(1, len(chosen))) as pool:
        yield {name_of(story): pool.submit(_tell, story, make_namespace) for story in chosen}


def name_of(story: Story) -> str:
    return story.__name__


def _tell(story: Story, make_namespace: live.NamespaceFactory) -> None:
    with make_namespace(name_of(story).replace("_", "-")[:30].strip("-")) as space:
        story(space)
