"""The one reader of the target repository: files, safe paths, history, symbols."""

from repo.files import Repo

__all__ = ["Repo"]
