"""Modes hold for their blocks, and for nothing else: whoever ends a block, in whatever context and order."""

from __future__ import annotations

import asyncio
import gc
from contextvars import Context, copy_context
from threading import Thread

import pytest

import engine
from engine import autograd, backends, precision
from engine.blocks import Setting
from engine.parameter import Parameter, is_training, name_scope, training_mode
from tests.gpu.strict import Strict


@pytest.fixture(autouse=True, scope="module")
def stand_in():
    remove = backends.register("another", lambda number: Another(number))
    yield
    remove()


class Another(Strict):
    def __init__(self, number):
        super().__init__(number)
        self.name = f"another:{number}"


MODES = {
    "no_grad": engine.no_grad,
    "enable_grad": engine.enable_grad,
    "detect_anomaly": engine.detect_anomaly,
    "autocast": lambda: engine.autocast("bfloat16"),
    "training_mode": lambda: training_mode(True),
    "name_scope": lambda: name_scope("inside"),
    "device": lambda: engine.device("another"),
}


def in_force():
    rounding = precision._rounding.block().value
    path = Parameter(name="w").path
    return autograd.mode(), rounding and rounding.dtype, is_training(), path, engine.current_device()


def generator(mode):
    with mode():
        yield in_force()
        yield in_force()


@pytest.fixture(params=MODES)
def mode(request):
    with engine.enable_grad() if request.param != "enable_grad" else engine.no_grad():
        yield MODES[request.param]


def in_a_thread(close):
    thread = Thread(target=close)
    thread.start()
    thread.join()


CLOSERS = {
    "a context of its own": lambda close: Context().run(close),
    "a copy from inside": lambda close: copy_context().run(close),
    "a thread": in_a_thread,
}


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("how", CLOSERS)
def test_a_block_that_another_context_ends_has_ended(mode, how):
    before, opened = in_force(), generator(mode)
    inside = next(opened)
    assert inside != before
    assert in_force() == inside
    CLOSERS[how](opened.close)
    assert in_force() == before
    with mode():
        assert in_force() == inside
    assert in_force() == before


def test_a_block_that_ends_before_a_later_one_takes_nothing_from_it(mode):
    before, opened = in_force(), generator(mode)
    inside = next(opened)
    with mode(), training_mode(False):
        within = in_force()
        opened.close()
        assert in_force() == within
    assert in_force() == before
    assert inside != before


def test_an_asynchronous_generator_may_be_left_in_the_middle(mode):
    problems = []

    async def numbers():
        with mode():
            yield 1
            yield 2

    async def leave():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context))
        before = in_force()
        async for _ in numbers():
            break
        gc.collect()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert in_force() == before

    asyncio.run(leave())
    assert problems == []


def test_a_task_keeps_the_mode_that_it_was_begun_in():
    async def later(begin):
        await begin.wait()
        return engine.is_grad_enabled()

    async def main():
        begin = asyncio.Event()
        with engine.no_grad():
            task = asyncio.create_task(later(begin))
            await asyncio.sleep(0)
        begin.set()
        assert engine.is_grad_enabled()
        return await task

    assert asyncio.run(main()) is False


def test_blocks_that_were_left_have_the_value_of_those_that_are_open():
    setting = Setting("test", 0)
    value = lambda: setting.block().value  # noqa: E731
    outer = setting.begin(1)
    inner = setting.begin(2)
    Context().run(setting.end, inner)
    assert value() == 1
    Context().run(setting.end, outer)
    assert value() == 0
    again = setting.begin(3)
    assert again[0].around.around is None  # those that were left are not kept
    setting.end(again)
    assert value() == 0
