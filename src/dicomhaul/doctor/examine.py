"""Examines one source, within a budget, and puts the findings together.

A check that fails ends no other: what it could not find out is unknown. What the later checks rest on (the way, who is
let in, that this is DICOMweb at all) ends the examination of a source where it fails.
"""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

import anyio

from dicomhaul.build import credentials_of, endpoint_of
from dicomhaul.config.source import SourceSpec
from dicomhaul.doctor.admission import Admission, judge_admission, scheme_of
from dicomhaul.doctor.ask import Answer, Asker, open_asker, reason_of
from dicomhaul.doctor.bucket import STEPS as BUCKET_STEPS
from dicomhaul.doctor.bucket import Bucketed, judge_buckets, list_buckets, read_head, try_ranges
from dicomhaul.doctor.budget import Budget
from dicomhaul.doctor.finding import Finding, Verdict, fail, unknown
from dicomhaul.doctor.metered import BODY_BYTES as METERED_BYTES
from dicomhaul.doctor.metered import REQUESTS as METERED_REQUESTS
from dicomhaul.doctor.metered import Metered, judge_metered, look_a_little, read_usage
from dicomhaul.doctor.pace import STEPS, Call, Paced, climb, judge_pace, measure_latency, wait_idle
from dicomhaul.doctor.propose import auth_kind, improve, write_profile
from dicomhaul.doctor.reach import REACHABLE, TLS, find_way, has_proxy, judge_proxy, judge_way
from dicomhaul.doctor.retrieve import Retrieved, judge_retrieve, try_forms, try_range, try_syntaxes
from dicomhaul.doctor.search import (
    Searched,
    judge_first,
    judge_search,
    look_around,
    look_for_nothing,
    measure_pages,
    page_through,
    try_wildcards,
)
from dicomhaul.errors import HaulError, Unauthorized
from dicomhaul.net.auth.fixed import NoCredentials
from dicomhaul.net.endpoint import Endpoint
from dicomhaul.ports import Clock, Credentials
from dicomhaul.wire.uri import search_studies_path

