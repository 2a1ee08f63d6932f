"""Shows and logs what happens. It listens: nothing that hauls knows these names.

`display` chooses how a run is shown: `progress` on a terminal, `lines` elsewhere. `logs` keeps the log of the command
line, through `redact`. `wording` and `figures` put events and numbers into words. All of it goes to stderr or to a
file, never to stdout.
"""

from dicomhaul.observe.display import Display, Silence, choose_display

__all__ = ["Display", "Silence", "choose_display"]
