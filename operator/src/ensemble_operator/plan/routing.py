"""The routes that lead from the user's Gateways to the servers, and which rollout gets which share of them.

Normally both routes lead to the ensemble's Service. While a canary shares the requests out they lead to a
Service of each rollout, by weight; what they say stands in their own annotations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ensemble_operator import names
from ensemble_operator.plan import history
from ensemble_operator.plan.actions import Action, Apply, Create, Delete
from ensemble_operator.plan.chain import owner_of
from ensemble_operator.plan.healing import deployments_of
from ensemble_operator.plan.observation import ObjectSeen, Observation
from ensemble_operator.plan.stage import MAIN, ServeOutcome, Stage, Weights
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.resources import routes
from ensemble_operator.resources.drift import covers, selects_more
from ensemble_operator.resources.routes import Shares
from ensemble_operator.resources.services import TRAFFIC, traffic_service
from ensembles_api.names import LABEL_ROLE, LABEL_ROLLOUT
from ensembles_api.reasons import Reason
from ensembles_api.spec import Gateway

SETTLE = timedelta(seconds=3)
"""From a Gateway's word that it has accepted a change until all of its proxies act on it."""
KEPT = timedelta(seconds=15)
"""So long servers and Services stay that a route led to before: a proxy may be late to hear of it."""
LOOK = timedelta(seconds=1)
"""Routes are not watched: so often they are looked at while a change of theirs is waited for."""


@dataclass(frozen=True)
class Routing:
    """What to do about the routes.

    first: what must be done before servers end, since requests go to them.
    kept: rollouts that a proxy may still send requests to.
    """

    first: tuple[Action, ...] = ()
    last: tuple[Action, ...] = ()
    trouble: Trouble | None = None
    wake: datetime | None = None
    kept: frozenset[str] = frozenset()


def route(observation: Observation, gateway: Gateway | None, weights: Weights | None) -> Routing:
    """Make the routes lead where they should.

    Args:
        observation: what there is.
        gateway: spec.gateway; None: there shall be no routes.
        weights: hash of a rollout -> percent; MAIN; None: as they are.
    """
    if gateway is None:
        gone = [
            Delete(str(seen.manifest["kind"]), seen.name, seen.uid)
            for seen in observation.routes.found
            if history.is_ours(seen, observation) and not seen.deleting
        ]
        return Routing(last=(*gone, *_unneeded(observation, frozenset())), kept=_named(observation))
    if observation.routes.missing:
        return Routing(
            trouble=Trouble(Reason.GATEWAY_API_MISSING, observation.routes.missing, "spec.gateway")
        )
    live = live_shares(observation)
    wanted = live.weights if weights is None else weights
    if not _is_answered(observation, wanted):
        wanted = MAIN
    if not all(_is_known(observation, rollout) for rollout in wanted.keys() - live.weights.keys()):
        # A route that leads to a Service before the proxies know its servers answers with errors.
        return Routing(
            last=tuple(_services(observation, frozenset(wanted))),
            wake=observation.now + LOOK,
            kept=frozenset(wanted) | _named(observation),
        )
    shares = _next(observation, live, wanted)
    needed = frozenset(shares.weights) | _lately(observation, shares)
    actions = (
        *_services(observation, frozenset(shares.weights)),
        *_routes(observation, gateway, shares),
        *_unneeded(observation, needed),
    )
    moves = any(told.weights != shares.weights for told in _told(observation))
    moving = moves or (bool(shares.weights or shares.before) and _is_recent(observation, shares))
    trouble = _trouble(observation, gateway, moving=moving)
    return Routing(
        first=actions if moves else (),
        last=() if moves else actions,
        trouble=trouble,
        wake=_wake(observation, shares),
        kept=needed | _named(observation),
    )


def routed(observation: Observation, serving: ServeOutcome) -> ServeOutcome:
    """Lane B's outcome, and what it means for the routes."""
    spec = observation.spec
    if spec is None or (serving.active is None and not observation.routes.found):
        return serving  # there is nothing yet that a route could lead to
    routing = route(observation, spec.gateway, None if serving.wanted is None else serving.weights)
    return replace(
        serving,
        actions=(*routing.first, *serving.actions, *routing.last),
        kept_rollouts=serving.kept_rollouts | routing.kept,
        trouble=serving.trouble or routing.trouble,
        wake=min((time for time in (serving.wake, routing.wake) if time is not None), default=None),
    )


