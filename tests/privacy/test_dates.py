from __future__ import annotations

import datetime

from hypothesis import given
from hypothesis import strategies as st

from medseg.privacy.dates import clean_time, shift_date, shift_datetime

DATES = st.dates(min_value=datetime.date(1900, 1, 1), max_value=datetime.date(2099, 12, 31))


@given(DATES, DATES, st.integers(-3650, -365))
def test_the_interval_between_two_dates_survives_any_shift(first, second, days):
    moved = [shift_date(date.strftime("%Y%m%d"), days) for date in (first, second)]
    parsed = [datetime.date(int(text[:4]), int(text[4:6]), int(text[6:])) for text in moved]
    assert parsed[1] - parsed[0] == second - first


def test_older_and_broken_forms_are_read_or_dropped():
    assert shift_date("2020.03.01", -1) == "20200229"
    assert shift_date("20201301", -1) is None
    assert shift_date("born 1956", -1) is None
    assert shift_datetime("2020", -1) is None
    assert clean_time("10:11:12") == "101112"
    assert clean_time("1011 Novak") is None


def test_a_time_with_an_offset_becomes_local_time_of_the_file():
    assert shift_datetime("20200301003000.5+0200", 0, zone_minutes=60) == "20200229233000.5"
    assert shift_datetime("202003010030+0200", 0) == "202003010030"
    assert shift_datetime("20161231235960", -365) == "20160101235960"
