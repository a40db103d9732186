"""Read a sweep file (YAML 1.2) and report every fault at once, each with its line."""

import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from fishray.config.sweep import Sweep, plain_words
from fishray.errors import SettingError, SweepFileError
from hpc.settings import ClusterSettings, merge

PROFILE = Path("fishray") / "cluster.yaml"
"""A site's profile, in the user's configuration folder."""

Path_ = tuple[str | int, ...]


@dataclass(frozen=True, order=True)
class Fault:
    """One thing that is wrong in a sweep file."""

    line: int
    key: str
    message: str


def load_sweep(path: Path, overrides: Sequence[str] = (), profile: Mapping[str, Any] | None = None) -> Sweep:
    """Read and check a sweep file.

    Parameters
    ----------
    path
        A YAML 1.2 file; ``name`` defaults to its stem.
    overrides
        Settings that replace the file's: ``data.store=mine.zarr``.
    profile
        A site's settings, under those of the sweep's own ``cluster`` block; the sweep has none when left out.

    Raises
    ------
    SweepFileError
        With every fault: its line, its key, what is allowed and the nearest known name.
    SettingError
        For an override that is not ``key=value``.
    """
    data, lines, faults = read_mapping(path)
    for override in overrides:
        key, value = parse_override(override)
        _replace(data, lines, key, value)
    data.setdefault("name", path.stem)
    _name_models(data.get("families"))
    if "cluster" in data and data["cluster"] is None:  # an empty block: on a cluster, by the site's profile
        data["cluster"] = {}
    if profile is not None and isinstance(data.get("cluster", {}), dict):
        data["cluster"] = merge(profile, data.get("cluster", {}))
    try:
        sweep = Sweep.model_validate_json(json.dumps(data))
    except ValidationError as error:
        faults += [fault_of(details, data, lines, Sweep) for details in error.errors()]
        sweep = None
    if faults or sweep is None:
        raise SweepFileError(fault_table(path, faults))
    return sweep


def load_profile(path: Path | None = None) -> dict[str, Any]:
    """Read and check a site's profile: a file with what a sweep has under ``cluster``.

    Parameters
    ----------
    path
        The one in the user's configuration folder, if there is one, when left out.

    Raises
    ------
    SweepFileError
        With every fault, each with its line.
    """
    if path is None:
        path = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / PROFILE
        if not path.exists():
            return {}
    elif not path.exists():
        raise SweepFileError(f"no site profile at {path}")
    data, lines, faults = read_mapping(path)
    try:
        ClusterSettings.model_validate_json(json.dumps(data))
    except ValidationError as error:
        faults += [fault_of(details, data, lines, ClusterSettings) for details in error.errors()]
    if faults:
        raise SweepFileError(fault_table(path, faults))
    return data


def parse_override(override: str, option: str = "--set", example: str = "search.max_epochs=3") -> tuple[str, Any]:
    """Split ``key=value``, as it is given with an option, and read the value as YAML.

    Raises
    ------
    SettingError
        Without ``=``, or where the value is not YAML.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise SettingError(f"{option} {override}: write it as key=value, for example {option} {example}")
    yaml = YAML(typ="safe", pure=True)
    faults: list[Fault] = []
    try:
        node = yaml.compose(text)
        value = None if node is None else _plain(node, (), yaml, {}, faults)
    except MarkedYAMLError as error:
        raise SettingError(f"{option} {override}: the value is not YAML ({error.problem})") from error
    except RecursionError:
        raise SettingError(f"{option} {override}: the value holds itself") from None
    if faults:
        raise SettingError(f"{option} {override}: {faults[0].key} stands twice")
    return key, value


def dump_sweep(sweep: Sweep, path: Path, **extra: Any) -> None:
    """Write a resolved sweep, every default included, with more keys ahead of it (versions, fingerprint)."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    with path.open("w") as file:
        yaml.dump({**extra, **sweep.model_dump(mode="json", exclude_none=True)}, file)


def nearest(word: str, allowed: Sequence[str]) -> str | None:
    """The allowed word that a misspelt one most likely means."""
    close = difflib.get_close_matches(word, allowed, n=1, cutoff=0.6)
    return close[0] if close else None


