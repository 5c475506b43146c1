from __future__ import annotations

from typing import Any

from ensemble_operator.cluster.kinds import ENSEMBLE, JOB, POD
from ensemble_operator.observe.cache import ObjectCache
from ensemble_operator.observe.routing import Key, keys_of


def job(
    version: int, *, uid: str = "u1", name: str = "j", namespace: str = "n", **metadata: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid,
            "resourceVersion": str(version),
            **metadata,
        },
    }


def version_of(cache: ObjectCache, name: str = "j") -> str | None:
    known = cache.get(JOB, "n", name)
    return None if known is None else known["metadata"]["resourceVersion"]


def test_late_event_does_not_turn_back_our_own_write() -> None:
    cache = ObjectCache()
    assert cache.watched("ADDED", job(5))
    assert cache.store(job(9)), "the answer to our write"
    cache.watched("MODIFIED", job(7))
    assert version_of(cache) == "9"
    cache.watched("MODIFIED", job(9))
    assert not cache.watched("MODIFIED", job(9)), "told twice, as after a new list"


def test_a_change_that_our_own_write_brought_along_is_still_news() -> None:
    """Deleted between our look and our write: the answer shows it, but nobody has acted on it."""
    cache = ObjectCache()
    cache.watched("ADDED", job(5))
    cache.store(job(9, deletionTimestamp="2026-11-21T01:53:03Z"))
    assert cache.watched("MODIFIED", job(8, deletionTimestamp="2026-11-21T01:53:03Z"))
    known = cache.get(JOB, "n", "j")
    assert known is not None
    assert "deletionTimestamp" in known["metadata"]


def test_versions_are_compared_as_numbers() -> None:
    cache = ObjectCache()
    cache.store(job(9))
    assert cache.store(job(10))
    assert version_of(cache) == "10"


def test_deleted_object_is_not_brought_back_by_a_late_answer() -> None:
    cache = ObjectCache()
    cache.watched("ADDED", job(5))
    assert cache.watched("DELETED", job(8))
    assert not cache.store(job(7))
    assert version_of(cache) is None


def test_deletion_of_a_former_object_spares_its_successor() -> None:
    cache = ObjectCache()
    cache.store(job(5, uid="old"))
    cache.store(job(9, uid="new"))
    cache.watched("DELETED", job(8, uid="old"))
    assert version_of(cache) == "9"


def test_object_that_lost_and_regained_its_label() -> None:
    cache = ObjectCache()
    cache.watched("ADDED", job(5))
    cache.watched("DELETED", job(6))  # so a watch with a selector tells it
    assert version_of(cache) is None
    assert cache.store(job(7)), "we put the label back"
    cache.watched("DELETED", job(6))  # the event comes late
    assert version_of(cache) == "7"


def test_list_replaces_what_it_covers() -> None:
    cache = ObjectCache()
    cache.store(job(1, name="ghost", uid="g"))
    cache.store(job(2, name="kept", uid="k"))
    cache.store(job(50, name="young", uid="y"))
    cache.store(job(1, name="elsewhere", uid="e", namespace="other"))
    cache.replace(JOB, "n", [job(3, name="kept", uid="k"), job(4, name="found", uid="f")], version="40")
    names = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in cache.all(JOB, "n")}
    assert names == {"kept": "3", "found": "4", "young": "50"}, "younger than the list: not missing from it"
    assert len(cache.all(JOB)) == 4


def test_list_of_some_objects_spares_the_others() -> None:
    cache = ObjectCache()
    cache.store(job(1, name="mine", uid="m", labels={"a": "b"}))
    cache.store(job(1, name="yours", uid="y"))
    cache.replace(JOB, "n", [], version="9", where=lambda item: "labels" in item["metadata"])
    assert [item["metadata"]["name"] for item in cache.all(JOB, "n")] == ["yours"]


def test_forget_needs_the_right_uid() -> None:
    cache = ObjectCache()
    cache.store(job(1))
    cache.forget(JOB, "n", "j", uid="another")
    assert version_of(cache) == "1"
    cache.forget(JOB, "n", "j", uid="u1")
    assert version_of(cache) is None


def test_managed_fields_are_not_kept() -> None:
    cache = ObjectCache()
    cache.store(job(1, managedFields=[{"manager": "m"}]))
    assert "managedFields" not in cache.all(JOB)[0]["metadata"]


def test_watched_version_is_per_kind_and_scope() -> None:
    cache = ObjectCache()
    cache.watched(None, job(5))
    cache.watched("ADDED", job(9, namespace="other", uid="u2"))
    cache.store(job(20))
    assert cache.watched_version(JOB, None) == 9
    assert cache.watched_version(JOB, "n") == 5
    assert cache.watched_version(POD, None) == 0


def test_build_job_and_its_pods_concern_every_owner() -> None:
    cache = ObjectCache()
    owners = [{"kind": ENSEMBLE.name, "name": name, "uid": name} for name in ("one", "two")]
    shared = job(1, ownerReferences=owners, labels={"ensembles.dev/role": "build"})
    cache.store(shared)
    pod = {
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "namespace": "n",
            "ownerReferences": [{"kind": "Job", "name": "j", "uid": "u1"}],
        },
    }
    wanted = {Key("n", "one"), Key("n", "two")}
    assert keys_of(shared, cache) == wanted
    assert keys_of(pod, cache) == wanted
    assert keys_of({"kind": "Pod", "metadata": {"name": "q", "namespace": "n"}}, cache) == frozenset()


def test_labelled_child_concerns_its_ensemble() -> None:
    child = job(1, labels={"ensembles.dev/ensemble": "one"})
    assert keys_of(child, ObjectCache()) == {Key("n", "one")}
