"""The models that are kept: list, show, remove, prune and verify them, wherever they are."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ggufctl.core.escape import quoted
from ggufctl.core.names import Kind, did_you_mean, normalize_quant
from ggufctl.core.selection import quality_rank
from ggufctl.core.stored import State, Store, StoredModel, told_apart
from ggufctl.errors import AccessDenied, AmbiguousReference, ModelNotFound, UsageError
from ggufctl.services import deployments

__all__ = ["Pruning", "find", "kept", "one", "open_store", "prune", "require_unserved", "shown"]


_SHARD = re.compile(r"-\d{5}-of-\d{5}$", re.ASCII)


@dataclass(frozen=True, slots=True)
class Pruning:
    """What a pruning keeps, and what it takes away."""

    kept: tuple[StoredModel, ...]
    removed: tuple[StoredModel, ...]
    freed_bytes: int


def open_store(on: str) -> Store:
    """The store that `--on` names.

    Args:
        on: `modal`, `local`, or a folder.

    Raises: AccessDenied without a token of Modal's; ModelNotFound without such a folder.
    """
    if on.casefold() == "modal":
        from ggufctl.services.modal.store import modal_store

        try:
            return modal_store()
        except AccessDenied as error:
            raise AccessDenied(
                error.message, "Run modal setup, or look on this machine with --on local."
            ) from None
    from ggufctl.sources.store import FolderStore, LocalStore, named_folder

    if on.casefold() == "local":
        return LocalStore()
    folder = named_folder(on, "--on")
    if not folder.is_dir():
        raise UsageError(
            f"--on {on} is neither a store nor a folder.", "Use modal, local or a folder."
        )
    return FolderStore(folder)


def kept(store: Store) -> tuple[StoredModel, ...]:
    """Everything that a store keeps, each called something that `find` takes for it alone.

    Raises: GgufctlError when the store cannot be looked at.
    """
    return told_apart(store.models())


def shown(models: Sequence[StoredModel]) -> tuple[StoredModel, ...]:
    """In the order to show them: by repository, the best quant first."""

    def order(model: StoredModel) -> tuple[str, bool, int, str, str]:
        is_beside = model.kind is not Kind.MODEL
        return model.repo.casefold(), is_beside, quality_rank(model.quant), model.ref, model.commit

    return tuple(sorted(models, key=order))


def find(models: Sequence[StoredModel], ref: str) -> tuple[StoredModel, ...]:
    """The kept models that a reference names; a repository names all of its quants.

    Args:
        models: everything that is kept.
        ref: `org/repo`, `org/repo:QUANT`, `org/repo/file.gguf`, any of them with `@COMMIT`, or
            the name or place of a file.

    Raises: ModelNotFound, with what is meant perhaps; AmbiguousReference for the bare name of
        files of several repositories.
    """
    if found := tuple(m for m in models if any(ref == file.location for file in m.files)):
        return found
    name, _, revision = ref.partition("@")
    if ":" in revision:
        revision, _, quant = revision.partition(":")
        name = f"{name}:{quant}"
    at_commit = [model for model in models if model.commit.startswith(revision.casefold())]
    if found := tuple(model for model in at_commit if _is_named(model, name)):
        return found
    if found := tuple(model for model in at_commit if _has_file(model, name)):
        if len({model.repo for model in found}) > 1:
            # What is to be removed by its bare name must not be several things.
            choices = tuple(model.ref for model in told_apart(found))
            raise AmbiguousReference(f"{quoted(ref)} names {len(found)} models.", choices)
        return found
    near = did_you_mean(
        ref, dict.fromkeys(name for m in models for name in (m.ref, m.repo) if name)
    )
    hint = f"Did you mean {' or '.join(near)}?" if near else "See what is there: ggufctl models ls."
    raise ModelNotFound(f"{quoted(ref)} is not kept there.", hint)


def _is_named(model: StoredModel, name: str) -> bool:
    wanted = name.casefold()
    repo, _, quant = name.rpartition(":")
    if model.repo and wanted == model.repo.casefold():
        return True
    if repo and repo.casefold() == model.repo.casefold():
        label = normalize_quant(quant) or quant
        is_model = model.kind is Kind.MODEL and bool(model.quant)
        return is_model and label.casefold() == model.quant.casefold()
    return any(
        wanted == f"{model.repo}/{file.path}".casefold() or name == file.location
        for file in model.files
    )


def _has_file(model: StoredModel, name: str) -> bool:
    """Whether a file of a model is called so."""
    return any(name in (file.path, file.path.rpartition("/")[2]) for file in model.files)


def one(models: Sequence[StoredModel], ref: str) -> StoredModel:
    """The one kept model that a reference names.

    Raises: ModelNotFound; AmbiguousReference when it names several.
    """
    found = find(models, ref)
    if len(found) > 1:
        choices = tuple(model.ref for model in told_apart(found))
        raise AmbiguousReference(f"{quoted(ref)} names {len(found)} models.", choices)
    return found[0]


def require_unserved(store: Store, models: Sequence[StoredModel]) -> None:
    """Refuse to take away what is being served on this machine.

    Args:
        store: that keeps them.
        models: that are to go.

    Raises: UsageError.
    """
    if store.name == "modal":
        return
    for deployment in deployments.listed():
        place = os.path.abspath(os.path.expanduser(deployment.model))
        for model in models:
            is_it = any(place == file.location for file in model.files)
            if store.name == "local" and model.repo:
                is_it = is_it or model in _named(models, deployment.model)
            if is_it and deployment.is_alive:
                raise UsageError(
                    f"{quoted(model.ref)} is being served as {quoted(deployment.name)}.",
                    f"Stop that first: ggufctl stop {deployment.name}",
                )


def _named(models: Sequence[StoredModel], ref: str) -> tuple[StoredModel, ...]:
    try:
        return find(models, ref)
    except (ModelNotFound, AmbiguousReference):
        return ()


def prune(store: Store, keep: Sequence[str] = ()) -> Pruning:
    """What is to go so that of each model one quant stays: those named, else the best.

    Whole models come before incomplete ones, and of the same quant the one that was fetched last.
    Projectors stay while a model of theirs does. What came from no repository is left alone.

    Args:
        store: to look at; nothing is removed.
        keep: references, or bare quants such as Q4_K_M.

    Raises: ModelNotFound when a reference names nothing.
    """
    models = tuple(model for model in kept(store) if model.repo)
    named: set[StoredModel] = set()
    for ref in keep:
        label = normalize_quant(ref)
        by_quant = {m for m in models if label and m.quant.casefold() == label.casefold()}
        named |= by_quant or set(find(models, ref))
    stay: set[StoredModel] = set()
    families: dict[tuple[str, str], list[StoredModel]] = {}
    for model in models:
        if model.kind is Kind.MODEL:
            families.setdefault((model.repo, _family(model)), []).append(model)
    for mine in families.values():
        chosen = [m for m in mine if m in named] or mine
        quants = {m.quant for m in mine if m in named}
        if not quants:
            quants = {min(chosen, key=_worth).quant}
        for quant in quants:
            stay.add(min((m for m in chosen if m.quant == quant), key=_worth))
    commits = {(m.repo, m.commit) for m in stay}
    with_models = {repo for repo, _ in families}
    for model in models:
        is_alone = model.repo not in with_models
        if model.kind is not Kind.MODEL and (is_alone or (model.repo, model.commit) in commits):
            stay.add(model)
    removed = tuple(model for model in models if model not in stay)
    return Pruning(
        kept=shown([model for model in models if model in stay]),
        removed=shown(removed),
        freed_bytes=store.freed_by(removed),
    )


def _family(model: StoredModel) -> str:
    """What the quants of one model have in common: a repository may hold several models."""
    path = model.files[0].path if model.files else (model.missing or ("",))[0]
    name = path.rpartition("/")[2].casefold().removesuffix(".gguf")
    name = _SHARD.sub("", name)
    if model.quant:
        name = name.replace(model.quant.casefold(), "")
    return name.strip("-._ ")


def _worth(model: StoredModel) -> tuple[bool, int, float]:
    """Least for what is best kept."""
    is_broken = model.state in (State.INCOMPLETE, State.DIFFERS)
    fetched = model.downloaded.timestamp() if model.downloaded is not None else 0.0
    return is_broken, quality_rank(model.quant), -fetched
