import pytest

from medseg.wording import counted


@pytest.mark.parametrize(
    ("count", "one", "many", "expected"),
    [
        (1, "case", "", "1 case"),
        (0, "case", "", "0 cases"),
        (1024, "study", "", "1,024 studies"),
        (2, "CT series", "", "2 CT series"),
        (1, "image has", "images have", "1 image has"),
        (2, "image has", "images have", "2 images have"),
        (3, "array", "", "3 arrays"),
    ],
)
def test_a_number_agrees_with_its_noun(count: int, one: str, many: str, expected: str) -> None:
    assert counted(count, one, many) == expected