def read_mapping(
    path: Path, kind: str = "sweep", hint: str = "shipped ones are in sweeps/"
) -> tuple[dict[str, Any], dict[Path_, int], list[Fault]]:
    """Read a YAML 1.2 file of settings: them, the line of each, and what stands twice.

    Parameters
    ----------
    kind, hint
        What the file is, and where to look for one, as an error says it.

    Raises
    ------
    SweepFileError
        Where it cannot be read, or is no mapping.
    """
    yaml = YAML(typ="safe", pure=True)
    lines: dict[Path_, int] = {}
    faults: list[Fault] = []
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"))
        if isinstance(root, MappingNode):
            return _plain(root, (), yaml, lines, faults), lines, faults
    except FileNotFoundError:
        raise SweepFileError(f"no {kind} file at {path}; {hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SweepFileError(f"{path} cannot be read as text ({error})") from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        reason = ", ".join(filter(None, (error.context, error.problem)))
        raise SweepFileError(fault_table(path, [Fault(line, "", f"not YAML: {reason}")])) from error
    except RecursionError:
        raise SweepFileError(fault_table(path, [Fault(1, "", "an alias (*) stands within what it names")])) from None
    raise SweepFileError(fault_table(path, [Fault(1, "", f"a {kind} file is a mapping of settings; {hint}")]))


def _plain(node: Node, path: Path_, yaml: YAML, lines: dict[Path_, int], faults: list[Fault]) -> Any:
    """Turn a YAML node into plain data, noting the line of every key and every duplicate."""
    if isinstance(node, MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in mapping:
                first = lines[(*path, key)]
                faults.append(Fault(line, _dotted((*path, key)), f"stands twice; first on line {first}"))
                continue
            lines[(*path, key)] = line
            mapping[key] = _plain(value_node, (*path, key), yaml, lines, faults)
        return mapping
    if isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*path, index)] = item.start_mark.line + 1
        return [_plain(item, (*path, index), yaml, lines, faults) for index, item in enumerate(node.value)]
    value = yaml.constructor.construct_object(node)
    return value if isinstance(value, str | int | float | bool | None) else str(node.value)


def _name_models(families: Any) -> None:
    """Let a family called after its model leave out ``model``."""
    for name, family in families.items() if isinstance(families, dict) else ():
        if isinstance(family, dict):
            family.setdefault("model", name)


def _replace(data: dict[str, Any], lines: dict[Path_, int], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    target = data
    for depth, part in enumerate(parents):
        child = target.get(part)
        if not isinstance(child, dict):
            child = target[part] = {}
            lines[tuple(parents[: depth + 1])] = 0
        target = child
    target[last] = value
    path = tuple(key.split("."))
    for known in [known for known in lines if known[: len(path)] == path]:
        del lines[known]
    lines[path] = 0


def fault_of(details: ErrorDetails, data: Any, lines: dict[Path_, int], kind_of_file: type[BaseModel]) -> Fault:
    """Say what pydantic found as a fault of the file: where, what is allowed, the nearest known name."""
    path = _path_in(data, details)
    kind, value = details["type"], details["input"]
    context = details.get("ctx", {})
    allowed, got = context.get("allowed"), context.get("got")
    if kind == "extra_forbidden":
        message, got = "unknown setting", str(path[-1])
        allowed = _known_settings(kind_of_file, tuple(part for part in path[:-1] if isinstance(part, str)))
    elif kind == "literal_error":
        message, got = f"{value!r} is not allowed", str(value)
        allowed = re.findall(r"'([^']*)'", context["expected"])
    elif kind == "value_error":
        message = str(context["error"])
    elif kind == "fishray":
        message = details["msg"]
    elif kind == "too_short":
        message = "is empty; give at least one"
    elif kind == "too_long" or (kind == "missing" and isinstance(details["loc"][-1], int)):
        message = "must be two numbers, [low, high]"
    elif kind == "missing":
        message = "is missing"
    elif value is None:
        message = "is empty; give it a value or leave it out"
    elif kind in ("model_type", "model_attributes_type", "dict_type"):
        message = f"{value!r}: must be a mapping of settings"
    elif kind in ("tuple_type", "list_type"):
        message = f"{value!r}: must be a list"
    else:
        message = f"{value!r}: {plain_words(details['msg'])}"
    if allowed and got is not None:
        close = nearest(got, allowed)
        message += f"; did you mean {close}?" if close else f"; one of {', '.join(allowed)}"
    return Fault(_line(path, lines), _dotted(path), message)


def _path_in(data: Any, details: ErrorDetails) -> Path_:
    """The part of an error's location that names keys of the file."""
    path: list[str | int] = []
    missing = details["type"] == "missing"
    for part in details["loc"]:
        if isinstance(data, dict) and (part in data or missing):
            data = data.get(str(part))
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            continue
        path.append(part)
    return tuple(path)


def _known_settings(kind: Any, path: Path_) -> list[str]:
    """The settings allowed at a place of a file; where there may be one of several kinds, those of all of them."""
    kinds = [kind]
    for part in path:
        inside = kinds[0]
        if isinstance(inside, type) and issubclass(inside, BaseModel):
            inside = inside.model_fields[str(part)].annotation
        else:  # a mapping of names to settings: the name of one
            inside = next(_models_in(inside), None)
        kinds = [inside] if get_origin(inside) is dict else list(_models_in(inside)) or [None]
    return list(dict.fromkeys(name for each in kinds if each for name in each.model_fields))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _line(path: Path_, lines: dict[Path_, int]) -> int:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _dotted(path: Path_) -> str:
    return ".".join(map(str, path))


def fault_table(path: Path, faults: list[Fault]) -> str:
    """Every fault of a file, each in a line."""
    width = max((len(fault.key) for fault in faults), default=0)
    rows = [
        f"  {f'line {fault.line}' if fault.line else '--set':<9}{fault.key:<{width}}  {fault.message}"
        for fault in sorted(faults)
    ]
    count = f"{len(faults)} fault{'s' if len(faults) != 1 else ''}"
    return "\n".join([f"{path}: {count}", *rows])
