"""How wrong passwords are slowed down. Pure: the clock is passed in; in memory, and bounded there.

The policy, in which a pause is 1 s after FREE_TRIES wrong passwords, doubles with each further one
up to LONGEST_PAUSE, and runs from the last wrong one:

- An address makes a pause between its tries, by how many of them were wrong, whatever names it
  gave. It cannot better that by asking in parallel: what is still being checked counts. (Only an
  address that was not wrong yet may have more under way, for clients that open many connections.)
- An address that was wrong before also makes the pause of the name it tries, by how often that name
  was tried wrong, from wherever. So of many addresses that try one name together, each gets one try
  and then one a minute.
- A name under attack is never closed: an address that was not wrong lately never waits, and one
  that was need only be quiet for LONGEST_PAUSE. A try refused during a pause is not checked, not
  counted, and does not lengthen the pause. (Who shares an address with an attacker that never rests
  may have to try more than once; a key is the way out.)
- Names that do not exist are counted like others, so that nothing tells them apart.
- After FORGOTTEN_AFTER of quiet all is forgotten.
- Logins by key are not asked about here and never wait.

An IPv6 network of 64 bits is one address, since a subscriber has that many. When the tables are
full, who was wrong least often is forgotten first, so that no flood of names or addresses hides an
attack.
"""

from __future__ import annotations

import heapq
import ipaddress
from dataclasses import dataclass

FREE_TRIES = 5
FREE_AT_ONCE = 10
LONGEST_PAUSE = 60.0
FORGOTTEN_AFTER = 900.0
MOST_ENTRIES = 10_000
_LONGEST_NAME = 64  # no user name is as long, so that cut ones meet no real one


@dataclass
class _Tries:
    """wrong: how many. last: when the last wrong one was. checking: how many are under way."""

    wrong: int = 0
    last: float = 0.0
    checking: int = 0


class Throttle:
    """Who must wait before a password is checked. Times are seconds of one monotonic clock. Not for
    several threads: to be called on the event loop."""

    def __init__(self, most_entries: int = MOST_ENTRIES) -> None:
        self._addresses: dict[str, _Tries] = {}
        self._names: dict[str, _Tries] = {}
        self._most = most_entries

    def begin(self, address: str, name: str, now: float) -> float:
        """Ask whether a password may be checked. 0: yes, now, and `end` must follow, whatever
        happens. Otherwise the seconds to wait: refuse, or keep the client waiting and ask again."""
        by_address = self._of(self._addresses, _network(address), now)
        by_name = self._of(self._names, name[:_LONGEST_NAME], now)
        if by_address.wrong:
            pause = max(_pause(by_address.wrong + by_address.checking), _pause(by_name.wrong))
        else:
            pause = _pause(by_address.checking + FREE_TRIES - FREE_AT_ONCE)
        # What is being checked may be wrong, and then the pause runs from that moment.
        since = now if by_address.checking else by_address.last
        wait = max(0.0, since + pause - now) if pause else 0.0
        if wait == 0:
            by_address.checking += 1
            by_name.checking += 1
        return wait

    def end(self, address: str, name: str, now: float, *, right: bool) -> None:
        """Tell what came of a check. One that was broken off counts as wrong: who hangs up during
        the check must gain nothing by it."""
        for tries in (
            self._of(self._addresses, _network(address), now),
            self._of(self._names, name[:_LONGEST_NAME], now),
        ):
            tries.checking -= 1
            if not right:
                tries.wrong += 1
                tries.last = now

    def __len__(self) -> int:
        return max(len(self._addresses), len(self._names))

    def _of(self, table: dict[str, _Tries], key: str, now: float) -> _Tries:
        tries = table.get(key)
        if tries is None:
            if len(table) >= self._most:
                self._forget(table, now)
            tries = table[key] = _Tries(last=now)
        elif not tries.checking and now - tries.last >= FORGOTTEN_AFTER:
            tries.wrong = 0
        return tries

    def _forget(self, table: dict[str, _Tries], now: float) -> None:
        """Make room: what is to be forgotten anyway, else a tenth of the table."""
        idle = [key for key, tries in table.items() if not tries.checking]
        gone = [
            key for key in idle if not table[key].wrong or now - table[key].last >= FORGOTTEN_AFTER
        ]
        for key in gone or heapq.nsmallest(
            self._most // 10 + 1, idle, key=lambda key: (table[key].wrong, table[key].last)
        ):
            del table[key]


def _pause(wrong: int) -> float:
    """Seconds between tries after so many wrong ones."""
    if wrong < FREE_TRIES:
        return 0.0
    return min(LONGEST_PAUSE, 2.0 ** min(wrong - FREE_TRIES, 30))


def _network(address: str) -> str:
    """What counts as one address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:_LONGEST_NAME]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found), 64), strict=False))
    return str(found)
