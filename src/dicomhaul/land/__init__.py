"""Bytes to their place.

1. `layout` turns what is known of a series into a folder below the destination: pure, and trusting nothing.
2. `sink` gathers the parts of one exchange as views, never copying them, and hands batches of 1 MiB to a writer.
3. `writer` is a thread that owns a part's descriptor from open to close: it writes, hashes and syncs.
4. `folder` moves synced parts from staging to their final path and syncs the folders; `record` calls it between the
   commit that announces the move and the commit that records it.
"""
