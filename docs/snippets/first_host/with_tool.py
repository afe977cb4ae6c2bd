from itertools import cycle

from agentrail import AppConfig, Profile, ScriptedModel, create_app, tool
from agentrail.model import call_tools


@tool
def count_letter(word: str, letter: str) -> int:
    """Count how often a letter is in a word."""
    return word.count(letter)


assistant = Profile(id="assistant", model="scripted:any", prompt="Be brief.", tools=[count_letter])
model = ScriptedModel(
    cycle([call_tools(("count_letter", {"word": "strawberry", "letter": "r"})), "There are three."])
)

app = create_app(AppConfig(profiles=[assistant], providers=[model]))
