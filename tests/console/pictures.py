"""Small pictures of a page. It has few colours: a palette holds them, and the file is a third of what the browser writes."""

import asyncio
import base64
import struct
import zlib
from pathlib import Path

import numpy as np
from playwright.async_api import Page

_PIXELS = """async (text) => {
  const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], {type: "image/png"}));
  const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
  context.drawImage(image, 0, 0);
  const {data} = context.getImageData(0, 0, image.width, image.height);
  let found = "";
  for (let at = 0; at < data.length; at += 32768) found += String.fromCharCode(...data.subarray(at, at + 32768));
  return btoa(found);
}"""
_COLOURS = 256


async def picture_of(page: Page, path: Path, width: int, height: int) -> None:
    """Write a picture of the upper left part of what is seen."""
    shot = await page.screenshot(clip={"x": 0, "y": 0, "width": width, "height": height})
    raw = base64.b64decode(await page.evaluate(_PIXELS, base64.b64encode(shot).decode()))
    pixels = np.frombuffer(raw, np.uint8).reshape(height, width, 4)[..., :3]
    await asyncio.to_thread(path.write_bytes, png(pixels))


def png(pixels: np.ndarray) -> bytes:
    """Pixels (height, width, 3) as a PNG with a palette; colours that lie close together become one if there are too many."""
    height, width = pixels.shape[:2]
    for steps in (255, 63, 31, 15, 6):
        rounded = np.rint(np.rint(pixels / 255 * steps) * (255 / steps)).astype(np.uint8)
        colours, index = np.unique(rounded.reshape(-1, 3), axis=0, return_inverse=True)
        if len(colours) <= _COLOURS:
            break
    lines = np.zeros((height, width + 1), np.uint8)  # each line begins with its filter: none
    lines[:, 1:] = index.reshape(height, width)
    parts = (
        (b"IHDR", struct.pack(">2I5B", width, height, 8, 3, 0, 0, 0)), (b"PLTE", colours.tobytes()),
        (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""),
    )  # fmt: skip
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
