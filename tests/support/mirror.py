"""A destination as years of a mirror leave it, and as nobody would want it: written straight into its ledger."""

import json
import math
from contextlib import closing
from pathlib import Path
from typing import Final

from dicomhaul.config.options import QUERY_JSON
from dicomhaul.land.folder import beside_folder
from dicomhaul.model import Check, Failure, Proof, Query, Receipt, Routing, Series, SeriesUID, Shard, SopUID, StudyUID
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.planned import plan_cohort

PATIENT: Final = "PATIENT-4711"  # what may stand nowhere in a report
HOSTILE: Final = (
    "<script>document.title='taken'</script>",
    '"><img src=https://evil.example/x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><style>body{display:none}</style>",
    "مجموعة الصور الطبية \u202eesrever",
    "x" * 500,
    "{{ 7 * 7 }}{% raw %}",
    "a\x00b\x1b[31mc",
)
_STUDY: Final = "1.2.840.99.1"
_SIZES: Final = (900_000, 52_000_000, 410_000_000, 8_000)


def write_mirror(dest: Path, *, series: int = 48, failures: int = 260, shard: Shard | None = None) -> None:
    """Write a ledger with hostile names, several cohorts, failures, runs with samples, changes and trash."""
    folder = dest / ".dicomhaul"
    folder.mkdir(parents=True)
    with closing(Ledger.open(folder / "ledger.sqlite3")) as ledger:
        _write_cohorts(ledger, series, failures, shard)
        with ledger.transaction():
            _write_instances(ledger, series)
            _write_changes(ledger)
        _write_runs(ledger)
    trash = folder / "trash" / "2026-03-01" / "1.2" / "3.4"
    trash.mkdir(parents=True)
    for number in range(3):
        (trash / f"{number}.dcm").write_bytes(bytes(1_000 * (number + 1)))


def _write_cohorts(ledger: Ledger, series: int, failures: int, shard: Shard | None) -> None:
    queries = [
        Query(collection=("nlst", HOSTILE[0]), modality=("CT",), patient=(PATIENT,), shard=shard),
        Query(sql=f"SELECT * FROM index WHERE PatientID = '{PATIENT}'", search=(f"PatientID={PATIENT}", "Modality=CT")),
    ]
    for number, query in enumerate(queries):
        mine = range(number, series, len(queries))
        plan_cohort(
            ledger,
            name=f"PatientID={PATIENT}",
            fingerprint=str(number),
            query=QUERY_JSON.dump_json(query).decode(),
            source="idc" if number == 0 else "https://pacs.example/dicom-web?token=secret",
            planned_at="2026-03-01T02:00:00+00:00",
            layout="{PatientID}/{SeriesInstanceUID}",
            rows=[_row(at) for at in mine],
            missing=[
                Failure(f"{_STUDY}.9", f"9.{at}", None, "the index does not know it") for at in range(failures * number)
            ],
        )


def _row(at: int) -> Series:
    names = ("nlst", "tcga_brca", "rms_mutation_prediction", *HOSTILE)
    return Series(
        StudyUID(f"{_STUDY}.{at % 7}"),
        SeriesUID(f"1.2.840.99.2.{at}"),
        collection=names[at % len(names)],
        patient=PATIENT,
        modality=("CT", "MR", "SM", None)[at % 4],
        license=("CC BY 4.0", "CC BY-NC 3.0", None)[at % 3],
        expected=2,
        size_bytes=2 * _SIZES[at % 4],
        folder=f"{PATIENT}/1.2.840.99.2.{at}",
        routing=Routing(("idc-bucket", "idc-proxy"), "whole series; buckets have no quota"),
    )


def _write_instances(ledger: Ledger, series: int) -> None:
    for key in range(1, series + 1):
        each = [SopUID(f"1.2.840.99.3.{key}.{number}") for number in range(2)]
        if key % 8 == 0:
            continue
        came = each[:1] if key % 5 == 0 else each
        ledger.add_receipts([Receipt(key, sop, _SIZES[key % 4], bytes(16), Check(key % 4)) for sop in came])
        if came == each:
            ledger.complete_series(key, Proof.INVENTORY if key % 2 else Proof.COUNT, 2, "idc-bucket")
        else:
            reason = f"HTTP 404 for {each[1]}" if key % 3 else f"{HOSTILE[1]} {'very long ' * 60}"
            ledger._db.execute("INSERT INTO instance (series_id, sop, state) VALUES (?, ?, 0)", (key, each[1]))
            ledger.fail_instance(key, each[1], reason)
            ledger.fail_series(key, reason)


def _write_runs(ledger: Ledger) -> None:
    states = ("complete", "partial", None, "failed", "interrupted", "complete")
    for number, state in enumerate(states):
        day = f"2026-03-{number + 1:02}"
        run_id = ledger.begin_run("sync", f"{day}T02:00:00+00:00")
        size_bytes = 0
        with ledger.transaction():
            for step in range(1, 121):
                size_bytes += int(9e8 * (1.2 + math.sin(step / 9 + number)) * (0.2 if step in range(60, 72) else 1))
                sample = (run_id, step * 10.0, step * 90, size_bytes)
                ledger._db.execute("INSERT INTO sample VALUES (?, ?, ?, ?)", sample)
        tally = {"instances_landed": 120 * 90, "bytes_landed": size_bytes, "retries": 3, "throttled": 1,
                 "requests": 5_000, "bytes_discarded": 1_000_000, "series_added": 9 - number,
                 "series_revised": number}  # fmt: skip
        if state is not None:
            ledger.end_run(run_id, f"{day}T02:20:07+00:00", state, json.dumps(tally))


def _write_changes(ledger: Ledger) -> None:
    add = ledger._db.execute
    add("INSERT INTO swap (series_id, folder) SELECT id, folder FROM series WHERE id = 1")
    add(f"UPDATE series SET folder = '{beside_folder('')}1' WHERE id = 1")
    outgoing = "INSERT INTO outgoing (after, study, series, sop, folder, file, size_bytes, checked, reason) VALUES "
    add(f"{outgoing} (1, '1', '2', '3', 'f', '3.dcm', 500, 0, 'of a revision that is replaced')")
    add(f"{outgoing} (NULL, '1', '2', '4', 'f', '4.dcm', 700, 0, 'withdrawn')")
    feed = ("azure https://dicom.example/v2?sig=secret", "{}", "2026-03-06T02:00:00+00:00")
    add("INSERT INTO cursor (feed, position, moved_at) VALUES (?, ?, ?)", feed)
