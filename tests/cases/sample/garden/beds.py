# The beds of a garden, and when each was watered last.

import json
from datetime import date, timedelta
from pathlib import Path

EVERY = 3  # days


class Garden:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.beds: dict[str, date] = {}

    def load(self) -> None:
        text = self.place.read_text()
        for name, day in json.loads(text).items():
            self.beds[name] = date.fromisoformat(day)

    def save(self) -> None:
        days = {name: str(day) for name, day in self.beds.items()}
        self.place.write_text(json.dumps(days))

    def water(self, name: str, day: date) -> None:
        if name not in self.beds:
            raise KeyError(f"no bed called {name}")
        self.beds[name] = max(day, self.beds[name])

    def thirsty(self, today: date) -> list[str]:
        limit = today - timedelta(days=EVERY)
        return sorted(name for name, day in self.beds.items() if day <= limit)


def report(garden: Garden, today: date) -> str:
    names = garden.thirsty(today)
    if not names:
        return "Nothing to do."
    return "Water these: " + ", ".join(names)


def main() -> None:
    garden = Garden(Path("beds.json"))
    garden.load()
    print(report(garden, date.today()))
