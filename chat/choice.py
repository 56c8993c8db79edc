"""Which model speaks: the one that was chosen, else what this machine has, else the built-in.

Knows nothing of discussions. Invariant: there is always a model to answer, and a choice that
cannot be met is told. Asked anew for every message, as servers come and go.
"""

from collections.abc import MutableMapping
from typing import NamedTuple

from models import BuiltIn, ModelInfo, Ollama
from shapes import Model, WorkbenchError


class Menu(NamedTuple):
    names: list[str]
    chosen: str
    notice: str  # what is amiss, if anything


class Choice:
    """`settings` keeps the chosen model's name and window."""

    WINDOWS = (8_192, 16_384, 32_768, 65_536, 131_072)

    def __init__(
        self, settings: MutableMapping[str, object], ollama: Ollama, built_in: BuiltIn
    ) -> None:
        self.settings, self.ollama, self.built_in = settings, ollama, built_in

    def window(self) -> int:
        """The window that was asked for: one size in every request to a model, because another
        one makes Ollama load it again."""
        asked = self.settings.get("window_tokens")
        return asked if asked in self.WINDOWS else self.WINDOWS[-1]

    async def menu(self) -> Menu:
        infos, notice = await self._look()
        names = [*infos, self.built_in.name]
        chosen = str(self.settings.get("model") or names[0])
        if chosen not in names:
            notice = f"{notice or f'Ollama has no model {chosen}.'} The built-in engine answers."
            return Menu(names, self.built_in.name, notice)
        made_for = infos[chosen].trained_window_tokens if chosen in infos else self.window()
        if made_for < self.window():
            notice = f"{chosen} was made for a window of {made_for:,} tokens, and gets that."
        return Menu(names, chosen, notice)

    async def speaker(self, wanted: str = "") -> tuple[Model, str]:
        """The model to ask now, and a notice when it is not the chosen one. A wanted one that is
        not there is a WorkbenchError."""
        infos, notice = await self._look()
        name = wanted or self.settings.get("model") or next(iter(infos), self.built_in.name)
        if name in infos:
            self.settings.setdefault("model", name)  # so that it is missed when it goes
            window = min(self.window(), infos[name].trained_window_tokens)
            return await self.ollama.chat(name, window), ""
        if name == self.built_in.name:
            return self.built_in, ""
        why = notice or f"Ollama has no model {name}."
        if wanted:
            known = ", ".join([*infos, self.built_in.name])
            raise WorkbenchError(why, f"There are: {known}.")
        return self.built_in, f"{why} The built-in engine answers instead."

    async def _look(self) -> tuple[dict[str, ModelInfo], str]:
        try:
            return {info.name: info for info in await self.ollama.models()}, ""
        except WorkbenchError as error:
            return {}, error.message
