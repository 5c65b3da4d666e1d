"""Color profiles, PNGs and TIFFs written byte by byte, which Pillow reads but cannot write."""

import struct
import zlib

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
SRGB = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)  # -> XYZ, D50
ADOBE = np.array(
    [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
)


def fixed_point(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def profile(space: bytes, tags: dict[bytes, bytes], connection: bytes = b"XYZ ") -> bytes:
    """Return an ICC profile of version 2 (ICC.1:2001-04, section 6)."""
    name = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = {
        b"desc": name,
        b"wtpt": b"XYZ \0\0\0\0" + fixed_point(*D50),
        b"cprt": b"text\0\0\0\0none\0",
        **tags,
    }
    index, data = struct.pack(">I", len(tags)), b""
    for key, value in tags.items():
        index += key + struct.pack(">2I", 132 + 12 * len(tags) + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    device = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(">8xI4s4s4s", 0x02200000, device, space, connection)
    date = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    head += date + b"acsp" + bytes(28) + fixed_point(*D50)
    blob = head.ljust(128, b"\0") + index + data
    return struct.pack(">I", len(blob)) + blob[4:]


def gamma(power: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(power * 256))


def linear(value: float | np.ndarray) -> np.ndarray:
    """Return linear light for sRGB values in 0..1 (IEC 61966-2-1)."""
    srgb = np.asarray(value)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def encoded(light: np.ndarray) -> np.ndarray:
    """Return sRGB values in 0..255 for linear light in 0..1."""
    curve = 1.055 * light.clip(0) ** (1 / 2.4) - 0.055
    return 255 * np.where(light <= 0.0031308, light * 12.92, curve)


def rgb_profile(to_xyz: np.ndarray, curve: bytes) -> bytes:
    columns = {
        f"{name}XYZ".encode(): b"XYZ \0\0\0\0" + fixed_point(*to_xyz[:, i])
        for i, name in enumerate("rgb")
    }
    return profile(b"RGB ", columns | {f"{name}TRC".encode(): curve for name in "rgb"})


def gray_profile(curve: bytes) -> bytes:
    return profile(b"GRAY", {b"kTRC": curve})


def cmyk_profile() -> bytes:
    """Return a profile with white paper and black ink; cyan alone is gray, L* 50.2 (128 of 255)."""
    nodes = np.zeros((2, 2, 2, 2), np.uint8)
    nodes[0, 0, 0, 0], nodes[1, 0, 0, 0] = 255, 128
    lab = np.stack([nodes, np.full_like(nodes, 128), np.full_like(nodes, 128)], -1)
    ramp = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + fixed_point(1, 0, 0, 0, 1, 0, 0, 0, 1)
    return profile(b"CMYK", {b"A2B0": table + ramp * 4 + lab.tobytes() + ramp * 3}, b"Lab ")


def table() -> bytes:
    """Return sRGB's curve as a table of 1,024 numbers, which many files have."""
    values = (65535 * linear(np.arange(1024) / 1023)).round().astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", 1024) + values.tobytes()


def png(
    width: int, depth: int, kind: int, row: bytes, *more: tuple[bytes, bytes], height: int = 1
) -> bytes:
    """Return a PNG file of a row of pixels, repeated `height` times."""
    head = struct.pack(">2I5B", width, height, depth, kind, 0, 0, 0)
    data = zlib.compress((b"\0" + row) * height)
    parts = [(b"IHDR", head), *more, (b"IDAT", data), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def pack_bits(samples: list[int], bits: int) -> bytes:
    """Return a row of samples of 1 to 16 bits, most significant bit first, in whole bytes."""
    text = "".join(f"{sample:0{bits}b}" for sample in samples)
    return bytes(int(text[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(text), 8))


def gray_tiff(
    data: bytes,
    width: int,
    bits: int,
    *,
    is_white_zero: bool = False,
    sample_format: int = 1,
    order: str = "<",
    tile: int | None = None,
    compression: int = 1,
    orientation: int = 1,
) -> bytes:
    """Return a TIFF file of one row of gray samples, or of one square tile.

    `sample_format`: 1 unsigned, 2 signed, 3 float; `compression`: 1 none, 8 deflate.
    """
    data += bytes(len(data) % 2)
    strips = [(273, 4, 8), (278, 3, 1), (279, 4, len(data))]
    if tile is not None:
        strips = [(322, 4, tile), (323, 4, tile), (324, 4, 8), (325, 4, len(data))]
    tags = [(256, 3, width), (257, 3, 1), (258, 3, bits), (259, 3, compression)]
    tags += [(262, 3, 0 if is_white_zero else 1), (274, 3, orientation), (277, 3, 1), *strips]
    tags = sorted([*tags, (339, 3, sample_format)])
    rows = b"".join(
        struct.pack(f"{order}HHI", key, kind, 1)
        + (struct.pack(f"{order}HH", value, 0) if kind == 3 else struct.pack(f"{order}I", value))
        for key, kind, value in tags
    )
    signature = b"II*\0" if order == "<" else b"MM\0*"
    head = signature + struct.pack(f"{order}I", 8 + len(data))
    return b"".join([head, data, struct.pack(f"{order}H", len(tags)), rows, bytes(4)])


def many_page_tiff(pages: int) -> bytes:
    """Return a TIFF file of pages of one black pixel, which share their data."""
    tags = [(256, 3, 1), (257, 3, 1), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8)]
    tags += [(277, 3, 1), (278, 3, 1), (279, 4, 1)]
    rows = b"".join(struct.pack("<HHIHH", key, kind, 1, value, 0) for key, kind, value in tags)
    length = 2 + len(rows) + 4
    starts = [10 + length * (page + 1) for page in range(pages - 1)] + [0]
    directories = [
        struct.pack("<H", len(tags)) + rows + struct.pack("<I", start) for start in starts
    ]
    return b"II*\0" + struct.pack("<I", 10) + bytes(2) + b"".join(directories)


def tiff(pixels: np.ndarray) -> bytes:
    """Return an uncompressed TIFF file of (H, W, C) 16-bit pixels.

    Of four channels the last is unassociated alpha.
    """
    height, width, channels = pixels.shape
    data = pixels.astype("<u2").tobytes()
    depths = 8 + len(data)
    tags = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, channels, depths),
        (259, 3, 1, 1),  # no compression
        (262, 3, 1, 2),  # RGB
        (273, 4, 1, 8),  # the offset of the pixels
        (277, 3, 1, channels),
        (278, 3, 1, height),
        (279, 4, 1, len(data)),
    ]
    tags += [(338, 3, 1, 2)] * (channels == 4)
    rows = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = b"II*\0" + struct.pack("<I", depths + 2 * channels)
    bits = struct.pack(f"<{channels}H", *[16] * channels)
    return b"".join([head, data, bits, struct.pack("<H", len(tags)), rows, bytes(4)])
