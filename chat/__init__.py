"""One turn from question to stored answer; discussions that outlive every process."""

from chat.briefing import ASSISTANT, room
from chat.choice import Choice
from chat.desk import Chat
from chat.discussions import Discussions

__all__ = ["ASSISTANT", "Chat", "Choice", "Discussions", "room"]
