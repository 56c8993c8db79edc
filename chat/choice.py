"""Which model speaks: the one that was chosen, else what this machine has, else the built-in.

Knows nothing of discussions. Invariant: there is always a model to answer, and a choice that
cannot be met is told, not hidden. Asked anew for every message, so that a server that was started
or stopped meanwhile is noticed.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass

from models import BuiltIn, ModelInfo, Ollama
from shapes import Model, WorkbenchError

BUILT_IN = "built-in"


@dataclass(frozen=True)
class Menu:
    """What can be chosen now, and a sentence when something is amiss."""

    names: tuple[str, ...]
    chosen: str
    window_tokens: int
    notice: str


class Choice:
    """`settings` keeps the chosen model's name and window."""

    WINDOWS = (8_192, 16_384, 32_768, 65_536, 131_072)

    def __init__(
        self, settings: MutableMapping[str, object], ollama: Ollama, built_in: BuiltIn
    ) -> None:
        self.settings = settings
        self.ollama = ollama
        self.built_in = built_in

    async def menu(self) -> Menu:
        """Every local model, the one that would speak now, and why it is not another."""
        infos, notice = await self._look()
        names = (*(info.name for info in infos), BUILT_IN)
        wanted = str(self.settings.get("model") or names[0])
        if wanted not in names:
            gone = notice or f"{wanted} is no longer among Ollama's models."
            return Menu((*names, wanted), BUILT_IN, 0, f"{gone} The built-in engine answers.")
        info = next((info for info in infos if info.name == wanted), None)
        window = self._window(info) if info else self.built_in.window_tokens
        asked = self.settings.get("window_tokens")
        if info and isinstance(asked, int) and asked > window:
            notice = f"{wanted} was made for {window:,} tokens: its window is that, not {asked:,}."
        return Menu(names, wanted, window, notice)

    async def speaker(self, wanted: str = "") -> tuple[Model, str]:
        """The model to ask now, and a notice when it is not the wanted one."""
        infos, notice = await self._look()
        name = wanted or str(self.settings.get("model") or "")
        if name == BUILT_IN or (not name and not infos):
            return self.built_in, ""
        info = next((info for info in infos if not name or info.name == name), None)
        if info is not None:
            return await self.ollama.chat(info.name, self._window(info)), ""
        why = notice or f"Ollama has no model {name!r}."
        if wanted:
            known = ", ".join(info.name for info in infos) or "none"
            raise WorkbenchError(why, f"Its models are: {known}. Or use {BUILT_IN}.")
        return self.built_in, f"{why} The built-in engine answers instead."

    async def _look(self) -> tuple[list[ModelInfo], str]:
        try:
            return await self.ollama.models(), ""
        except WorkbenchError as error:
            return [], error.message

    def _window(self, info: ModelInfo) -> int:
        """One size for a model in every request: another size makes Ollama load it again."""
        asked = self.settings.get("window_tokens")
        window = asked if isinstance(asked, int) else self.WINDOWS[-1]
        return min(window, info.trained_window_tokens)
