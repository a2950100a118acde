"""The scan of a header against pydicom."""

from __future__ import annotations

from pathlib import Path

import pydicom

from tests.data.dicom_factory import make_series


def test_the_scan_reads_what_pydicom_reads(test_data: Path) -> None:
    from medseg.data.dicom_header import _KEYWORD_OF, _read_facts
    from medseg.data.dicom_scan import scan_elements

    scanned = 0
    paths = [p for p in sorted(test_data.glob("dicom_*/**/*")) if p.is_file()]
    for path in paths[:: max(1, len(paths) // 150)]:
        facts = scan_elements(path, _KEYWORD_OF)
        if facts is None:
            continue
        scanned += 1
        facts.pop("PixelPlace", None)
        for keyword, value in _read_facts(path).items():
            if keyword.startswith("PixelPadding"):
                assert (facts[keyword] - value) % 65536 == 0  # Signed or not is settled later, with the pixels.
                continue
            ours = facts.get(keyword, "")
            texts = [str(v) for v in (ours if isinstance(ours, tuple) else [ours])]
            several = isinstance(value, pydicom.multival.MultiValue)
            expected = list(value) if several else ["" if value is None else value]
            for text, other in zip(texts, expected, strict=True):
                assert text == str(other).strip() or float(text) == float(other), (path.name, keyword)
    assert scanned > 100


def test_long_values_are_read_and_not_kept(tmp_path: Path) -> None:
    from medseg.data.dicom_scan import _MADE, scan_elements

    series = make_series((1, 4, 4), extra={"SeriesDescription": "x" * 60_000})
    path = series.write(tmp_path)[0]
    facts = scan_elements(path, {0x0008103E: "SeriesDescription", 0x00280010: "Rows"})
    assert facts is not None
    assert (len(facts["SeriesDescription"]), facts["Rows"]) == (60_000, 4)
    assert max(len(raw) for _, raw in _MADE) <= 256
