"""Tests that are coroutines run in a loop of their own, which they must leave as they found it."""

import asyncio
import inspect
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from detector.publish.mqtt import publisher as mqtt
from detector.publish.mqtt import rate_limited_log
from tests.broker import broker
from tests.publish.helpers import Logs

__all__ = ["broker"]

_LONGEST_S = 60.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(_tidy(pyfuncitem.obj, {name: pyfuncitem.funcargs[name] for name in names}))
    return True


async def _tidy(test: Any, arguments: dict[str, Any]) -> None:
    """Fail on tasks that outlive the test, and on errors that nobody looked at."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))
    async with asyncio.timeout(_LONGEST_S):
        await test(**arguments)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    # aiomqtt ends its own task on the next turn of the loop.
    pending = (await asyncio.wait(others, timeout=1.0))[1] if others else set()
    assert not pending, f"tasks outlive the test: {pending}"
    assert not complaints


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Logs]:
    """Everything that is logged during the test, whatever another test has configured."""
    tap = Logs()
    before = structlog.get_config()
    structlog.configure(
        processors=[tap],
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        cache_logger_on_first_use=False,
    )
    for module in (
        mqtt,
        rate_limited_log,
    ):  # a logger may have been cached with its old configuration
        monkeypatch.setattr(module, "log", structlog.get_logger())
    yield tap
    structlog.configure(**before)
