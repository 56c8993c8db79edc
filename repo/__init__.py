"""The one reader of the target repository: files, safe paths, history, units, symbols."""

from repo.files import Repo
from repo.symbols import Source, terms
from repo.units import Unit

__all__ = ["Repo", "Source", "Unit", "terms"]
