"""IDC's public buckets, asked path-style: listings, ETags, ranges, versions.

Objects are asked for by their first bytes alone.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from dicomhaul.doctor.ask import Answer, Asker
from dicomhaul.doctor.finding import Finding, fail, ok, unknown, warn
from dicomhaul.errors import TransferError
from dicomhaul.model import Check, ObjectRef
from dicomhaul.profile import Profile
from dicomhaul.wire.digests import stated_digest
from dicomhaul.wire.listing import first_folder, parse_listing

STEPS: Final = (1, 4, 16, 32)
_INDEXED: Final = ("idc-open-data", "idc-open-data-two", "idc-open-data-cr")  # as IDC's index names them
_HEAD_BYTES: Final = 64 * 1024
_KEYS: Final = 100
_NAME: Final = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]\Z")


@dataclass(slots=True)
class Bucketed:
    """What was seen, as far as it was asked for.

    Attributes:
        buckets: name here -> what its listing gave, or the status or error instead.
        objects: of one folder of the first bucket that could be listed.
        ranged: the answer to a request for 100 bytes; `told`: what it states of the object.
        matched, unmatched: the statuses where `If-Match` names the version that is there, and another.
    """

    buckets: dict[str, str] = field(default_factory=dict)
    objects: list[ObjectRef] = field(default_factory=list)
    ranged: Answer | None = None
    told: Check | None = None
    matched: int | None = None
    unmatched: int | None = None

    @property
    def smallest(self) -> ObjectRef | None:
        """The smallest object of those that were found."""
        return min(self.objects, key=lambda ref: ref.size_bytes, default=None)


async def list_buckets(asker: Asker, profile: Profile, seen: Bucketed) -> None:
    """List a little of each bucket, and one folder."""
    for indexed in profile.holds if profile.holds is not None else _INDEXED:
        name = profile.bucket.names.get(indexed, indexed)
        if not _NAME.match(name):
            seen.buckets[indexed] = "the profile gives it a name that no bucket can have"
            continue
        listed = ("list-type", "2")
        answer = await asker.get(name, accept="*/*", params=[listed, ("max-keys", str(_KEYS))])
        if not answer.ok:
            seen.buckets[name] = f"answers {answer.status}"
            continue
        try:
            folder = first_folder(answer.body)
            seen.buckets[name] = "" if folder is not None else "lists no instance"
            if folder is not None and not seen.objects:
                prefix = f"{folder}/"
                params = [listed, ("max-keys", str(_KEYS)), ("prefix", prefix)]
                page = await asker.get(name, accept="*/*", params=params)
                seen.objects = parse_listing(page.body, bucket=name, prefix=prefix).objects
        except TransferError as error:
            seen.buckets[name] = str(error)


async def try_ranges(asker: Asker, seen: Bucketed) -> None:
    """Ask for the first bytes of the smallest object; then of the version that is there, and of another."""
    ref = seen.smallest
    if ref is None:
        return
    first = {"Range": "bytes=0-99"}
    seen.ranged = await asker.get(path_of(ref), accept="*/*", headers=first, limit_bytes=_HEAD_BYTES)
    hashes = [value for name, value in seen.ranged.headers.items() if name.lower() == "x-goog-hash"]
    seen.told = stated_digest(seen.ranged.headers, hashes, ref.etag)[0]
    if ref.etag is not None:
        same = await asker.get(
            path_of(ref), accept="*/*", headers={**first, "If-Match": f'"{ref.etag}"'}, limit_bytes=_HEAD_BYTES
        )
        other = await asker.get(
            path_of(ref), accept="*/*", headers={**first, "If-Match": '"another"'}, limit_bytes=_HEAD_BYTES
        )
        seen.matched, seen.unmatched = same.status, other.status


async def read_head(asker: Asker, ref: ObjectRef) -> Answer:
    """Ask for the first 64 KiB of an object."""
    head = {"Range": f"bytes=0-{_HEAD_BYTES - 1}"}
    return await asker.get(path_of(ref), accept="*/*", headers=head, limit_bytes=_HEAD_BYTES)


def path_of(ref: ObjectRef) -> str:
    """Return where an object is, below the URL of the buckets."""
    return f"{ref.bucket}/{ref.key}"


def judge_buckets(seen: Bucketed) -> list[Finding]:
    """Say what a download will meet."""
    return [_judge_listing(seen), _judge_digest(seen), _judge_range(seen), _judge_version(seen)]


def _judge_listing(seen: Bucketed) -> Finding:
    good = [name for name, problem in seen.buckets.items() if not problem]
    bad = [f"{name} {problem}" for name, problem in seen.buckets.items() if problem]
    if not good:
        todo = "check the URL and the names of the buckets ([bucket] names in the profile)"
        return fail("listing", f"no bucket can be listed: {'; '.join(bad) or 'none was asked'}", todo)
    said = f"{', '.join(good)} can be listed without credentials"
    if bad:
        return warn("listing", f"{said}; {'; '.join(bad)}", "series of those come by another route, or not at all")
    return ok("listing", said)


def _judge_digest(seen: Bucketed) -> Finding:
    composed = sum(ref.etag is not None and "-" in ref.etag for ref in seen.objects)
    said = (
        f"{composed} of {len(seen.objects)} ETags are of objects that were put together, and no digest"
        if composed
        else ""
    )
    match seen.told:
        case None:
            return unknown("checksums", "no object was found to look at")
        case Check.CRC32C:
            return ok("checksums", "objects state a CRC32C (x-goog-hash), which is compared")
        case Check.MD5:
            return ok("checksums", f"ETags are MD5, which is compared{said and f'; {said}'}")
        case _:
            return warn(
                "checksums", said or "nothing that is stated can be compared", "sizes are compared, and framing"
            )


def _judge_range(seen: Bucketed) -> Finding:
    answer = seen.ranged
    if answer is None:
        return unknown("ranges", "no object was found to ask for")
    if answer.status == 206 and answer.whole and answer.headers.get("Content-Range", "").startswith("bytes 0-"):
        return ok("ranges", "a range of an object can be had: one that breaks off goes on where it was")
    if answer.ok:
        return warn("ranges", f"ranges are not honoured ({answer.status})", "an object that breaks off begins anew")
    return fail("ranges", f"an object that is listed is answered {answer.status}", "check that objects are public")


def _judge_version(seen: Bucketed) -> Finding:
    if seen.matched is None:
        return unknown("versions", "no object with an ETag was found")
    if seen.matched in {200, 206} and seen.unmatched == 412:
        return ok("versions", "If-Match is honoured: two versions of an object are never mixed")
    said = f"If-Match is answered {seen.matched} for the version that is there, {seen.unmatched} for another"
    return warn("versions", said, "an object that changes in the middle is found out by its digest alone")
