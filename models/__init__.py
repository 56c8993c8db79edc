"""Where words come from: Ollama, or built-in answers that need no language model.

Knows nothing of discussions, pages or the database. Invariant: closing a stream stops the work.
"""

from models.builtin import BuiltIn
from models.ollama import Calibration, Ollama, PromptTooLong

__all__ = ["BuiltIn", "Calibration", "Ollama", "PromptTooLong"]
