"""The scan of a header against pydicom."""

from __future__ import annotations

from pathlib import Path

import pydicom


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
