"""Read a settings file of an ingest, as sweep files are read: every fault at once, each with its line."""

import json
from pathlib import Path

from pydantic import ValidationError

from fishray.config.ingest import IngestFile
from fishray.config.loader import fault_of, fault_table, read_mapping
from fishray.errors import SweepFileError


def load_ingest_file(path: Path) -> IngestFile:
    """Read and check a settings file.

    Parameters
    ----------
    path
        A YAML 1.2 file; what may stand in it is in `IngestFile`.

    Raises
    ------
    SweepFileError
        With every fault: its line, its key, what is allowed and the nearest known name.
    """
    data, lines, faults = read_mapping(path, "settings", "an example is in fishray ingest --help")
    try:
        loaded = IngestFile.model_validate_json(json.dumps(data))
    except ValidationError as error:
        faults += [fault_of(details, data, lines, IngestFile) for details in error.errors()]
        loaded = None
    if faults or loaded is None:
        raise SweepFileError(fault_table(path, faults))
    return loaded
