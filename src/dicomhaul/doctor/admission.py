"""Who is let in: nobody, anybody, or we. Judged from the same small search, sent without and with credentials. Pure."""

import re
from dataclasses import dataclass
from typing import Final

from dicomhaul.doctor.finding import Finding, fail, ok, unknown, warn
from dicomhaul.profile import Auth

AUTH: Final = "auth"
_SCHEME: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]{0,19})(?=\s|,|\Z)")


@dataclass(frozen=True, slots=True)
class Admission:
    """What both requests gave.

    Attributes:
        anonymous: the status without credentials; None where no answer came.
        ours: the status with them; None where we have none, or no answer came.
        anonymous_rows, our_rows: what came is an answer to a search; a page to sign in at is none.
        sends: we have credentials.
        refused: why we could not send any, or what the server said to the newest; '' where that is not so.
        wants: the scheme that the server asks for (`WWW-Authenticate`); '' where it names none.
    """

    anonymous: int | None = None
    ours: int | None = None
    sends: bool = False
    refused: str = ""
    wants: str = ""
    anonymous_rows: bool = True
    our_rows: bool = True


def scheme_of(www_authenticate: str | None) -> str:
    """Return the first scheme that a WWW-Authenticate header names; '' without one."""
    found = _SCHEME.match((www_authenticate or "")[:200])
    return found[1] if found else ""


def judge_admission(seen: Admission, auth: Auth) -> Finding:
    """Say whether we are let in; if not, what is missing."""
    wants = f"; it asks for {seen.wants}" if seen.wants else ""
    role = f"the account needs {auth.role}" if auth.role else "the account needs a role that may read"
    if seen.refused and seen.sends:
        todo = "check the credentials: they are wrong or have expired" + (f"; then {role}" if auth.role else "")
        return fail(AUTH, f"our credentials are not accepted: {seen.refused}{wants}", todo)
    if seen.refused:
        return fail(AUTH, f"there are no credentials to send: {seen.refused}", _sign_in(auth))
    status = seen.ours if seen.sends else seen.anonymous
    if status is None:
        return fail(AUTH, "no answer came to the first search", "see the checks above")
    if status == 401:
        return fail(AUTH, f"it refuses requests without credentials (401){wants}", _sign_in(auth))
    if status == 403:
        sentence = "it knows us and lets us read nothing (403)" if seen.sends else "it refuses anonymous requests (403)"
        todo = f"{role}; some servers answer 403, too, where the store of the URL does not exist"
        return fail(AUTH, sentence, todo)
    return _let_in(seen)


def _let_in(seen: Admission) -> Finding:
    anybody = seen.anonymous is not None and seen.anonymous < 300 and seen.anonymous_rows
    status, rows = (seen.ours, seen.our_rows) if seen.sends else (seen.anonymous, seen.anonymous_rows)
    if status is None or status >= 300 or not rows:
        came = f"is answered {status}" + ("" if status is None or status >= 300 else " with no DICOM JSON")
        return unknown(AUTH, f"it cannot be told who is let in: the first search {came}")
    if not seen.sends:
        return ok(AUTH, "it asks for no credentials")
    if anybody:
        return warn(AUTH, "it answers without credentials, too: ours are sent and not needed", "leave them out")
    if seen.anonymous in {401, 403}:
        return ok(AUTH, f"anonymous requests are refused ({seen.anonymous}), and our credentials are accepted")
    return ok(AUTH, "our credentials are accepted; whether they are needed could not be told")


def _sign_in(auth: Auth) -> str:
    how = {
        "google": "sign in (gcloud auth application-default login), or name a service account",
        "azure": "sign in (az login), or set up a managed identity or service principal",
    }.get(auth.kind, "give credentials: --auth basic, or --auth bearer with DICOMHAUL_TOKEN or --token-file")
    return f"{how}; the account needs {auth.role}" if auth.role else how
