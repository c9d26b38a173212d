"""Lay a cluster's objects out as files: a kustomize base that is written anew, and an overlay that is the user's."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dockyard.deploy import docker, stackfile
from dockyard.deploy.destination import Destination
from dockyard.deploy.docker import Docker
from dockyard.deploy.goal import Document, Goal
from dockyard.deploy.manifests import COMMENTS, list_notes, make_objects
from dockyard.deploy.model import read_habits, read_workloads
from dockyard.deploy.pods import Release
from dockyard.errors import ChangesPending, UsageError
from dockyard.files import replace_files
from dockyard.image.dockerfile import parse_dockerfile, read_dockerfile
from dockyard.settings import Settings

HEAD = "Written by `invoke manifests` out of the Compose files and the settings: what you change here is lost.\n"
OURS = f"# {HEAD}"
OVERLAY = "Yours: written once, and never again. Patches of what is in ../base belong here.\n"


# What every version of YAML reads as this very text; anything else stands in quotes.
PLAIN = re.compile(r"(?!(?i:y|n|yes|no|on|off|true|false|null)$)[A-Za-z/](?:[A-Za-z0-9_./@:-]*[A-Za-z0-9_/])?")


class Writer(yaml.SafeDumper):
    """Writes YAML that people read: no anchors, and quotes wherever a reader could take a text for something else."""

    def ignore_aliases(self, _data: Any) -> bool:
        """Write what occurs twice twice."""
        return True


def _write_text(writer: Writer, text: str) -> yaml.ScalarNode:
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style=None if PLAIN.fullmatch(text) else '"')


Writer.add_representer(str, _write_text)


@dataclass(frozen=True)
class Layout:
    """Files by their paths: those that are ours, those that are written `once`, and what is to be said of them."""

    files: Mapping[str, str]
    once: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def lay_out(settings: Settings, destination: Destination, image: str) -> Layout:
    """Return the files of a cluster's destination."""
    if destination.kind == "compose":
        raise UsageError(f"{destination.name} is one host: it takes the Compose files as they are", "choose: --to NAME")
    if destination.kind == "swarm":
        engine = Docker(docker.open_engine(settings, destination))
        return Layout(lay_out_stack(docker.make_goal(settings, destination, engine, image)))
    release = read_release(settings, destination, image, read_document(settings, destination))
    return Layout(lay_out_base(release), lay_out_overlay(release), tuple(list_notes(release)))


def read_release(settings: Settings, destination: Destination, image: str, document: Document) -> Release:
    """Return what is to run, out of Compose's document, the project's Dockerfile and the settings."""
    goal = Goal(settings.stack, settings.image, settings.ports, destination, image, document)
    present = (settings.root / settings.dockerfile).is_file()
    dockerfile = read_dockerfile(settings.root, settings.dockerfile) if present else parse_dockerfile("FROM scratch")
    return Release(settings.stack, destination, read_workloads(goal, read_habits(dockerfile)))


def read_document(settings: Settings, destination: Destination) -> Document:
    """Return what Compose makes of the production files; the engine is not asked."""
    local = Destination(destination.name, "compose", environment=destination.environment)
    return docker.read_document(settings, destination, Docker(docker.open_engine(settings, local)))


def lay_out_base(release: Release) -> dict[str, str]:
    """Return the files of the base by their paths (pure)."""
    head = f"{HEAD}To look at all of it: kubectl kustomize base"
    objects = make_objects(release)
    files = {f"base/{name}.yaml": write_documents([*made], COMMENTS, HEAD) for name, made in objects.items()}
    index = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{name}.yaml" for name in objects],
    }
    notes = "".join(f"\n- {note}" for note in list_notes(release))
    files["base/kustomization.yaml"] = write_documents([index], {}, head + notes)
    return files


def lay_out_overlay(release: Release) -> dict[str, str]:
    """Return the files that begin an overlay: the namespace, which enforces the restricted standard (pure)."""
    namespace = release.destination.namespace or release.name
    level = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    described = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": level}}
    index = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": ["namespace.yaml", "../base"],
    }
    return {
        "overlay/kustomization.yaml": write_documents([index], {}, OVERLAY),
        "overlay/namespace.yaml": write_documents([described], {}, OVERLAY),
    }


def lay_out_stack(goal: Goal) -> dict[str, str]:
    """Return the stack file of a Swarm, and the files that it names (pure)."""
    stack = stackfile.make_stack(goal)
    lost = "".join(f"\nA stack file has no word for {line}: it is left out." for line in stack.lost)
    return {"stack.yaml": write_documents([stack.document], {}, HEAD + lost), **stack.files}


def write_documents(documents: list[Mapping[str, Any]], comments: Mapping[str, str], head: str = "") -> str:
    """Return documents as one YAML text; `comments` are by the key that they stand above, once in each text (pure)."""
    left = dict(comments)
    lines = [f"# {line}" for line in head.splitlines()]
    text = yaml.dump_all(documents, Dumper=Writer, sort_keys=False, width=10_000, allow_unicode=True)
    for line in text.splitlines():
        found = re.match(r"( *)(?:- )*(\w+):", line)
        lines += [f"{found[1]}# {why}" for why in left.pop(found[2], "").splitlines()] if found else []
        lines.append(line)
    return "\n".join(lines) + "\n"


def compare_files(folder: Path, files: Mapping[str, str]) -> tuple[str, ...]:
    """Return what is not as it should be: files to write, and files of ours that are there no more."""
    changed = [name for name, text in files.items() if _read(folder / name) != text]
    known = [path for path in sorted(folder.glob("base/*.yaml")) if _read(path).startswith(OURS)]
    return (*changed, *(name for path in known if (name := str(path.relative_to(folder))) not in files))


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Raise ChangesPending where files are not as they should be."""
    if changed := compare_files(folder, files):
        raise ChangesPending(f"not as the Compose files say: {', '.join(changed)}", "run it without --check")


def write_files(folder: Path, files: Mapping[str, str], once: Mapping[str, str]) -> tuple[str, ...]:
    """Write what differs, remove what is there no more, and write what is the user's where it is absent."""
    missing = {name: text for name, text in once.items() if not (folder / name).exists()}
    changed = compare_files(folder, files)
    replace_files({folder / name: missing.get(name, files.get(name)) for name in (*changed, *missing)})
    return (*changed, *missing)


def _read(path: Path) -> str:
    return path.read_text("utf-8") if path.is_file() else ""
