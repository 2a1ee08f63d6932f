"""Who we are to a source: nobody, a user with a password, or the bearer of a token.

`credentials_for` picks one; each is a `ports.Credentials`. Values never stand in a repr, a message or a log.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from dicomhaul.errors import ConfigError
from dicomhaul.net.auth.fixed import BasicCredentials, NoCredentials, TokenCredentials, TokenFileCredentials
from dicomhaul.net.auth.renewed import RenewedCredentials
from dicomhaul.ports import Clock, Credentials
from dicomhaul.profile import Profile

__all__ = ["AuthKind", "credentials_for"]

AuthKind = Literal["none", "basic", "bearer", "google", "azure"]

TOKEN = "DICOMHAUL_TOKEN"  # noqa: S105 - the name of a variable
USER = "DICOMHAUL_USER"
PASSWORD = "DICOMHAUL_PASSWORD"  # noqa: S105 - likewise


def credentials_for(
    kind: AuthKind | None,
    *,
    profile: Profile,
    environ: Mapping[str, str],
    clock: Clock,
    token_file: Path | None = None,
    user: str | None = None,
    password: str | None = None,
) -> Credentials:
    """Return what authenticates us to a source.

    Args:
        kind: as the user said it; None: from what there is. A token file means bearer, a user in the URL means
            basic, else it is what the profile says. Where that is nothing, DICOMHAUL_TOKEN or DICOMHAUL_USER is
            taken if set, but not for a service that has one public URL: what somebody exported for their own server
            is not for it.
        profile: of the source; its `auth.scope` is what Google and Azure are asked for.
        environ: the environment.
        clock: for the end of tokens.
        token_file: holds a bearer token; read again when it changes.
        user: as the source's URL had it; None: DICOMHAUL_USER and DICOMHAUL_PASSWORD.
        password: as the source's URL had it.

    Raises ConfigError, naming the variable or file, when what the kind needs is missing or unusable. Google and Azure
    are first asked when the first request is made.
    """
    match kind or _kind_from(profile, environ, token_file=token_file, user=user):
        case "none":
            return NoCredentials()
        case "basic":
            return BasicCredentials(*_pair(environ, user, password))
        case "bearer" if token_file is not None:
            return TokenFileCredentials(token_file)
        case "bearer":
            if not environ.get(TOKEN):
                raise ConfigError(f"a bearer token is needed: set {TOKEN}, or name a file that holds one")
            return TokenCredentials(environ[TOKEN], where=TOKEN)
        case "google":
            from dicomhaul.net.auth.google import GoogleTokens  # noqa: PLC0415 - only who needs it pays for it

            return RenewedCredentials(GoogleTokens(profile.auth.scope), clock=clock)
        case "azure":
            from dicomhaul.net.auth.azure import AzureTokens  # noqa: PLC0415 - likewise

            return RenewedCredentials(AzureTokens(profile.auth.scope), clock=clock)


def _kind_from(
    profile: Profile,
    environ: Mapping[str, str],
    *,
    token_file: Path | None,
    user: str | None,
) -> AuthKind:
    if token_file is not None:
        return "bearer"
    if user is not None:
        return "basic"
    if profile.auth.kind == "none" and profile.url is None:
        if environ.get(TOKEN):
            return "bearer"
        if environ.get(USER):
            return "basic"
    return profile.auth.kind


def _pair(environ: Mapping[str, str], user: str | None, password: str | None) -> tuple[str, str]:
    if user is not None:
        return user, password or ""
    if not environ.get(USER):
        raise ConfigError(f"a user is needed: set {USER} and {PASSWORD}")
    return environ[USER], environ.get(PASSWORD, "")
