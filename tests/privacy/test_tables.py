from __future__ import annotations

import pytest

from medseg.errors import ReadError
from medseg.privacy.pseudonym import Pseudonymiser
from medseg.privacy.tables import clean_table

PSEUDONYMS = Pseudonymiser(bytes(range(32)))
TABLE = b"""image_id,patient_id,age_approx,sex,diagnosis,doctor,notes,diameter_mm
ISIC_1,4711,93,female,nevus,Dr Novak,see Novak,4.5
ISIC_2,4711,55,female,Novakova,Dr Novak,,12345678
"""


def test_known_columns_stay_and_every_other_one_is_counted_out():
    clean, left_out = clean_table(TABLE, names={"ISIC_1": "CAAA"}, pseudonyms=PSEUDONYMS)
    patient, other = PSEUDONYMS.patient("4711"), PSEUDONYMS.case("ISIC_2")
    assert left_out == 2
    assert clean.decode().splitlines() == [
        "image_id,patient_id,age_approx,sex,diagnosis,diameter_mm",
        f"CAAA,{patient},90,female,nevus,4.5",
        f"{other},{patient},55,female,,",
    ]


@pytest.mark.parametrize("data", [b"", b"a,b\n", b"name of doctor,notes\nNovak,x\n", b"\xff\xfe\x00image\n1\n"])
def test_a_file_without_a_known_column_is_refused(data):
    with pytest.raises(ReadError):
        clean_table(data, names={}, pseudonyms=PSEUDONYMS)
