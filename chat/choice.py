"""Which model speaks: the one that was chosen, else what this machine has, else the built-in.

Knows nothing of discussions. Invariant: there is always a model to answer, and a choice that
cannot be met is told. Asked anew for every message, as servers come and go.
"""

from collections.abc import MutableMapping

from models import BuiltIn, Ollama
from shapes import Model, WorkbenchError, frozen


@frozen
class Menu:
    names: list[str]
    chosen: str
    notice: str  # what is amiss


@frozen
class Choice:
    """`settings` keeps the chosen model's name and window."""

    WINDOWS = (8_192, 16_384, 32_768, 65_536, 131_072)
    settings: MutableMapping[str, object]
    ollama: Ollama
    built_in: BuiltIn

    def window(self) -> int:
        """One size for every request to a model: for another one Ollama loads it again."""
        asked = self.settings.get("window_tokens")
        return asked if asked in self.WINDOWS else self.WINDOWS[-1]

    async def menu(self, wanted: str = "") -> Menu:
        """What there is, and which of it speaks: `wanted`, else the chosen, if it is there."""
        trained, notice = {self.built_in.name: self.window()}, ""
        try:
            found = await self.ollama.models()
            trained = {info.name: info.trained_window_tokens for info in found} | trained
        except WorkbenchError as error:
            notice = error.message
        chosen = wanted or str(self.settings.get("model") or next(iter(trained)))
        if chosen not in trained:
            notice = f"{notice or f'Ollama has no model {chosen}.'} The built-in engine can answer."
            chosen = self.built_in.name
        elif trained[chosen] < self.window():
            notice = f"{chosen} was made for a window of {trained[chosen]:,} tokens: it gets that."
        return Menu(list(trained), chosen, notice)

    async def speaker(self, wanted: str = "") -> tuple[Model, str]:
        """The model to ask now, and a notice when it is not the chosen one; WorkbenchError when
        it is not the wanted one."""
        menu = await self.menu(wanted)
        if wanted not in ("", menu.chosen):
            raise WorkbenchError(menu.notice, f"There are: {', '.join(menu.names)}.")
        if menu.chosen != self.built_in.name:
            self.settings.setdefault("model", menu.chosen)  # so that it is missed when it goes
            return await self.ollama.chat(menu.chosen, self.window()), ""
        asked = wanted or self.settings.get("model") or menu.chosen
        return self.built_in, menu.notice if asked != menu.chosen else ""
