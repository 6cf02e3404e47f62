"""A picture of pixels with lines and words, as PNG bytes: no plotting library is needed to draw a few curves.

Letters are 5 columns of 8 bits, the lowest bit on top; the shapes are those of the classic 5x7 character set of displays.
"""

import struct
import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

Colour = tuple[int, int, int]

WHITE, BLACK, GREY, PALE = (255, 255, 255), (30, 30, 30), (120, 120, 120), (222, 222, 222)
# From the blank to the tilde, five bytes each.
_SHAPES = bytes.fromhex(
    "0000000000 00005f0000 0007000700 147f147f14 242a7f2a12 2313086462 3649562050 0008070300 001c224100 0041221c00"
    "2a1c7f1c2a 08083e0808 0080703000 0808080808 0000606000 2010080402 3e5149453e 00427f4000 7249494946 2141494d33"
    "1814127f10 2745454539 3c4a494931 4121110907 3649494936 464949291e 0000140000 0040340000 0008142241 1414141414"
    "0041221408 0201590906 3e415d594e 7c1211127c 7f49494936 3e41414122 7f4141413e 7f49494941 7f09090901 3e41415173"
    "7f0808087f 00417f4100 2040413f01 7f08142241 7f40404040 7f021c027f 7f0408107f 3e4141413e 7f09090906 3e4151215e"
    "7f09192946 2649494932 03017f0103 3f4040403f 1f2040201f 3f4038403f 6314081463 0304780403 6159494d43 007f414141"
    "0204081020 004141417f 0402010204 4040404040 0003070800 2054547840 7f28444438 3844444428 384444287f 3854545418"
    "00087e0902 18a4a49c78 7f08040478 00447d4000 2040403d00 7f10284400 00417f4000 7c04780478 7c08040478 3844444438"
    "fc18242418 18242418fc 7c08040408 4854545424 04043f4424 3c4040207c 1c2040201c 3c4030403c 4428102844 4c9090907c"
    "4464544c44 0008364100 0000770000 0041360800 0201020402".replace(" ", "")
)  # fmt: skip
LETTER_WIDTH, LETTER_HEIGHT = 6, 8


class Picture:
    """A white picture. Places are in pixels, from the upper left corner; what lies outside is not drawn."""

    def __init__(self, width: int, height: int) -> None:
        self.pixels = np.full((height, width, 3), 255, dtype=np.uint8)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """A filled rectangle, at least one pixel wide."""
        rows = slice(max(round(top), 0), max(round(bottom), round(top) + 1, 0))
        columns = slice(max(round(left), 0), max(round(right), round(left) + 1, 0))
        self.pixels[rows, columns] = colour

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: int = 2) -> None:
        """Straight lines from point to point."""
        for (from_x, from_y), (to_x, to_y) in pairwise(points):
            steps = max(int(max(abs(to_x - from_x), abs(to_y - from_y)) * 2), 1)
            for share in np.linspace(0.0, 1.0, steps + 1):
                x, y = from_x + share * (to_x - from_x), from_y + share * (to_y - from_y)
                self.box(x - width / 2, y - width / 2, x + width / 2, y + width / 2, colour)

    def text(
        self, x: float, y: float, words: str, colour: Colour = BLACK, size: int = 1, anchor: str = "start"
    ) -> None:
        """Words, whose upper left corner (or the middle, or the end, of whose top) is there. Other letters than ASCII are `?`."""
        long = LETTER_WIDTH * size * len(words)
        left = x - {"start": 0, "middle": long / 2, "end": long}[anchor]
        for place, letter in enumerate(words):
            code = ord(letter) - 32 if 32 <= ord(letter) < 127 else ord("?") - 32
            for column, bits in enumerate(_SHAPES[5 * code : 5 * code + 5]):
                for row in range(LETTER_HEIGHT):
                    if bits >> row & 1:
                        at_x, at_y = left + size * (LETTER_WIDTH * place + column), y + size * row
                        self.box(at_x, at_y, at_x + size, at_y + size, colour)

    def png(self) -> bytes:
        """The file (PNG, ISO/IEC 15948: true colour, 8 bits, no filter)."""
        height, width, _ = self.pixels.shape
        rows = np.hstack([np.zeros((height, 1), np.uint8), self.pixels.reshape(height, width * 3)])
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