def in_effect(observation: Observation, weights: Weights) -> bool:
    """Whether the Gateways have accepted these shares, and had the time to act on them."""
    live = live_shares(observation)
    if live.weights != weights or live.since is None or live.since + SETTLE > observation.now:
        return False
    ours = _ours(observation)
    return len(ours) == len(routes.KINDS) and all(_is_accepted(seen) for seen in ours)


def weights_for(stage: Stage, weight: int) -> Weights:
    """The wanted rollout's share of the requests, in percent, and the rest for the active one."""
    others = {stage.active: 100 - weight} if stage.active and weight < 100 else {}  # noqa: PLR2004
    return {**others, stage.hash: weight}


def weigh(stage: Stage, weight: int, title: str) -> ServeOutcome | None:
    """The next step towards the wanted rollout's share of the requests, in percent; None once it holds.

    Its servers, for so many requests, must be ready.
    """
    weights = weights_for(stage, weight)
    if in_effect(stage.observation, weights):
        return None
    message = f"{title}: Gateways take over the share"
    return replace(stage, weights=weights).outcome(
        Reason.STEPPING, message, wake=stage.observation.now + LOOK
    )


def live_shares(observation: Observation) -> Shares:
    """What the routes say. They are written one after the other: the earlier word counts until both agree."""
    told = _told(observation)
    return min(told, key=lambda shares: (shares.since is not None, shares.since), default=Shares(MAIN))


def still_asked(observation: Observation) -> frozenset[str]:
    """Rollouts to which a proxy may send requests, though a route may lead elsewhere by now."""
    return _named(observation) | _lately(observation, live_shares(observation))


def _told(observation: Observation) -> list[Shares]:
    return [_shares(seen) for seen in _ours(observation)]


def _shares(seen: ObjectSeen) -> Shares:
    notes = seen.annotations
    pairs = (part.partition("=") for part in notes.get(names.ANNOTATION_SHARES, "").split())
    return Shares(
        {rollout: int(weight) for rollout, _, weight in pairs if weight.isdecimal()},
        history.moment(notes.get(names.ANNOTATION_SHARES_SINCE)),
        tuple(notes.get(names.ANNOTATION_SHARED_BEFORE, "").split()),
    )


def _next(observation: Observation, live: Shares, weights: Weights) -> Shares:
    known = {history.rollout_name(rollout) for rollout in observation.rollouts}
    if not weights.keys() <= known:
        weights = MAIN
    told = _told(observation)
    if told and all(shares.weights == weights for shares in told):
        return live
    # What it led to a step before may still be asked, too.
    return Shares(dict(weights), observation.now, tuple(sorted(still_asked(observation))))


def _is_answered(observation: Observation, weights: Weights) -> bool:
    """Whether every share has a ready server, or the Service itself has none.

    Proxies do not send a share elsewhere: without a server its requests fail.
    """

    def is_ready(rollout: str) -> bool:
        return any(deployment.ready_replicas for deployment in deployments_of(observation, rollout))

    return all(map(is_ready, weights)) or not is_ready(history.active_rollout(observation) or "")


def _ours(observation: Observation) -> list[ObjectSeen]:
    return [
        seen for seen in observation.routes.found if history.is_ours(seen, observation) and not seen.deleting
    ]


def _named(observation: Observation) -> frozenset[str]:
    return frozenset(rollout for shares in _told(observation) for rollout in shares.weights)


def _lately(observation: Observation, shares: Shares) -> frozenset[str]:
    return frozenset(shares.before) if _is_recent(observation, shares) else frozenset()


def _is_recent(observation: Observation, shares: Shares) -> bool:
    return shares.since is not None and shares.since + KEPT > observation.now


def _services(observation: Observation, needed: frozenset[str]) -> Iterator[Action]:
    seen = {service.name: service for service in observation.services}
    for rollout in sorted(needed):
        wanted = traffic_service(owner=owner_of(observation), rollout=rollout)
        live = seen.get(wanted["metadata"]["name"])
        if live is None:
            yield Create(wanted)
        elif not covers(live.manifest, wanted) or selects_more(live.manifest, wanted):
            yield Apply(wanted)


