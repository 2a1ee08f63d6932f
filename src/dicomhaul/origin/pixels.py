"""Pixels that nobody can take for a patient: the word SYNTHETIC, over and over, on a grey ramp. Pure.

A picture is one band of `BAND_ROWS` rows, repeated: however large an instance is, only its band is ever in
memory.
"""

import math
from array import array
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, repeat

BAND_ROWS = 16
_WORD = "SYNTHETIC"
_MIN_COLUMNS = 64  # the word is 54 columns wide
_GLYPHS = {  # 5 x 7, a number a row, its highest of five bits to the left
    "S": (15, 16, 16, 14, 1, 1, 30),
    "Y": (17, 17, 10, 4, 4, 4, 4),
    "N": (17, 25, 21, 21, 19, 17, 17),
    "T": (31, 4, 4, 4, 4, 4, 4),
    "H": (17, 17, 17, 31, 17, 17, 17),
    "E": (31, 16, 16, 30, 16, 16, 31),
    "I": (14, 4, 4, 4, 4, 4, 14),
    "C": (14, 17, 16, 16, 16, 17, 14),
}


@dataclass(frozen=True, slots=True)
class Geometry:
    """The shape of pixel data. `bits` is 1, 8 or 16 for each of `samples`; rows are a multiple of BAND_ROWS."""

    rows: int
    columns: int
    frames: int
    bits: int
    samples: int

    @property
    def frame_bytes(self) -> int:
        """Length of one frame, uncompressed; always even."""
        return self.rows * self.columns * self.samples * self.bits // 8

    @property
    def bands(self) -> int:
        """How many bands make up all frames."""
        return self.frames * self.rows // BAND_ROWS


def fit_image(size_bytes: int, *, bits: int) -> Geometry:
    """Return a single grey frame, about square, of about `size_bytes` (at least 64 x 16 pixels)."""
    pixels = size_bytes * 8 // bits
    columns = max(_MIN_COLUMNS, math.isqrt(pixels) // 8 * 8)
    rows = max(1, round(pixels / columns / BAND_ROWS)) * BAND_ROWS
    return Geometry(rows, columns, 1, bits, 1)


def fit_tiles(size_bytes: int, *, bits: int, samples: int) -> Geometry:
    """Return square frames, as many as make up about `size_bytes`: at least one of 64 x 64, four if larger."""
    side = 512
    while side > _MIN_COLUMNS and 4 * side * side * samples * bits // 8 > size_bytes:
        side //= 2
    frame_bytes = side * side * samples * bits // 8
    return Geometry(side, side, max(1, round(size_bytes / frame_bytes)), bits, samples)


@lru_cache(maxsize=64)
def draw_band(columns: int, bits: int, samples: int) -> bytes:
    """Return BAND_ROWS rows of pixels, little endian; 1-bit pixels are packed, first pixel in the lowest bit."""
    marks = [[_is_marked(row, column) for column in range(columns)] for row in range(BAND_ROWS)]
    if bits == 1:
        flat = list(chain.from_iterable(marks))
        return bytes(sum(flat[i + bit] << bit for bit in range(8)) for i in range(0, len(flat), 8))
    bright, ramp = (255, 96) if bits == 8 else (2000, 1000)
    grey = [bright if mark else ramp * column // columns for row in marks for column, mark in enumerate(row)]
    values = array("B" if bits == 8 else "H", chain.from_iterable(repeat(value, samples) for value in grey))
    return values.tobytes()


def _is_marked(row: int, column: int) -> bool:
    place, across = divmod(column % (6 * (len(_WORD) + 1)), 6)
    down = row - 4
    if place >= len(_WORD) or across == 5 or not 0 <= down < 7:
        return False
    return bool(_GLYPHS[_WORD[place]][down] >> (4 - across) & 1)
