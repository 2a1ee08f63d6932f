"""`dicomhaul doctor`: asks a server what matters for a download, and proposes a profile."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from dicomhaul.cli import parameters
from dicomhaul.cli.harness import Stop, run_async
from dicomhaul.cli.meaning import connection_from
from dicomhaul.cli.output import emit_json, human_bytes, human_count, say, tell
from dicomhaul.errors import ConfigError, NotWritable

if TYPE_CHECKING:
    from dicomhaul.config.source import Sources
    from dicomhaul.doctor.examine import Diagnosis

_STATES: Final = {"usable": 0, "unusable": 3, "unreachable": 1}

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="What to look at: a DICOMweb base URL, a profile file, a built-in name such as idc-bucket, or idc for all "
        "of its sources.",
    ),
]
ProfileToOption = Annotated[
    Path | None,
    typer.Option("-o", "--to", metavar="FILE", help="Write the proposed profile there instead of printing it."),
]


def doctor(
    source: SourceArgument,
    bucket_location: parameters.BucketLocationOption = "aws",
    profile: parameters.ProfileOption = None,
    auth: parameters.AuthOption = None,
    token_file: parameters.TokenFileOption = None,
    ca_file: parameters.CaFileOption = None,
    client_cert: parameters.ClientCertOption = None,
    client_key: parameters.ClientKeyOption = None,
    to: ProfileToOption = None,
    as_json: parameters.JsonOption = False,
) -> None:
    """Say what SOURCE can do and what stands in the way, and propose a profile. Sends at most 200 requests.

    Exit 0 if it can be used, 3 if something that a download needs fails, or -o gets no profile, 1 if it
    cannot be reached, 2 for wrong usage.

    \b
    Examples:
      dicomhaul doctor http://localhost:8042/dicom-web
      dicomhaul doctor https://pacs.example.org/dicom-web --auth basic -o pacs.toml
      dicomhaul doctor idc --json
    """
    from dicomhaul.config.source import resolve_sources  # noqa: PLC0415 - loads pydantic, which --help need not wait for

    connection = connection_from(
        auth=auth, token_file=token_file, ca_file=ca_file, client_cert=client_cert, client_key=client_key
    )
    sources = resolve_sources(source, profile=profile, connection=connection, location=bucket_location)
    if to is not None and len(sources.specs) > 1:
        raise ConfigError(f"-o takes the profile of one source, and {source} stands for {len(sources.specs)}")
    if to is not None and to.exists():
        raise ConfigError(f"{to} is there already; name another file, or remove it")
    if to is not None and not os.access(to.parent, os.W_OK | os.X_OK):
        why = "its folder cannot be written to" if to.parent.is_dir() else "there is no such folder"
        raise NotWritable(f"cannot write the profile {to}: {why}")
    diagnoses = run_async(lambda stop: _examine(sources, stop))
    state = _state(diagnoses)
    code, proposed = _STATES[state], diagnoses[0].profile
    if to is not None and proposed is not None:
        _write(to, proposed)
    elif to is not None:
        tell(f"dicomhaul: {to} is not written: too little is known to propose a profile")
        code = code or _STATES["unusable"]
    if as_json:
        emit_json(_as_json(diagnoses, state))
    else:
        _print(diagnoses, to)
    raise typer.Exit(code)


async def _examine(sources: "Sources", stop: Stop) -> "list[Diagnosis]":
    import anyio  # noqa: PLC0415 - as below

    from dicomhaul.doctor.sources import examine_all  # noqa: PLC0415 - loads aiohttp

    with anyio.CancelScope() as scope:
        stop.call = scope.cancel
        return await examine_all(sources, os.environ)
    raise typer.Exit(stop.exit_code or 1)


def _state(diagnoses: "Sequence[Diagnosis]") -> str:
    if all(one.usable for one in diagnoses):
        return "usable"
    return "unusable" if any(one.reachable for one in diagnoses) else "unreachable"


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise NotWritable(f"cannot write the profile {path}: {(error.strerror or 'unknown').lower()}") from None


def _as_json(diagnoses: "Sequence[Diagnosis]", state: str) -> dict[str, Any]:
    return {
        "state": state,
        "findings": [{"source": one.source, **finding.as_json()} for one in diagnoses for finding in one.findings],
        "requests": sum(one.requests for one in diagnoses),
        "bytes_read": sum(one.body_bytes for one in diagnoses),
        "profiles": {one.source: one.profile for one in diagnoses if one.profile is not None},
    }


def _print(diagnoses: "Sequence[Diagnosis]", to: Path | None) -> None:
    for one in diagnoses:
        say(one.source)
        for finding in one.findings:
            say(f"  {finding.verdict:<7}  {finding.name}: {finding.sentence}")
            if finding.todo:
                say(f"           -> {finding.todo}")
        say(f"  {human_count(one.requests, 'requests')}, {human_bytes(one.body_bytes)} read")
        if one.profile is None:
            say("  too little is known to propose a profile")
        elif to is not None:
            say(f"  the proposed profile is in {to}: use it as --source {to}")
        else:
            say("  proposed profile (-o FILE keeps it):")
            for line in one.profile.splitlines():
                say(f"    {line}" if line else "")
