"""Quiet hours as Python's zoneinfo sees them, by walking the wall clock minute by minute.

Reads {"zones": [{"zone", "first", "asked": [{"at", "start", "end"}]}]} and prints the release of
its zones, and for each zone the ends of what is quiet: null where it is not. Zones it does not know
are null as a whole.
"""

import json
import sys
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import tzdata

MINUTE = 60
# Past the end of any window that is open at one of the first minutes.
WALKED = 28 * 60


def ends(case):
    try:
        zone = ZoneInfo(case["zone"])
    except ZoneInfoNotFoundError:
        return None
    first = case["first"]
    walls = []
    for minute in range(WALKED):
        wall = datetime.fromtimestamp(first + minute * MINUTE, zone)
        walls.append(wall.hour * 60 + wall.minute)
    return [end(walls, first, asked) for asked in case["asked"]]


def end(walls, first, asked):
    start, stop, at = asked["start"], asked["end"], asked["at"]

    def is_quiet(wall):
        if start < stop:
            return start <= wall < stop
        return wall >= start or wall < stop

    place = (at - first) // MINUTE
    if not is_quiet(walls[place]):
        return None
    while is_quiet(walls[place]):
        place += 1
    return first + place * MINUTE


asked = json.load(sys.stdin)
print(json.dumps({"release": tzdata.IANA_VERSION, "ends": [ends(case) for case in asked["zones"]]}))
