"""The third hostile corpus: no DICOM; every other format, and file systems that are odd themselves.

Each file lies in a folder named after its patient. `expect` says what a reader of the format would ask for: `written`
where a copy without the identities is possible and useful, `refused` where none is, `any` where both would do.
"""

from __future__ import annotations

import os
import random
import socket
import unicodedata
from collections.abc import Callable
from pathlib import Path

from tests.privacy.corpus import bundles, chunks, grids, markers, rasters, sheets
from tests.privacy.corpus.shades import han, shade
from tests.privacy.corpus.slices import Planted, Who

_ANY = (
    markers.cut_off,
    markers.no_end,
    markers.arithmetic,
    markers.twelve_bits,
    chunks.png_frames,
    chunks.png_bad_sums,
    markers.odd_markers,
    grids.nifti_extensions,
    grids.nifti_members,
    grids.nrrd_bzip2,
)


def _put(folder: Path, home: str, name: str, data: bytes) -> str:
    path = folder / home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path.relative_to(folder).as_posix()


def make_third_corpus(folder: Path, *, seed: int = 41) -> list[Planted]:
    """Write the corpus below `folder`; one entry for each file that a listing of the folder has."""
    draw = random.Random(seed)
    planted: list[Planted] = []
    groups = (
        (markers.JPEGS, "written"),
        (chunks.CHUNKED, "written"),
        (rasters.TIFFS, "written"),
        (grids.VOLUMES, "written"),
        (sheets.SHEETS, "any"),
        (bundles.ARCHIVES, "any"),
        (bundles.FOREIGN, "refused"),
        (((chunks.gif, ".gif"),), "any"),
    )
    for makers, expect in groups:
        for make, suffix in makers:
            who = Who(draw)
            home, name = f"{who.name()}_{who.number()}", f"{who.name()}{suffix}"
            path = _put(folder, home, name, make(who))
            planted.append(Planted(path, who.all, "any" if make in _ANY else expect))
    for make_pair in grids.PAIRS:
        who = Who(draw)
        home = f"{who.name()}_{who.number()}"
        for name, data in make_pair(who).items():
            planted.append(Planted(_put(folder, home, name, data), who.all, "any"))
    return planted + _named_oddly(folder, draw) + _beside(folder, draw) + _links(folder, draw)


def _named_oddly(folder: Path, draw: random.Random) -> list[Planted]:
    """Pictures whose names are the identity, as other systems write them."""
    makers: tuple[Callable[[Who], bytes], ...] = (
        lambda who: who.name().encode() + b"\xff\xfe",
        lambda who: who.name().encode() + b"\n" + who.name().encode(),
        lambda who: b"\x1b[31m" + who.name().encode() + b"\x07",
        lambda who: "\u202e".encode() + who.name()[::-1].encode(),
        lambda who: unicodedata.normalize("NFD", "Ü").encode() + who.name().encode(),
        lambda who: han(who).encode("gb18030"),
        lambda who: b"-rf " + who.name().encode(),
        lambda who: b"=cmd|" + who.name().encode(),
        lambda who: b" " + who.name().encode() + b" .",
        lambda who: (who.name() * 40).encode()[:250],
        lambda who: who.name().encode("utf-16-le").replace(b"\0", b"%00"),
        lambda who: b"CON." + who.name().encode(),
        lambda who: b"[bold red]" + who.name().encode() + b"[_red]",
        lambda who: b"'; DROP TABLE " + who.name().encode(),
    )
    planted = []
    for make in makers:
        who = Who(draw)
        home = f"{who.name()}_{who.number()}"
        name = os.fsdecode(make(who) + b".png")
        planted.append(Planted(_put(folder, home, name, chunks.png_texts(who)), who.all, "written"))
    who = Who(draw)
    deep = "/".join(who.name() for _ in range(40))
    planted.append(Planted(_put(folder, deep, "a.dcm/b.nii.gz/c.png", chunks.png_texts(who)), who.all, "written"))
    return planted


def _beside(folder: Path, draw: random.Random) -> list[Planted]:
    """What file managers leave beside the pictures."""
    planted = []
    for name, make in (
        (".DS_Store", shade),
        ("Thumbs.db", shade),
        ("desktop.ini", shade),
        ("._a.png", shade),
        ("a.png~", shade),
        ("~$letter.docx", shade),
        (".a.png.swp", shade),
        ("empty.png", lambda _: b""),
        ("empty.nii.gz", lambda _: b""),
    ):
        who = Who(draw)
        planted.append(Planted(_put(folder, f"{who.name()}_{who.number()}", name, make(who)), who.all, "refused"))
    return planted


def _links(folder: Path, draw: random.Random) -> list[Planted]:
    """Links of every kind, pipes, sockets, and a file with a hole of 9 GB."""
    who = Who(draw)
    home = folder / f"{who.name()}_{who.number()}"
    outside = folder.parent / f"outside_{who.name()}"
    outside.mkdir()
    (outside / f"{who.name()}.png").write_bytes(chunks.png_texts(who))
    first = _put(folder, home.name, f"{who.name()}.png", chunks.png_texts(who))
    planted = [Planted(first, who.all, "written")]

    def add(path: Path, expect: str) -> None:
        planted.append(Planted(path.relative_to(folder).as_posix(), who.all, expect))

    for target in (
        folder / first,
        next(outside.iterdir()),
        Path(f"/{who.name()}/none.png"),
        home / "loop.png",
        outside,
        home,
    ):
        link = home / ("loop.png" if target.name == "loop.png" else f"{who.name()}_link.png")
        link.symlink_to(target)
        add(link, "any")
    hard = home / f"{who.name()}_hard.png"
    hard.hardlink_to(folder / first)
    add(hard, "written")
    pipe = home / f"{who.name()}.nii"
    os.mkfifo(pipe)
    add(pipe, "any")
    here = os.getcwd()
    os.chdir(home)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s.png")
    os.chdir(here)
    add(home / "s.png", "any")
    big = home / f"{who.name()}_hole.nii"
    with big.open("wb") as file:
        file.write(grids.nifti_all_fields(who))
        file.truncate(9 << 30)
    add(big, "any")
    shut = home / f"{who.name()}_shut.png"
    shut.write_bytes(chunks.png_texts(who))
    shut.chmod(0)
    add(shut, "any")
    return planted
