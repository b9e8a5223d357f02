"""One request to each of several models, to find out which of them can't be called."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pipelines.gateway.call import BudgetExhausted, CallFailed, LMCall
from pipelines.gateway.execution.account import Account
from pipelines.gateway.execution.call_life import CallLife


async def first_tries(
    account: Account, calls: Sequence[LMCall], seconds: float
) -> list[CallFailed | None]:
    """The failure of each call, made once, all at the same time; None for one that does not fail.

    A call does not fail if it is answered, also from the cache; if the budget has no room for it;
    or if it takes longer than `seconds`. Such a call goes on, also after ctrl-C: cut off, it would
    be charged its worst cost.
    """
    tasks = [asyncio.ensure_future(_failure(account, call)) for call in calls]
    account.tries.update(tasks)
    for task in tasks:
        task.add_done_callback(account.tries.discard)
    done, _ = await asyncio.wait(tasks, timeout=seconds)
    return [task.result() if task in done else None for task in tasks]


async def _failure(account: Account, call: LMCall) -> CallFailed | None:
    """The failure, returned: asyncio logs what is raised in a task that nobody awaits."""
    try:
        await CallLife(account, call).once()
    except CallFailed as failure:
        return failure
    except BudgetExhausted:
        pass
    return None
