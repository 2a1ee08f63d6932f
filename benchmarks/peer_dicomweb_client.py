"""dicomweb-client as a bulk downloader, as its users write it: `iter_series` in threads, and `save_as`.

    python benchmarks/peer_dicomweb_client.py URL MANIFEST OUT [--threads 4]

`iter_series` parses each instance as it comes; `retrieve_series` would hold the whole series. Both write what they have
parsed and not the bytes that came.
"""

import argparse
import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from dicomweb_client.api import DICOMwebClient


def main() -> None:
    """Save every instance of the series in MANIFEST."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("url")
    arguments.add_argument("manifest", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--threads", type=int, default=4)
    options = arguments.parse_args()
    session = requests.Session()
    adapter = requests.adapters.HTTPAdapter(pool_connections=options.threads, pool_maxsize=options.threads)
    session.mount("https://", adapter)
    client = DICOMwebClient(options.url, session=session)

    def save(row: dict[str, str]) -> None:
        study, series = row["StudyInstanceUID"], row["SeriesInstanceUID"]
        folder = options.out / series
        folder.mkdir(parents=True)
        for dataset in client.iter_series(study, series):
            dataset.save_as(folder / f"{dataset.SOPInstanceUID}.dcm", enforce_file_format=True)

    with options.manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with ThreadPoolExecutor(options.threads) as pool:
        list(pool.map(save, rows))


if __name__ == "__main__":
    main()
