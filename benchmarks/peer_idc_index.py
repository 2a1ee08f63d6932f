"""idc-index's own download: `IDCClient.download_from_manifest`, of which only the address of the buckets is another.

    python benchmarks/peer_idc_index.py ENDPOINT MANIFEST OUT

It resolves the manifest against its index and runs s5cmd. Its bar of progress, which it has by default, is left out: it
looks at every file twice a second.
"""

import sys

from idc_index import index


def main() -> None:
    """Download everything in MANIFEST."""
    endpoint, manifest, out = sys.argv[1:]
    index.aws_endpoint_url = endpoint
    client = index.IDCClient()  # type: ignore[no-untyped-call] # it says that it has types
    client.download_from_manifest(manifest, out, quiet=True, validate_manifest=False, show_progress_bar=False)


if __name__ == "__main__":
    main()
