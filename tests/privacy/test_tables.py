from __future__ import annotations

import pytest

from medseg.errors import ReadError
from medseg.privacy.fields import FieldRules
from medseg.privacy.pseudonym import Pseudonymiser
from medseg.privacy.tables import clean_table

PSEUDONYMS = Pseudonymiser(bytes(range(32)))


def rules(names: dict[str, str], *, characteristics: bool = True) -> FieldRules:
    return FieldRules(names, pseudonyms=PSEUDONYMS, characteristics=characteristics)


TABLE = b"""image_id,patient_id,age_approx,sex,diagnosis,doctor,notes,diameter_mm
ISIC_1,4711,93,female,nevus,Dr Novak,see Novak,4.5
ISIC_2,4711,55,female,Novakova,Dr Novak,,12345678
"""


def test_known_columns_stay_and_every_other_one_is_counted_out():
    clean, left_out = clean_table(TABLE, rules=rules({"ISIC_1": "CAAA"}))
    patient, other = PSEUDONYMS.patient("4711"), PSEUDONYMS.case("ISIC_2")
    assert left_out == 2
    assert clean.decode().splitlines() == [
        "image_id,patient_id,age_approx,sex,diagnosis,diameter_mm",
        f"CAAA,{patient},90,female,nevus,4.5",
        f"{other},{patient},55,female,,",
    ]


def test_age_and_sex_go_where_the_profile_keeps_no_characteristics_of_patients():
    clean, left_out = clean_table(TABLE, rules=rules({}, characteristics=False))
    assert left_out == 4
    assert clean.decode().splitlines()[0] == "image_id,patient_id,diagnosis,diameter_mm"


@pytest.mark.parametrize("data", [b"", b"a,b\n", b"name of doctor,notes\nNovak,x\n", b"\xff\xfe\x00image\n1\n"])
def test_a_file_without_a_known_column_is_refused(data):
    with pytest.raises(ReadError):
        clean_table(data, rules=rules({}))


def test_digits_of_other_scripts_are_no_numbers_and_a_column_is_named_in_ascii():
    clean, _ = clean_table("age,\u212aernel\n\uff16\uff10,CT\n70,CT\n".encode(), rules=rules({}))
    assert clean.decode().splitlines() == ["age,kernel", ",CT", "70,CT"]
