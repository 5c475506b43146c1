"""docs/reasons.md: what every condition and reason means and what to do about it."""

from __future__ import annotations

import json

from ensembles_api.generate.reference import MADE_BY
from ensembles_api.generate.symptoms import SYMPTOMS, shown_in
from ensembles_api.reasons import REASONS, Condition, Nature, ReasonInfo

CONDITIONS: dict[Condition, str] = {
    Condition.READY: "This generation of the spec is published, verified and serving.",
    Condition.AVAILABLE: "The Service has a ready server, of this rollout or of an earlier one.",
    Condition.RECONCILING: "Work towards this generation goes on. Present only while True.",
    Condition.STALLED: "Work cannot go on until somebody changes something. Present only while True, "
    "never together with Reconciling.",
    Condition.ASSEMBLED: "Every source is pinned to its digest and the configuration fits the models.",
    Condition.BUILT: "Every artifact (DALI pipeline, TensorRT engine) is in storage.",
    Condition.PUBLISHED: "The revision is complete in storage; it never changes from then on.",
    Condition.VERIFIED: "The new servers have answered real inference requests.",
}

NATURES: dict[Nature, tuple[str, str]] = {
    Nature.USER: (
        "Yours to mend",
        (
            "`Stalled` is True. What served before goes on serving. The work starts again when the resource, "
            "or what it refers to, changes."
        ),
    ),
    Nature.GRACE: (
        "Not there yet",
        (
            "`Reconciling` is True for two minutes, because GitOps tools apply objects in any order; then "
            "`Stalled`. Tried again every five minutes all the same."
        ),
    ),
    Nature.WORLD: ("The world's", "`Reconciling` is True. Tried again with growing pauses, for ever."),
    Nature.WAITING: ("Waiting", "`Reconciling` is True: nothing failed, something scarce is not free."),
    Nature.PROGRESS: ("Progress", "Nothing is wrong."),
}


def page() -> str:
    return "\n".join(
        (
            "# Conditions and reasons",
            "",
            MADE_BY,
            "",
            "`kubectl describe ie NAME` shows the conditions; each has a reason from the tables below and a",
            "message that names the field, object or file at fault. Below each table stands what a status",
            "says, and what usually is behind it; long digests and names are cut short by `…`.",
            "",
            "## Conditions",
            "",
            "| Type | True means |",
            "|---|---|",
            *(f"| `{condition.value}` | {meaning} |" for condition, meaning in CONDITIONS.items()),
            *(line for nature, (title, text) in NATURES.items() for line in _section(nature, title, text)),
            "",
        )
    )


def _section(nature: Nature, title: str, text: str) -> list[str]:
    infos = [info for info in REASONS.values() if info.nature is nature]
    return [
        "",
        f"## {title}",
        "",
        text,
        "",
        "| Reason | Meaning | What to do |",
        "|---|---|---|",
        *map(_row, infos),
        *(line for info in infos for line in _symptom(info)),
    ]


def _row(info: ReasonInfo) -> str:
    return f"| `{info.reason.value}` | {info.meaning} | {info.cure or 'Nothing.'} |"


def _symptom(info: ReasonInfo) -> list[str]:
    """A section that a link and a search for the reason lead to."""
    symptom = SYMPTOMS[info.reason]
    condition, true = shown_in(info.reason)
    return [
        *("", f"### {info.reason.value}", "", info.meaning),
        *(("", f"**Usual causes.** {symptom.because}") if symptom.because else ()),
        *(("", f"**What to do.** {info.cure}") if info.cure else ()),
        *(
            "",
            "```yaml",
            f"- type: {condition.value}",
            f'  status: "{true}"',
            f"  reason: {info.reason.value}",
        ),
        *(f"  message: {json.dumps(symptom.says, ensure_ascii=False)}", "```"),
    ]
