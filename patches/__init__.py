"""From a reply to a verdict to a commit: find, read, fit, check; apply, undo, redo, keep.

`Branch` is the applying half, the only writer of source; `chat` may not import it.
"""

from patches.apply import Branch
from patches.check import preview
from patches.codemods import rewrite
from patches.read import find
from patches.trial import run_trial

__all__ = ["Branch", "find", "preview", "rewrite", "run_trial"]
