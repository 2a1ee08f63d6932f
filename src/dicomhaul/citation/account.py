"""The account of a destination: which licences its series have, and which works are to be cited for them."""

import os
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dicomhaul.citation.bibtex import bibliography, entry
from dicomhaul.citation.reference import Parts, parse_citation, plain_text
from dicomhaul.cohort.attribution import Attribution, Held, Share, Work, attribute
from dicomhaul.destination import find_place
from dicomhaul.errors import ConfigError
from dicomhaul.model import Shard
from dicomhaul.record.ledger import Ledger

_NONCOMMERCIAL: Final = re.compile(r"\bNC\b|non-?commercial", re.IGNORECASE)

# What IDC asks everybody to cite who uses it.
IDC_PAPER: Final = Work(
    "10.1148/rg.230180",
    "National Cancer Institute Imaging Data Commons: Toward Transparency, Reproducibility, and Scalability in Imaging "
    "Artificial Intelligence",
    "Fedorov, A., Longabaugh, W. J. R., Pot, D., Clunie, D. A., Pieper, S. D., Gibbs, D. L., Bridge, C., "
    "Herrmann, M. D., Homeyer, A., Lewis, R., Aerts, H. J. W. L., Krishnaswamy, D., Thiriveedhi, V. K., Ciausu, C., "
    "Schacherer, D. P., Bontempi, D., Pihl, T., Wagner, U., Farahani, K., Kim, E., & Kikinis, R. (2023). "
    "<i>National Cancer Institute Imaging Data Commons: Toward Transparency, Reproducibility, and Scalability in "
    "Imaging Artificial Intelligence</i>. RadioGraphics, 43(12), e230180. https://doi.org/10.1148/rg.230180",
)


@dataclass(slots=True)
class LicenseShare:
    """What a destination holds under one licence; '' where nobody states one."""

    name: str
    url: str | None
    series: int = 0
    instances: int = 0
    size_bytes: int = 0

    @property
    def noncommercial(self) -> bool:
        """Say whether the licence's name forbids commercial use."""
        return _NONCOMMERCIAL.search(self.name) is not None


