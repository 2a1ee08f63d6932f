"""`dicomhaul origin`: run the embedded origin until it is told to stop: a DICOMweb server, or what IDC has."""

import asyncio
import signal
import ssl
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import anyio
import typer

from dicomhaul.errors import ConfigError
from dicomhaul.model import Query, Series

if TYPE_CHECKING:
    from dicomhaul.origin import Front, Holdings, IdcName

_IDC: Final[tuple["IdcName", ...]] = ("bucket", "gcs", "proxy", "google")
_Certificate = Literal["good", "expired", "not_yet", "other_name", "untrusted"]
_Play = Literal["dicomweb", "bucket", "gcs", "proxy", "google", "idc"]


def origin(
    targets: Annotated[
        list[str] | None, typer.Argument(help="IDC collections, UIDs or manifests to make up instances for.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Serve the DICOM files below this folder instead.")] = None,
    play: Annotated[
        _Play,
        typer.Option(help="A DICOMweb server, one of IDC's four origins, or (idc) all of these."),
    ] = "dicomweb",
    style: Annotated[str, typer.Option(help="The DICOMweb server to play.")] = "orthanc",
    faults: Annotated[Path | None, typer.Option(help="TOML file that says what to do wrong.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.")] = 0,
    max_instance_bytes: Annotated[int | None, typer.Option(help="Make no instance much larger than this.")] = None,
    page_max: Annotated[int | None, typer.Option(help="The most results of one answer to a search or listing.")] = None,
    mixed: Annotated[bool, typer.Option("--mixed", help="Use several transfer syntaxes.")] = False,
    quota: Annotated[int | None, typer.Option(help="Bytes a day that the proxy gives to one client.")] = None,
    tls: Annotated[
        _Certificate | None,
        typer.Option(help="Use TLS, with a certificate that is good, or wrong in this way."),
    ] = None,
    tls_authority: Annotated[
        Path | None, typer.Option(help="Write the certificate there (PEM) that clients are to trust.")
    ] = None,
    authorization: Annotated[
        list[str] | None, typer.Option(help="Only a request with this Authorization header is answered. Repeatable.")
    ] = None,
    profiles: Annotated[Path | None, typer.Option(help="Write a profile for each of IDC's origins there.")] = None,
) -> None:
    """Serve synthetic instances for rows of IDC's index, or a folder of real files. The first line is the base URL.

    With `--play idc` there is a line for each origin, its name and its URL.
    """
    stage = _Stage(play, style, faults, host, port, page_max, quota, tls, tls_authority, tuple(authorization or ()))
    stage.check()
    if bool(targets) == (folder is not None):
        raise ConfigError("origin serves either TARGETs or --folder")
    if profiles is not None and (play == "dicomweb" or not profiles.is_dir()):
        raise ConfigError(f"{profiles} is no folder" if play != "dicomweb" else "--profiles belongs to IDC's origins")
    context = stage.context()
    if folder is not None:
        holdings = _held_in(folder)
    else:
        holdings = _made_up(tuple(targets or ()), max_instance_bytes=max_instance_bytes, mixed=mixed)

    async def run() -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with AsyncExitStack() as stack:
                for name in _IDC if play == "idc" else (play,):
                    running = await stack.enter_async_context(stage.open(name, holdings, context))
                    if profiles is not None:
                        _write_profile(profiles, name, running.url)
                    typer.echo(f"{name} {running.url}" if play == "idc" else running.url)
                async for _ in signals:
                    return

    try:
        asyncio.run(run())
    except OSError as error:
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class _Stage:
    """What is played, and how."""

    play: _Play
    style: str
    faults: Path | None
    host: str
    port: int
    page_max: int | None
    quota: int | None
    tls: _Certificate | None
    tls_authority: Path | None
    authorization: tuple[str, ...]

    def check(self) -> None:
        from dicomhaul.origin import STYLES  # noqa: PLC0415 - half a second, which no other command should wait for

        if self.style not in STYLES:
            raise ConfigError(f"no style is called {self.style!r}; there are: {', '.join(STYLES)}")
        if self.play == "idc" and self.port:
            raise ConfigError("--port is for one origin; --play idc runs four")
        if self.quota is not None and self.play not in {"proxy", "idc"}:
            raise ConfigError("--quota is the proxy's; say --play proxy or --play idc")
        if self.tls_authority is not None and self.tls is None:
            raise ConfigError("--tls-authority goes with --tls")
        if self.authorization and self.play != "dicomweb":
            raise ConfigError("--authorization is for a DICOMweb server; IDC's origins have their own")

    def context(self) -> ssl.SSLContext | None:
        """Return what to use TLS with; None: plain HTTP. The authority is written where that is wanted."""
        from dicomhaul.origin import make_identity  # noqa: PLC0415 - see above

        if self.tls is None:
            return None
        identity = make_identity(self.tls, self.host)
        if self.tls_authority is not None:
            try:
                self.tls_authority.write_text(identity.authority_pem, encoding="ascii")
            except OSError as error:
                raise ConfigError(f"cannot write {self.tls_authority}: {error.strerror}") from None
        return identity.context

    def open(
        self, name: _Play, holdings: "Holdings", tls: ssl.SSLContext | None
    ) -> "AbstractAsyncContextManager[Front]":
        from dicomhaul import origin as room  # noqa: PLC0415 - see above

        script = None if self.faults is None else room.read_script(self.faults)  # each has counters of its own
        if name == "dicomweb":
            style = room.STYLES[self.style]
            style = style if self.page_max is None else replace(style, page_max=self.page_max)
            return room.serve(
                holdings.catalog(),
                style=style,
                faults=script,
                host=self.host,
                port=self.port,
                tls=tls,
                authorization=self.authorization,
            )
        settings = room.Settings(host=self.host, tls=tls)
        if self.quota is not None:
            settings = replace(settings, allowance=room.Allowance(self.quota))
        if self.page_max is not None:
            settings = replace(settings, page_max=self.page_max)
        assert name != "idc"  # noqa: S101 - which is all of these
        return room.open_one(name, holdings, settings, faults=script, port=self.port)


def _held_in(folder: Path) -> "Holdings":
    from dicomhaul.origin import scan_folder, stored_holdings  # noqa: PLC0415 - see above

    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder")
    catalog, left_out = scan_folder(folder)
    typer.echo(f"{len(catalog)} instances; {len(left_out)} other files are not served", err=True)
    return stored_holdings(catalog)


def _made_up(targets: tuple[str, ...], *, max_instance_bytes: int | None, mixed: bool) -> "Holdings":
    from dicomhaul.origin import MIXED, synthetic_holdings  # noqa: PLC0415 - see above
    from dicomhaul.origin.template import EXPLICIT  # noqa: PLC0415 - likewise

    rows = _iter_rows(targets)
    return synthetic_holdings(rows, max_instance_bytes=max_instance_bytes, syntaxes=MIXED if mixed else (EXPLICIT,))


def _write_profile(folder: Path, name: _Play, url: str) -> None:
    from dicomhaul.origin import profile_toml  # noqa: PLC0415 - see above

    assert name != "dicomweb"  # noqa: S101 - it has none
    assert name != "idc"  # noqa: S101 - likewise
    try:
        (folder / f"local-{name}.toml").write_text(profile_toml(name, url), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write a profile to {folder}: {error.strerror}") from None


def _iter_rows(targets: tuple[str, ...]) -> Iterator[Series]:
    from dicomhaul.cohort.idc import open_idc  # noqa: PLC0415 - DuckDB is heavy too

    with open_idc(Query(targets=targets)) as cohort:
        for batch in cohort.iter_rows():
            yield from (row for row, _ in batch)
