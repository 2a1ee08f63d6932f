"""Bytes and what they mean, pure: no I/O, no clock, no `async`.

1. `media_type` reads a Content-Type.
2. `multipart` cuts a body into parts while it arrives; `framing` picks the framing of an answer.
3. `part10` skims a part for the UIDs that name it and finds out whether it is whole; `data_set` walks its elements.
4. `dicom_json` reads the answers of a search.
5. `uri` builds resource paths.

Everything that comes from a server is hostile here: sizes are bounded, shapes are checked, and what is wrong
ends in an error of `dicomhaul.errors`.
"""
