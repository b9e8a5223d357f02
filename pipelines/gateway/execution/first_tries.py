"""One request to each of several models, to find out which of them can't be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pipelines.gateway.call import BudgetExhausted, CallFailed, LMCall, LMReply
from pipelines.gateway.execution.account import Account
from pipelines.gateway.execution.call_life import CallLife


async def first_tries(
    account: Account, calls: Sequence[LMCall], seconds: float
) -> list[CallFailed | None]:
    """How each call fails when it is made once, all at the same time.

    None for those that are answered, also from the cache; that the budget has no room for; and that
    take longer than `seconds`. These go on, also after ctrl-C: cut off, they would be charged their
    worst cost.
    """
    tasks = [asyncio.ensure_future(CallLife(account, call).once()) for call in calls]
    account.tries.update(tasks)
    for task in tasks:
        task.add_done_callback(account.tries.discard)
    done, _ = await asyncio.wait(tasks, timeout=seconds)
    return [_failure(task) if task in done else None for task in tasks]


def _failure(task: asyncio.Future[LMReply]) -> CallFailed | None:
    try:
        task.result()
    except CallFailed as failure:
        return failure
    except BudgetExhausted:
        pass
    return None
