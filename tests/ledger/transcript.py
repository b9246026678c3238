"""Transcripts: a small language for what is said to a ledger, and in short what happened.

A line that begins in the first column is a command, an indented one is what came of it; ``#`` begins a comment.
Sizes are GB.  Each command is held against the oracle, too.

======================================================================  =============================================
settings NAME VALUE | settings quota SERVICE GB [priority N]            a policy, before all else; classes by name
device NAME GB [declared] [reserve GB] [host H] [index N] [model M]     a card is reported, empty; underscores in a
       [has A,B]                                                        model's name are spaces
look NAME [used GB] [by WHO=GB,..] [free GB] [age S] | look NAME fails  an observer looks; WHO is a session, or else
                                                                        a process that nobody knows
session NAME [host H] [ttl S]                                           a process of the service NAME registers
request R WHO GB [at CLASS] [peak GB] [gpus N] [host H] [pin A,B]       WHO is a session, or a service without one
        [requires A,B] [max_wait S] [ttl S] [task T]
        [evictable [residue GB]]
loaded R | idle R | busy R | release R [by WHO] | attach R PID          the holder of R says so
checkpointed R [residue GB] | checkpointed R fails WHY..                it answers that it has left, or cannot
renew WHO | renew R | cut R | cancel R [of WHO] | close WHO [lost]
sync WHO [R | R=GB@NAME[,evictable] | R=parked[:GB]]..                  R alone: as the ledger knows it; parked: its
                                                                        memory is given up but for so many GB
drain NAME [for S] [evict] | undrain NAME | evict R | resume R          the operator
wait S                                                                  time passes, what is due happens
restart                                                                 a new process reads the journal
queue | why R | devices                                                 show the order, a reason, the accounts
======================================================================  =============================================
"""

from collections.abc import Iterator

from tests.ledger.stage import Stage

__all__ = ["play"]


def play(text: str) -> str:
    """Take all commands of a transcript, and write it anew with what came of them."""
    return "\n".join(_lines(text.splitlines())) + "\n"


def _lines(lines: list[str]) -> Iterator[str]:
    stage = Stage()
    for line in lines:
        if line.startswith("  "):
            continue
        yield line
        words = line.partition("#")[0].split()
        if words:
            yield from (f"  {told}" for told in stage.take(*words))
