"""Configs of a whole repository."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tritonclient.grpc.model_config_pb2 import ModelConfig

from ensemble_builder.modelconfig.checks import check_config
from ensemble_builder.modelconfig.complete import Completed, complete
from ensemble_builder.modelconfig.ensembles import build_ensemble, called_models
from ensemble_builder.modelconfig.errors import invalid_spec, invalid_wiring, listed, nearest
from ensemble_builder.modelconfig.given import check_given_ensemble
from ensemble_builder.modelconfig.graph import Signature
from ensemble_builder.modelconfig.members import GeneratedRepository, Member
from ensemble_builder.modelconfig.printing import print_config
from ensemble_builder.modelconfig.server import server_requirements
from ensemble_builder.modelconfig.versions import check_versions, served_versions


def generate(
    members: Sequence[Member], *, entrypoint: str | None, partial: bool = False
) -> GeneratedRepository:
    """Completes every config, wires the ensembles, and says what the server needs for them.

    Args:
        members: all models of the repository, in the order of the spec.
        entrypoint: the model clients call; by default the last ensemble, else the last model.
        partial: some artifacts are not built yet. Their tensors are skipped wherever they would matter, and
            configs that depend on them are left out, so that all else is checked as early as possible.

    Raises:
        FaultError: InvalidConfig, InvalidWiring or InvalidSpec, naming the field and the cure.
    """
    return _Repository(members, partial=partial).generated(entrypoint)


class _Repository:
    """Models met so far; ensembles come after the models they call."""

    def __init__(self, members: Sequence[Member], *, partial: bool) -> None:
        self.members = members
        self.partial = partial
        self.texts: dict[str, str] = {}
        self.signatures: dict[str, Signature] = {}
        self.unfinished: set[str] = set()
        self.warnings: list[str] = []
        self.by_name = {member.name: member for member in members}
        self.given: dict[str, ModelConfig] = {}

    def generated(self, entrypoint: str | None) -> GeneratedRepository:
        _refuse_equal_names(self.members)
        for member in self.members:
            if member.model.ensemble is None:
                self._add_model(member)
        for member in _callees_first(self.members, self._calls()):
            if member.name in self.given:
                self._add_given_ensemble(member, self.given[member.name])
            elif member.model.ensemble is not None:
                self._add_ensemble(member)
        names = [member.name for member in self.members if member.name not in self.unfinished]
        chosen = self._entrypoint(entrypoint)
        return GeneratedRepository(
            configs={name: self.texts[name] for name in names if name in self.texts},
            parsed={name: self.signatures[name].config for name in names},
            entrypoint=chosen,
            server=server_requirements(
                [self.signatures[member.name].config for member in self.members],
                complete=not any(member.left_to_server for member in self.members),
                entrypoint=chosen,
                python_versions=self._python_versions(),
            ),
            warnings=tuple(self.warnings),
        )

    def _add_model(self, member: Member) -> None:
        done = complete(member, partial=self.partial)
        config = done.config
        if not member.left_to_server:
            check_config(config, f"{member.field}.config")
        if note := check_versions(member, config):
            self.warnings.append(note)
        self._keep_text(member, done)
        if config.HasField("ensemble_scheduling"):
            self.given[member.name] = config
            return
        self.signatures[member.name] = Signature(
            member.name, config, inputs_known=done.inputs_known, outputs_known=done.outputs_known,
            batch_known=done.batch_known, versions=served_versions(member, config),
            decoupled=config.model_transaction_policy.decoupled,
        )  # fmt: skip
        known = done.inputs_known and done.outputs_known and done.batch_known
        if not known and not member.left_to_server:
            self.unfinished.add(member.name)

    def _keep_text(self, member: Member, done: Completed) -> None:
        if done.text_config is not None:
            text = print_config(done.text_config, state_batch_size=done.state_batch_size)
            self.texts[member.name] = text
        elif member.given_config is not None:
            self.texts[member.name] = member.given_config

    def _add_given_ensemble(self, member: Member, config: ModelConfig) -> None:
        self.signatures[member.name] = check_given_ensemble(config, member.field, self.signatures)

    def _add_ensemble(self, member: Member) -> None:
        built = build_ensemble(member, self.signatures, partial=self.partial)
        self.signatures[member.name] = built.signature
        self.warnings.extend(built.warnings)
        if built.complete:
            check_config(built.signature.config, f"{member.field}.config")
            self.texts[member.name] = print_config(built.signature.config)
        else:
            self.unfinished.add(member.name)

    def _calls(self) -> Mapping[str, tuple[str, ...]]:
        given = {
            name: tuple(step.model_name for step in config.ensemble_scheduling.step)
            for name, config in self.given.items()
        }
        return {member.name: given.get(member.name) or called_models(member) for member in self.members}

    def _entrypoint(self, wanted: str | None) -> str:
        if wanted is None:
            ensembles = [m.name for m in self.members if m.model.ensemble is not None or m.name in self.given]
            return (ensembles or [member.name for member in self.members] or [""])[-1]
        if wanted not in self.by_name:
            names = list(self.by_name)
            raise invalid_spec(
                "spec.entrypoint",
                f"there is no model {wanted}: choose {listed(names)}{nearest(wanted, names)}",
            )
        return wanted

    def _python_versions(self) -> int:
        served = [
            len(signature.versions or ())
            for signature in self.signatures.values()
            if signature.config.backend == "python"
        ]
        return max([1, *served])


def _refuse_equal_names(members: Sequence[Member]) -> None:
    seen: dict[str, Member] = {}
    for member in members:
        if member.name in seen:
            raise invalid_spec(
                f"{member.field}.name",
                f"{seen[member.name].field} has the name {member.name} already: rename one",
            )
        seen[member.name] = member


def _callees_first(members: Sequence[Member], calls: Mapping[str, tuple[str, ...]]) -> Iterator[Member]:
    """Members such that every ensemble comes after those it calls.

    Raises:
        FaultError: InvalidWiring, if ensembles call each other in a circle.
    """
    by_name = {member.name: member for member in members}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> Iterator[Member]:
        if name in done or name not in by_name:
            return
        if name in path[:-1]:
            circle = " -> ".join([*path[path.index(name) : -1], name])
            raise invalid_wiring(
                f"{by_name[name].field}.ensemble",
                f"ensembles call each other in a circle: {circle}; break it",
            )
        for callee in calls[name]:
            if callee != name:
                yield from visit(callee, (*path, callee))
        done.add(name)
        yield by_name[name]

    for member in members:
        yield from visit(member.name, (member.name,))
