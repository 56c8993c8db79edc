"""What was changed through this program: who proposed it, what was found, what became of it.

Every row is a commit; what was found is known of those that were applied in the page.
"""

from fasthtml import components as c
from fasthtml.core import APIRouter, HtmxResponseHeaders

from web.desk import Desk
from web.page import Shell

routes = APIRouter(body_wrap=Shell)


@routes("/improvements")
def improvements(desk: Desk) -> tuple:
    rows, newest = [], desk.repo.head()
    for change in desk.branch.changes():
        subject, found = change.subject, ""
        for row in desk.discussions.proposals(commit_sha=change.commit):
            subject = c.A(subject, href=f"/discussion/{row['discussion']}#p{row['id']}")
            notes = desk.discussions.verdict(row).notes
            bad = {note.check for note in notes if not note.ok}
            checks = dict.fromkeys(note.check for note in notes)
            found = ", ".join(f"{check} {'✗' if check in bad else '✓'}" for check in checks)
        post = {"hx_post": f"/improvements/{change.commit}", "hx_swap": "none"}
        movable = change.state != "kept" and change.commit != newest
        go = c.Button("Go to here", **post) if movable else ""
        when, who = change.date[:16].replace("T", " "), change.model or "the shell"
        rows.append(c.Tr(*map(c.Td, (when, subject, who, found, change.state, go))))
    about = c.P("Every change that was applied, the newest first, and who proposed it.")
    return c.Title("Improvements"), c.H1("Improvements"), about, c.Table(*rows)


@routes("/improvements/{commit}", methods=["POST"])
async def go(desk: Desk, commit: str) -> HtmxResponseHeaders:
    await desk.step("go", commit)
    return HtmxResponseHeaders(refresh="true")
