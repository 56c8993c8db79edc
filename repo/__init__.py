"""The one reader of the target repository: files, safe paths, history, symbols."""

from repo.files import Repo
from repo.symbols import Index

__all__ = ["Index", "Repo"]
