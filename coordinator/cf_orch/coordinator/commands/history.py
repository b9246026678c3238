"""``cf-orch history``: what happened, one line an event."""

import argparse
import time
from collections.abc import Iterator

import msgspec
from rich.text import Text

from cf_orch.coordinator.commands.happenings import Chronicle
from cf_orch.coordinator.commands.tables import show
from cf_orch.protocol.messages import DevicesAnswer, EventInfo, EventsAnswer, LeasesAnswer, StatusAnswer
from cf_orch.sidecar.commands.api import Api, Unreachable
from cf_orch.sidecar.commands.arguments import add_json, add_url
from cf_orch.sidecar.commands.failures import reported

__all__ = ["configure", "run"]

POLL_S = 0.5
DEFAULT_LIMIT = 50
PAGE = 1000


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which flags there are."""
    add_url(parser)
    add_json(parser)
    parser.add_argument("--since", type=_count, metavar="N", help="those after event number N; default: the last ones")
    parser.add_argument("--limit", type=_count, metavar="N", help="at most N events (50; with --since: all)")
    parser.add_argument("--follow", action="store_true", help="go on with what happens, until Ctrl-C")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of events")
    return int(text)


@reported
def run(arguments: argparse.Namespace) -> int:
    """Print events, the oldest first."""
    api = Api.named(arguments)
    say = _Json() if arguments.json else _Lines(api)
    try:
        for event in _events(api, arguments.since, arguments.limit, follow=arguments.follow):
            say.event(event)
    except KeyboardInterrupt:
        if not arguments.follow:
            raise
    return 0


def _events(api: Api, since: int | None, limit: int | None, *, follow: bool) -> Iterator[EventInfo]:
    """Walk through the events page by page; when they are at their end, wait for more or stop."""
    left = limit
    if since is None:
        wanted = DEFAULT_LIMIT if limit is None else limit
        since, left = max(0, api.get(StatusAnswer, "/status").seq - wanted), None if follow else wanted
    while left is None or left > 0:
        page = _page(api, since, PAGE if left is None else min(left, PAGE), patient=follow)
        yield from page.events
        since = page.next_since
        left = None if left is None else left - len(page.events)
        if page.events:
            continue
        if not follow:
            return
        time.sleep(POLL_S)


def _page(api: Api, since: int, limit: int, *, patient: bool) -> EventsAnswer:
    try:
        return api.get(EventsAnswer, "/events", since=since, limit=limit)
    except Unreachable:
        if not patient:
            raise
        return EventsAnswer(events=[], next_since=since)


class _Json:
    """JSON lines, for programs."""

    def event(self, event: EventInfo) -> None:
        print(msgspec.json.encode(event).decode(), flush=True)


class _Lines:
    """Sentences, for people."""

    def __init__(self, api: Api) -> None:
        devices, leases = api.get(DevicesAnswer, "/devices").devices, api.get(LeasesAnswer, "/leases").leases
        self._chronicle = Chronicle(devices, leases)

    def event(self, event: EventInfo) -> None:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
        line = Text(f"{when}  {event.seq:>5}  ", style="dim")
        show(line.append(self._chronicle.tell(event.event), style="not dim"))
