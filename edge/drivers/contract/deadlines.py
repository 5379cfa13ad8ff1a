"""How long the checks wait. Read from here each time, so that a test of the checks need not wait as long."""

from __future__ import annotations

COME_ABOUT_S = 60.0
"""For what has to come about. Only a defect reaches it."""
STOP_S = 15.0
"""For the end after `stop`. The agent leaves a driver behind after 5 s; a busy machine gets some more."""
TURN_S = 0.005
"""Between two looks."""