def _is_known(observation: Observation, rollout: str) -> bool:
    """Whether the Service of a rollout's share is old enough for every proxy to know its servers."""
    name = names.traffic_service(observation.name, rollout)
    seen = next((service for service in observation.services if service.name == name), None)
    if seen is None or seen.deleting:
        return False
    created = history.moment(seen.manifest["metadata"].get("creationTimestamp"))
    return created is None or created + SETTLE <= observation.now


def _unneeded(observation: Observation, needed: frozenset[str]) -> Iterator[Action]:
    for service in observation.services:
        is_traffic = service.labels.get(LABEL_ROLE) == TRAFFIC and history.is_ours(service, observation)
        if is_traffic and not service.deleting and service.labels.get(LABEL_ROLLOUT) not in needed:
            yield Delete("Service", service.name, service.uid)


def _routes(observation: Observation, gateway: Gateway, shares: Shares) -> Iterator[Action]:
    seen = {str(found.manifest["kind"]): found for found in observation.routes.found}
    for wanted in routes.routes(owner=owner_of(observation), gateway=gateway, shares=shares):
        live = seen.get(wanted["kind"])
        if live is None:
            yield Create(wanted)
        elif not history.is_ours(live, observation) or live.deleting:
            continue
        elif not covers(live.manifest, wanted) or _leads_elsewhere(live.manifest, wanted):
            yield Apply(wanted)


def _leads_elsewhere(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Hostnames that were added lead clients of another name here, though every field of ours is there."""
    return bool((live.get("spec", {}).get("hostnames") or []) != wanted["spec"]["hostnames"])


def _trouble(observation: Observation, gateway: Gateway, *, moving: bool) -> Trouble | None:
    """What keeps clients from the servers; `moving`: a Gateway may need a moment for the newest change."""
    for seen in observation.routes.found:
        kind = seen.manifest["kind"]
        if not history.is_ours(seen, observation):
            return Trouble(
                Reason.OBJECT_NOT_OWNED,
                f"{kind} {seen.name} exists and is not this ensemble's; rename one of them or remove it",
                field="metadata.name",
            )
        refused = _refusal(seen.manifest)
        if refused:
            return Trouble(Reason.ROUTE_NOT_ACCEPTED, f"{kind} {seen.name}: {refused}", "spec.gateway")
    silent = [str(seen.manifest["kind"]) for seen in _ours(observation) if not _is_accepted(seen)]
    if silent and not moving:
        parents = ", ".join(str(parent.get("name", "")) for parent in gateway.parent_refs)
        return Trouble(
            Reason.ROUTE_NOT_ACCEPTED,
            f"no Gateway has accepted the {silent[0]} as it is now (attached to: {parents})",
            "spec.gateway.parentRefs",
        )
    return None


def _parents(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list((manifest.get("status") or {}).get("parents") or ())


def _refusal(manifest: Mapping[str, Any]) -> str:
    """What a Gateway says against the route; empty where none does."""
    for parent in _parents(manifest):
        for condition in parent.get("conditions") or ():
            if condition.get("type") in {"Accepted", "ResolvedRefs"} and condition.get("status") == "False":
                name = (parent.get("parentRef") or {}).get("name", "")
                said = f"{condition.get('reason', '')}: {condition.get('message', '')}"
                return f"{condition['type']} is False at Gateway {name} ({said})"
    return ""


def _is_accepted(seen: ObjectSeen) -> bool:
    """Whether every Gateway that the route is attached to has accepted it, and found its Services, as it is
    now.
    """
    told = [
        condition
        for parent in _parents(seen.manifest)
        for condition in parent.get("conditions") or ()
        if condition.get("type") in {"Accepted", "ResolvedRefs"}
    ]
    generation = seen.manifest["metadata"].get("generation", 0)
    return any(condition.get("type") == "Accepted" for condition in told) and all(
        condition.get("status") == "True" and condition.get("observedGeneration", generation) >= generation
        for condition in told
    )


def _wake(observation: Observation, shares: Shares) -> datetime | None:
    """While something is under way routes are looked at again and again."""
    if _is_recent(observation, shares):
        return observation.now + LOOK
    waiting = not all(_is_accepted(seen) for seen in _ours(observation))
    return observation.now + timedelta(seconds=5) if waiting else None