@dataclass(slots=True)
class Cited:
    """One work that is to be cited."""

    doi: str
    title: str | None
    text: str | None  # the citation in one line
    parts: Parts | None
    series: int = 0
    instances: int = 0
    size_bytes: int = 0
    collections: set[str] = field(default_factory=set)
    licenses: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"https://doi.org/{self.doi}"

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` lists it."""
        return {
            "doi": self.doi,
            "url": self.url,
            "title": self.title,
            "citation": self.text,
            "series": self.series,
            "instances": self.instances,
            "bytes": self.size_bytes,
            "collections": sorted(self.collections),
            "licenses": sorted(self.licenses),
        }


@dataclass(frozen=True, slots=True)
class Account:
    """Whom to thank for what a destination holds.

    Attributes:
        index_version: the version of idc-index-data that says so.
        licenses: by the number of series, the largest first.
        works: likewise.
        acknowledgement: IDC's own paper.
        notes: what is not known, or known of another revision.
    """

    index_version: str
    licenses: tuple[LicenseShare, ...]
    works: tuple[Cited, ...]
    acknowledgement: Cited
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {
            "index_version": self.index_version,
            "licenses": [
                {
                    "name": each.name or None,
                    "url": each.url,
                    "noncommercial": each.noncommercial,
                    "series": each.series,
                    "instances": each.instances,
                    "bytes": each.size_bytes,
                }
                for each in self.licenses
            ],
            "citations": [work.as_json() for work in self.works],
            "acknowledgement": self.acknowledgement.as_json(),
            "notes": list(self.notes),
        }

    def as_bibtex(self) -> str:
        """Return a .bib file: each work, and IDC's paper."""
        works = (
            entry(work.doi, parts=work.parts, text=work.text, title=work.title)
            for work in sorted(self.works, key=lambda work: work.doi)
        )
        return bibliography([*works, _PAPER_BIBTEX])


def cite(dest: str | os.PathLike[str], *, state_dir: Path | None = None, shard: Shard | None = None) -> Account:
    """Say which licences and citations belong to what has landed at `dest`, or as one shard of it. Asks no server.

    Raises LedgerError if there is no ledger or it is damaged; ConfigError if nothing there came from IDC; CohortError
    if the installed index cannot be read.
    """
    place = find_place(Path(dest), state_dir, shard)
    strangers = 0
    with closing(Ledger.open(place.ledger, read_only=True)) as ledger:
        ledger.check()

        def held() -> Iterator[Held]:
            nonlocal strangers
            for row in ledger.iter_held():
                if row.revision is None and row.collection is None:  # only IDC's index states these
                    strangers += 1
                else:
                    yield Held(row.series, row.collection, row.license, row.revision, row.instances, row.size_bytes)

        found = attribute(held())
    if not found.shares:
        raise ConfigError(
            f"nothing has landed at {dest} yet"
            if not strangers
            else f"what is at {dest} was not pulled from IDC, and DICOM says nothing of licences: ask whose it is"
        )
    return account(found, strangers=strangers)


def account(found: Attribution, *, strangers: int = 0) -> Account:
    """Add up what the index says; `strangers`: series that did not come from IDC."""
    licenses: dict[str, LicenseShare] = {}
    works: dict[str, Cited] = {}
    for share in found.shares:
        name = share.license or ""
        _add(licenses.setdefault(name, LicenseShare(name, found.license_urls.get(name))), share)
        for doi in share.dois:
            cited = works.setdefault(doi, _cited(found.works.get(doi, Work(doi, None, None))))
            _add(cited, share)
            cited.collections |= {share.collection} if share.collection else set()
            cited.licenses |= {name} if name else set()
    return Account(
        found.index_version,
        tuple(sorted(licenses.values(), key=lambda each: (-each.series, each.name))),
        tuple(sorted(works.values(), key=lambda each: (-each.series, each.doi))),
        _cited(IDC_PAPER),
        tuple(_notes(found, strangers)),
    )


def _notes(found: Attribution, strangers: int) -> Iterator[str]:
    revised = sum(share.series for share in found.shares if share.revised and not share.gone)
    gone = sum(share.series for share in found.shares if share.gone and share.dois)
    unknown = sum(share.series for share in found.shares if not share.dois)
    if revised:
        yield f"{revised:,} series are of an earlier revision: the licence is that of the present one"
    if gone:
        yield (
            f"{gone:,} series are not in the installed index {found.index_version}: the original works of their "
            "collections are named for them"
        )
    if unknown:
        yield f"of {unknown:,} series the installed index {found.index_version} does not know where they come from"
    if strangers:
        yield f"{strangers:,} series did not come from IDC: nothing is known of them"


def _add(to: LicenseShare | Cited, share: Share) -> None:
    to.series += share.series
    to.instances += share.instances
    to.size_bytes += share.size_bytes


def _cited(work: Work) -> Cited:
    text = work.citation
    return Cited(
        work.doi,
        work.title,
        None if text is None else plain_text(text),
        None if text is None else parse_citation(text, work.doi),
    )


_PAPER_BIBTEX: Final = """@article{doi-10-1148-rg-230180,
  author = {Fedorov, A. and Longabaugh, W. J. R. and Pot, D. and Clunie, D. A. and Pieper, S. D. and Gibbs, D. L. and \
Bridge, C. and Herrmann, M. D. and Homeyer, A. and Lewis, R. and Aerts, H. J. W. L. and Krishnaswamy, D. and \
Thiriveedhi, V. K. and Ciausu, C. and Schacherer, D. P. and Bontempi, D. and Pihl, T. and Wagner, U. and Farahani, K. \
and Kim, E. and Kikinis, R.},
  title = {{National Cancer Institute Imaging Data Commons: Toward Transparency, Reproducibility, and Scalability in \
Imaging Artificial Intelligence}},
  journal = {RadioGraphics},
  volume = {43},
  number = {12},
  pages = {e230180},
  year = {2023},
  doi = {10.1148/rg.230180},
  url = {https://doi.org/10.1148/rg.230180},
}
"""