TOTAL_S: Final = 240.0  # for one source
_AT_ONCE: Final = 64
_LONG_S: Final = 60.0
_STALL_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found out about one source.

    Attributes:
        source: its name.
        findings: in the order of the checks.
        requests, body_bytes: what it took.
        profile: the text of the proposed profile; None where too little is known to propose one.
    """

    source: str
    findings: tuple[Finding, ...]
    requests: int
    body_bytes: int
    profile: str | None

    @property
    def reachable(self) -> bool:
        """A connection came about."""
        return not any(one.name == REACHABLE and one.verdict is Verdict.FAIL for one in self.findings)

    @property
    def usable(self) -> bool:
        """Nothing that a download needs was found to fail."""
        return all(one.verdict is not Verdict.FAIL for one in self.findings)


async def examine_source(spec: SourceSpec, *, environ: Mapping[str, str], clock: Clock, budget: Budget) -> Diagnosis:
    """Ask a source what matters.

    Args:
        spec: the source.
        environ: the environment, for proxies and credentials.
        clock: time.
        budget: what all requests and bytes are drawn from.

    Raises:
        ConfigError: a certificate file, or credentials that were chosen, cannot be used.
    """
    if spec.profile.is_metered(None):
        budget = Budget(METERED_REQUESTS, METERED_BYTES, within=budget)
    else:
        budget = Budget(budget.requests_left, budget.bytes_left, within=budget)
    examination = _Examination(spec, environ, clock, budget)
    with anyio.move_on_after(TOTAL_S) as scope:
        await examination.run()
    if scope.cancelled_caught:
        examination.findings.append(unknown("time", f"given up after {TOTAL_S:.0f} s; some checks were left out"))
    return examination.diagnosis()


@dataclass(slots=True)
class _Examination:
    spec: SourceSpec
    env: Mapping[str, str]
    clock: Clock
    budget: Budget
    findings: list[Finding] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)  # checks that could not be made
    searched: Searched = field(default_factory=Searched)
    retrieved: Retrieved = field(default_factory=Retrieved)
    paced: Paced = field(default_factory=Paced)
    authorization: str | None = None
    known: bool = False  # enough, for a profile

    async def run(self) -> None:
        spec = self.spec
        credentials = credentials_of(spec, environ=self.env, clock=self.clock)
        endpoint = _patient(endpoint_of(spec, environ=self.env, max_connections=_AT_ONCE))
        refused = await self._sign_in(credentials)
        if has_proxy(endpoint):
            self.findings += judge_proxy()
        else:
            way = await find_way(endpoint, self.clock)
            self.findings += judge_way(way, sends_credentials=self.authorization is not None)
        if any(one.verdict is Verdict.FAIL and one.name in {REACHABLE, TLS} for one in self.findings):
            await credentials.aclose()
            return
        async with open_asker(endpoint, credentials, budget=self.budget, clock=self.clock) as asker:
            if spec.profile.kind == "bucket":
                await self._buckets(asker)
            elif await self._is_let_in(asker, endpoint, refused):
                if spec.profile.is_metered(None):
                    await self._quota(asker)
                else:
                    await self._dicomweb(asker, endpoint)

    def diagnosis(self) -> Diagnosis:
        spec, findings = self.spec, self._all()
        text = None
        if self.known:
            bucket = spec.profile.kind == "bucket"
            proposed = improve(
                spec.profile,
                None if bucket else self.searched,
                None if bucket else self.retrieved,
                self.paced,
            )
            text = write_profile(
                spec,
                proposed,
                auth_kind(spec.profile, self.authorization),
                findings,
                today=datetime.fromtimestamp(self.clock.now(), UTC).date().isoformat(),
                requests=self.budget.requests,
            )
        return Diagnosis(spec.name, tuple(findings), self.budget.requests, self.budget.body_bytes, text)

    def _all(self) -> list[Finding]:
        """The findings; a check that could not be made to its end says why."""
        left = {problem.name: problem for problem in self.problems}
        found = [_with(one, left.pop(one.name, None)) for one in self.findings]
        return found + list(left.values())

    async def _guarded(self, name: str, probe: Awaitable[Any]) -> None:
        """Run one probe; what stops it stops nothing else."""
        try:
            await probe
        except HaulError as error:
            self.problems.append(unknown(name, reason_of(error)))

    async def _sign_in(self, credentials: Credentials) -> str:
        """Get our credentials; return why there are none, or ''."""
        try:
            self.authorization = await credentials.authorization()
        except Unauthorized as error:
            return reason_of(error)
        return ""

    async def _is_let_in(self, asker: Asker, endpoint: Endpoint, refused: str) -> bool:
        """Send the first search without credentials, and with ours. Say whether it is worth going on."""
        anonymous = ours = None
        problem = ""
        sends = self.authorization is not None
        try:
            async with open_asker(endpoint, NoCredentials(), budget=self.budget, clock=self.clock) as nobody:
                anonymous = await _first_search(nobody)
        except HaulError as error:
            problem = reason_of(error)
        if sends:
            try:
                ours = await _first_search(asker)
            except Unauthorized as error:
                refused = reason_of(error)
            except HaulError as error:
                problem = reason_of(error)
        first = ours if sends else anonymous
        if first is None and problem and not refused:
            self.findings.append(fail("search", problem, "check the URL: scheme, port and path"))
            return False
        admission = Admission(
            None if anonymous is None else anonymous.status,
            None if ours is None else ours.status,
            sends,
            refused,
            scheme_of(None if anonymous is None else anonymous.headers.get("WWW-Authenticate")),
            anonymous is not None and anonymous.rows() is not None,
            ours is not None and ours.rows() is not None,
        )
        judged = judge_admission(admission, self.spec.profile.auth)
        self.findings.append(judged)
        if judged.verdict is Verdict.FAIL or first is None:
            return False
        self.searched.first = first
        if first.status in self.spec.profile.status.quota:
            return True
        wrong = judge_first(first, self.clock.now())
        if wrong is not None:
            self.findings.append(wrong)
        return wrong is None

    async def _quota(self, asker: Asker) -> None:
        profile, first = self.spec.profile, self.searched.first
        seen = Metered(searched=self.searched, retrieved=self.retrieved, paced=self.paced)
        if first is not None and first.status in profile.status.quota:
            seen.closed = first.status
        try:
            await read_usage(asker, profile, seen)
        except HaulError as error:
            seen.problem = reason_of(error)
        if seen.may_go_on(profile):
            await self._guarded("search", look_a_little(asker, profile, seen))
            self.known = bool(self.searched.levels)
        self.findings += judge_metered(seen, profile)

    async def _dicomweb(self, asker: Asker, endpoint: Endpoint) -> None:
        seen, profile = self.searched, self.spec.profile
        async with anyio.create_task_group() as group:
            group.start_soon(self._guarded, "idle connections", self._idle(endpoint))
            await self._guarded("search", look_around(asker, seen))
            await self._guarded("paging", page_through(asker, seen))
            await self._guarded("retrieve", try_forms(asker, profile, seen.places, self.retrieved))
            await self._guarded("transfer syntax", try_syntaxes(asker, seen.places, self.retrieved))
            await self._guarded("ranges", try_range(asker, self.retrieved))
            await self._guarded("wildcards", try_wildcards(asker, seen))
            await self._guarded("empty answers", look_for_nothing(asker, seen))
            await self._guarded("pages", measure_pages(asker, seen))
        await self._pace(self._small_call(asker), STEPS, self.retrieved.small_bytes)
        self.findings += judge_search(seen, profile.search)
        self.findings += judge_retrieve(self.retrieved, profile)
        self.findings += judge_pace(self.paced, profile.limits)
        self.known = bool(seen.levels or self.retrieved.instance)

    async def _buckets(self, asker: Asker) -> None:
        seen = Bucketed()
        await self._guarded("listing", list_buckets(asker, self.spec.profile, seen))
        await self._guarded("ranges", try_ranges(asker, seen))
        ref = seen.smallest
        self.findings += judge_buckets(seen)
        if ref is not None:
            await self._pace(lambda: read_head(asker, ref), BUCKET_STEPS, min(ref.size_bytes, 64 << 10))
            self.findings += judge_pace(self.paced, self.spec.profile.limits)[:2]
            self.known = True

    async def _pace(self, call: Call, steps: Sequence[int], size_bytes: int) -> None:
        def most() -> int:
            return min(self.budget.requests_left, self.budget.bytes_left // 2 // max(1, size_bytes))

        profile = self.spec.profile
        await self._guarded("latency", measure_latency(call, self.paced))
        await self._guarded(
            "at once", climb(call, self.paced, status=profile.status, clock=self.clock, steps=steps, most=most)
        )

    async def _idle(self, endpoint: Endpoint) -> None:
        limits = endpoint.profile.limits.model_copy(update={"keepalive_s": _LONG_S})
        patient = replace(endpoint, profile=endpoint.profile.model_copy(update={"limits": limits}))
        credentials = credentials_of(self.spec, environ=self.env, clock=self.clock)
        async with open_asker(patient, credentials, budget=self.budget, clock=self.clock) as asker:
            await wait_idle(asker, search_studies_path(), self.paced, self.clock)

    def _small_call(self, asker: Asker) -> Call:
        small = self.retrieved.small
        if small is None:
            return lambda: _first_search(asker)
        path, accept = small
        return lambda: asker.get(path, accept=accept)


def _with(judged: Finding, problem: Finding | None) -> Finding:
    if problem is None:
        return judged
    if judged.verdict is Verdict.UNKNOWN:
        return problem
    return replace(judged, sentence=f"{judged.sentence}; {problem.sentence}")


async def _first_search(asker: Asker) -> Answer:
    return await asker.search(search_studies_path(), ("limit", "1"))


def _patient(endpoint: Endpoint) -> Endpoint:
    """No answer is waited for longer than a request may take."""
    limits = endpoint.profile.limits
    shorter = limits.model_copy(update={"stall_timeout_s": min(_STALL_S, limits.stall_timeout_s)})
    return replace(endpoint, profile=endpoint.profile.model_copy(update={"limits": shorter}))
