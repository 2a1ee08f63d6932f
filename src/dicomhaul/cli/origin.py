"""`dicomhaul origin`: run the embedded DICOMweb origin until it is told to stop."""

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import anyio
import typer

from dicomhaul.errors import ConfigError
from dicomhaul.model import Query, Series


def origin(
    targets: Annotated[
        list[str] | None, typer.Argument(help="IDC collections, UIDs or manifests to make up instances for.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Serve the DICOM files below this folder instead.")] = None,
    style: Annotated[str, typer.Option(help="The server to play.")] = "orthanc",
    faults: Annotated[Path | None, typer.Option(help="TOML file that says what to do wrong.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.")] = 0,
    max_instance_bytes: Annotated[int | None, typer.Option(help="Make no instance much larger than this.")] = None,
    page_max: Annotated[int | None, typer.Option(help="The most results that a search answers at once.")] = None,
    mixed: Annotated[bool, typer.Option("--mixed", help="Use several transfer syntaxes.")] = False,
) -> None:
    """Serve synthetic instances for rows of IDC's index, or a folder of real files. The first line is the base URL."""
    # Here, because they take half a second to load, which no other command should wait for.
    from dicomhaul import origin as room  # noqa: PLC0415
    from dicomhaul.origin.template import EXPLICIT  # noqa: PLC0415

    if bool(targets) == (folder is not None):
        raise ConfigError("origin serves either TARGETs or --folder")
    if style not in room.STYLES:
        raise ConfigError(f"no style is called {style!r}; there are: {', '.join(room.STYLES)}")
    chosen = room.STYLES[style]
    if page_max is not None:
        chosen = replace(chosen, page_max=page_max)
    script = None if faults is None else room.read_script(faults)
    if folder is not None:
        if not folder.is_dir():
            raise ConfigError(f"{folder} is no folder")
        catalog, left_out = room.scan_folder(folder)
        typer.echo(f"{len(catalog)} instances; {len(left_out)} other files are not served", err=True)
    else:
        syntaxes = room.MIXED if mixed else (EXPLICIT,)
        rows = _iter_rows(tuple(targets or ()))
        catalog = room.synthetic_catalog(rows, max_instance_bytes=max_instance_bytes, syntaxes=syntaxes)

    async def run() -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with room.serve(catalog, style=chosen, faults=script, host=host, port=port) as running:
                typer.echo(running.url)
                async for _ in signals:
                    return

    try:
        asyncio.run(run())
    except OSError as error:
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror}") from None


def _iter_rows(targets: tuple[str, ...]) -> Iterator[Series]:
    from dicomhaul.cohort.idc import open_idc  # noqa: PLC0415 - DuckDB is heavy too

    with open_idc(Query(targets=targets)) as cohort:
        for batch in cohort.iter_rows():
            yield from (row for row, _ in batch)
