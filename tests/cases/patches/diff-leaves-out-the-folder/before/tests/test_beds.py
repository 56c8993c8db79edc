from datetime import date
from pathlib import Path

from garden.beds import Garden, report


def test_a_dry_bed_is_thirsty() -> None:
    garden = Garden(Path("beds.json"))
    garden.beds = {"roses": date(2024, 5, 1), "beans": date(2024, 5, 4)}
    assert garden.thirsty(date(2024, 5, 5)) == ["roses"]


def test_nothing_to_do_in_an_empty_garden() -> None:
    assert report(Garden(Path("beds.json")), date(2024, 5, 5)) == "Nothing to do."
