"""The one reader of the target repository: files, safe paths, history, units, symbols."""

from repo.files import Repo
from repo.symbols import TEST, Source, terms
from repo.units import Unit

__all__ = ["TEST", "Repo", "Source", "Unit", "terms"]
