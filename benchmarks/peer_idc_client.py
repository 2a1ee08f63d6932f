"""What `dicomhaul plan` says of all of IDC, by idc-index: `IDCClient()`, and one aggregate through its `sql_query`.

python benchmarks/peer_idc_client.py
"""

from idc_index.index import IDCClient

_AGGREGATE = """
    SELECT collection_id, Modality, license_short_name, aws_bucket, count(*) AS series,
           sum(instanceCount) AS instances, sum(series_size_MB) AS megabytes
    FROM index GROUP BY ALL ORDER BY ALL
"""


def main() -> None:
    """Print the totals."""
    client = IDCClient()  # type: ignore[no-untyped-call] # it says that it has types
    found = client.sql_query(_AGGREGATE)  # type: ignore[no-untyped-call] # likewise
    print(found[["series", "instances", "megabytes"]].sum())


if __name__ == "__main__":
    main()
