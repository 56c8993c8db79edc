from garden.rain import fell


def test_a_drop_is_no_rain() -> None:
    assert not fell(0.1)
