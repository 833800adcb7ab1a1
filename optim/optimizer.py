r"""The optimiser: groups of parameters, what is common to every update, and saving.

An algorithm gives its update as a formula of one number: `update(w, g, *slots, **numbers)` returns the new w and the
new slots. Everything else is here: weight decay, clipping, schedules, groups, the arena.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from engine import config, replay
from engine.backends import Array, Backend, backend_of, get_backend, move
from engine.dtypes import is_float
from engine.errors import ArgumentError, GradientError, ShapeError
from engine.tensor import Tensor

from .arena import MASTER, Arena, State, Update
from .schedules import Schedule, get as get_schedule


class Group:
    """Parameters that learn alike. `options` holds the hyper-parameters in which they differ from the optimiser's."""

    def __init__(self, params: Iterable[Tensor], options: Mapping[str, Any]) -> None:
        self.params, self.options = list(params), dict(options)
        self.state: list[State] = [{} for _ in self.params]
        self.arenas: list[Arena] = []
        self.views: dict[int, Array] = {}  # id of a parameter -> the view that its data was when it was packed
        self.update: Update | None = None

    def packed(self) -> bool:
        """Does every parameter that has a gradient lie in an arena, still?"""
        views = self.views
        return all(p.grad is None or views.get(id(p)) is p.data for p in self.params)

    def __getstate__(self) -> dict[str, Any]:
        """A copy has memory of its own, so it packs its own arena."""
        return vars(self) | {"arenas": [], "views": {}, "update": None}


class Optimizer(config.Configurable, family="optimizer"):
    """Base class.

    params            tensors, or dicts {"params": tensors, "learning_rate": ...} of groups that differ; may come later
                      (`build`), as when a model is compiled. Parameters may still be without values
    learning_rate     a number or a schedule; `lr` is an alias
    weight_decay      λ: before each update w becomes w - learning_rate λ w (decoupled, as in Keras 3)
    clipvalue         each gradient's elements are cut to ±clipvalue
    clipnorm          each gradient longer than clipnorm is shortened to it
    global_clipnorm   the same for all gradients taken as one vector

    Parameters without gradient, or frozen, stay as they are.
    """

    hyper: ClassVar[tuple[str, ...]] = ()  # besides learning_rate and weight_decay: what a group may differ in

    def __init__(
        self,
        params: Any = None,
        learning_rate: Any = 0.001,
        *,
        lr: Any = None,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
    ) -> None:
        if isinstance(params, (int, float, Schedule)):  # Adam(1e-3), as in Keras
            params, learning_rate = None, params
        self.learning_rate = learning_rate if lr is None else lr
        self.weight_decay, self.clipnorm, self.clipvalue = weight_decay, clipnorm, clipvalue
        self.global_clipnorm, self.name = global_clipnorm, name or type(self).__name__
        for what in ("weight_decay", "clipnorm", "clipvalue", "global_clipnorm"):
            value = getattr(self, what)
            if value is not None and not value >= 0:
                raise ArgumentError(f"{self.name}: {what} is a number of 0 or more, or None, got {value!r}")
        if sum(c is not None for c in (clipnorm, clipvalue, global_clipnorm)) > 1:
            raise ArgumentError(f"{self.name}: give only one of clipnorm, clipvalue and global_clipnorm")
        self.iterations = 0
        self.groups: list[Group] = []
        if params is not None:
            self.build(params)

    # -------------------------------------------------------------------------------------------- the algorithm
    def slots(self, group: Group) -> dict[str, float]:
        """Names and first values of what is remembered of each number."""
        return {}

    def rule(self, group: Group) -> Callable[..., Any]:
        """update(w, g, *slots, **numbers) -> new w, *new slots: the formula, of symbols."""
        raise NotImplementedError

    def numbers(self, group: Group, lr: float, t: int) -> dict[str, float]:
        """What the formula needs in step t = 1, 2, ... besides arrays."""
        raise NotImplementedError

    def value(self, group: Group, name: str) -> Any:
        """A hyper-parameter of a group."""
        return group.options.get(name, getattr(self, name))

    def checked(self, name: str, value: float) -> float:
        """A hyper-parameter that can be one: epsilon is 0 or more, the others are shares of the old value, below 1."""
        if name == "epsilon" and not 0 <= value < math.inf:
            raise ArgumentError(f"{self.name}: epsilon is a small number of 0 or more, got {value!r}")
        if name != "epsilon" and not 0 <= value < 1:
            raise ArgumentError(f"{self.name}: {name} is the share of the old value, 0 <= {name} < 1, got {value!r}")
        return value

    # -------------------------------------------------------------------------------------------- a step
    def step(self) -> None:
        """Update every parameter that has a gradient, once.

        Raises ArgumentError where there are no parameters, GradientError where none of them has a gradient or where one
        has another shape or no floating-point numbers; nothing is changed then.
        """
        if not self.groups:
            raise ArgumentError(f"{self.name}.step: no parameters: give them, {self.name}(model.parameters())")
        params = self.params
        if all(p.grad is None for p in params):
            raise GradientError(f"{self.name}.step: no parameter has a gradient; call loss.backward() before")
        for i, p in enumerate(params):
            self._check_gradient(i, p)
        self._pack()
        clip = self._clip()
        for group in self.groups:
            replay.uses(group, "arenas", [arena.data for arena in group.arenas], f"what {self.name} remembers")
            for arena in group.arenas:
                assert group.update is not None
                with backend_of(arena.data).active():
                    numbers = replay.live(functools.partial(self._numbers, group), arena.grad)
                    for stretch, g in arena.collect(clip):
                        memory = [buffer[stretch] for buffer in arena.slots.values()]
                        group.update(arena.weights(stretch), g, memory, numbers)
                        arena.round(stretch)
        replay.each(self._count)

    def _check_gradient(self, i: int, p: Tensor) -> None:
        """Before anything is changed: a step that fails leaves no trace."""
        g: Any = p.grad
        if g is None or not p.requires_grad:
            return
        if not isinstance(g, Tensor):
            found = f"type {type(g).__name__}"
        elif g.shape != p.shape:
            found = f"shape {g.shape}"
        elif not is_float(g.dtype):
            found = f"dtype {g.dtype}"
        else:
            return
        name = f"'{path}'" if (path := getattr(p, "path", "")) else f"number {i}"
        raise GradientError(
            f"{self.name}.step: parameter {name} of shape {p.shape} has a gradient of {found}; set .grad to a tensor "
            "of floating-point numbers, of the parameter's shape, or leave it to backward()"
        )

    def _numbers(self, group: Group) -> dict[str, float]:
        """What the formula needs in the coming step; `keep` is what weight decay leaves."""
        lr = self._rate(group)
        numbers = self.numbers(group, lr, self.iterations + 1)
        return numbers | {"keep": 1.0 - lr * (self.value(group, "weight_decay") or 0.0)}

    def _count(self) -> None:
        replay.put(self, "iterations", self.iterations + 1)

    def _pack(self) -> None:
        """See to it that the parameters lie in arenas. A replay writes to those of its capture."""
        for group in self.groups:
            if not group.packed():
                replay.refuse(f"has new or moved parameters ({self.name}.step packs them)", "run it once before")
                self._pack_group(group)
            if any(replay.is_older(p.grad.data) for p in group.params if isinstance(p.grad, Tensor)):
                replay.refuse(f"updates parameters by gradients from before it ({self.name})", "call backward() in it")

    def _pack_group(self, group: Group) -> None:
        """An arena for each device and dtype."""
        slots = self.slots(group)
        kinds: dict[Any, list[int]] = {}
        for i, p in enumerate(group.params):
            if getattr(p, "built", True):
                kinds.setdefault((p.device, p.dtype), []).append(i)
        group.arenas = []
        for (device, _), members in kinds.items():
            with get_backend(device).active():
                params, states = ([of[i] for i in members] for of in (group.params, group.state))
                group.arenas.append(Arena(params, states, slots))
        group.views = {id(p): view for arena in group.arenas for p, view in zip(arena.params, arena.views, strict=True)}
        group.update = Update(self.rule(group), tuple(slots), tuple(self.numbers(group, 0.0, 1)))

    def _rate(self, group: Group) -> float:
        rate = group.options.get("learning_rate", self._learning_rate)
        return float(rate(self.iterations) if callable(rate) else rate)

    def zero_grad(self) -> None:
        """Forget the gradients (`.grad` becomes None)."""
        replay.clear(self.params)

    def _clip(self) -> Callable[[Array], Array] | None:
        """What is done to each gradient before the update."""
        if self.clipvalue is not None:
            limit = self.clipvalue
            return lambda g: cut(g, limit)
        if self.clipnorm is not None:
            longest = self.clipnorm
            return lambda g: shorten(g, length([g]), longest)
        if self.global_clipnorm is not None:
            longest = self.global_clipnorm
            total = length([p.grad.data for p in self.params if p.grad is not None and p.requires_grad])
            return lambda g: shorten(g, total, longest)
        return None

    # -------------------------------------------------------------------------------------------- parameters
    @property
    def params(self) -> list[Tensor]:
        return [p for group in self.groups for p in group.params]

    def build(self, params: Any) -> None:
        """Take parameters (or groups); once. The same ones again do nothing, as when a model is compiled twice."""
        given = list(params.values()) if isinstance(params, Mapping) and "params" not in params else params
        given = [given] if isinstance(given, (Tensor, Mapping)) else list(given)
        if any(isinstance(entry, Mapping) for entry in given):
            groups = [self._group(entry) for entry in given]
        else:
            groups = [Group(_unique(given), {})]
        everything = [p for group in groups for p in group.params]
        if self.groups:
            if list(map(id, everything)) != list(map(id, self.params)):
                raise ArgumentError(f"{self.name}: it has other parameters already; make a new optimiser for these")
            return
        wrong = next((p for p in everything if not isinstance(p, Tensor)), None)
        if wrong is not None:
            raise ArgumentError(f"{self.name}: params are tensors or dicts with 'params', got {type(wrong).__name__}")
        if len({id(p) for p in everything}) < len(everything):
            raise ArgumentError(f"{self.name}: a parameter is in two groups; put it in one")
        if any(p.node is not None for p in everything):
            raise ArgumentError(f"{self.name}: a tensor made by an op can't be learnt; give the leaves it was made of")
        self.groups = groups

    def _group(self, entry: Any) -> Group:
        if not isinstance(entry, Mapping) or "params" not in entry:
            raise ArgumentError(f"{self.name}: give either tensors, or dicts that each have 'params'")
        options = {"learning_rate" if k == "lr" else k: v for k, v in entry.items() if k != "params"}
        known = ("learning_rate", "weight_decay", *self.hyper)
        unknown = options.keys() - set(known)
        if unknown:
            raise ArgumentError(f"{self.name}: a group has the unknown option {sorted(unknown)}; it may have {known}")
        if "learning_rate" in options:
            options["learning_rate"] = self._checked_rate(options["learning_rate"])
        for name in options.keys() & set(self.hyper):
            self.checked(name, options[name])
        members = entry["params"]
        return Group(_unique([members] if isinstance(members, Tensor) else members), options)

    # -------------------------------------------------------------------------------------------- learning rate
    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        rate = self._learning_rate
        return float(rate(self.iterations) if callable(rate) else rate)

    @learning_rate.setter
    def learning_rate(self, rate: Any) -> None:
        self._learning_rate = self._checked_rate(rate)

    lr = learning_rate

    @property
    def schedule(self) -> Schedule | None:
        """The schedule, where the learning rate has one."""
        return self._learning_rate if isinstance(self._learning_rate, Schedule) else None

    def _checked_rate(self, rate: Any) -> Any:
        if isinstance(rate, Mapping):
            return get_schedule(rate)
        if callable(rate):
            return rate
        try:
            rate = float(rate)
        except (TypeError, ValueError):
            raise ArgumentError(
                f"{type(self).__name__}: learning_rate is a number or a schedule, got {rate!r}"
            ) from None
        if not (rate >= 0 and math.isfinite(rate)):
            raise ArgumentError(
                f"{type(self).__name__}: learning_rate is a number of 0 or more, or a schedule, got {rate}"
            )
        return rate

    # -------------------------------------------------------------------------------------------- saving
    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON has them; not the parameters."""
        return {name: config.plain(getattr(self, name)) for name in self.arguments()} | {
            "learning_rate": config.plain(self._learning_rate)
        }

    @classmethod
    def arguments(cls) -> dict[str, Any]:
        every = ("weight_decay", "clipnorm", "clipvalue", "global_clipnorm")
        own = {k: v for k, v in super().arguments().items() if k not in ("params", "lr", "name")}
        return own | dict.fromkeys(every)

    def state_dict(self) -> dict[str, Any]:
        """{"iterations", "learning_rate", "state": {"3.m": array, ...}}: copies, by each parameter's number."""
        arrays: dict[str, np.ndarray] = {}
        states = [state for group in self.groups for state in group.state]
        for i, state in enumerate(states):
            arrays |= {f"{i}.{name}": np.array(_on_host(values)) for name, values in state.items()}
        rate = None if callable(self._learning_rate) else self._learning_rate
        return {"iterations": self.iterations, "learning_rate": rate, "state": arrays}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave. Raises ArgumentError or ShapeError, naming what does not fit."""
        missing = {"iterations", "state"} - saved.keys()
        if missing:
            raise ArgumentError(f"{self.name}.load_state_dict: {sorted(missing)} missing; give a state_dict()")
        params = self.params
        new: list[State] = [{} for _ in params]
        for key, values in saved["state"].items():
            number, _, name = key.partition(".")
            if not number.isdigit() or int(number) >= len(params):
                raise ArgumentError(
                    f"{self.name}.load_state_dict: '{key}' is of a parameter that is not here; there are "
                    f"{len(params)}, from 0: build the model and the optimiser as they were when it was saved"
                )
            p = params[int(number)]
            if getattr(p, "built", True) and np.shape(values) != p.shape:
                raise ShapeError(
                    f"{self.name}.load_state_dict: '{key}' has shape {np.shape(values)}, its parameter {p.shape}; "
                    "load it for the model it was saved with"
                )
            new[int(number)][name] = np.array(values)
        wanted = [set(self.slots(group)) for group in self.groups for _ in group.params]
        for i, (state, names) in enumerate(zip(new, wanted, strict=True)):
            if state and state.keys() - {MASTER} != names:
                raise ArgumentError(
                    f"{self.name}.load_state_dict: parameter {i} has {sorted(state)}, but {self.name} remembers "
                    f"{sorted(names)}: it was saved by another optimiser or with other options"
                )
        for group in self.groups:
            group.state, new = new[: len(group.params)], new[len(group.params) :]
            group.arenas, group.views = [], {}
        self.iterations = int(saved["iterations"])
        if saved.get("learning_rate") is not None and not callable(self._learning_rate):
            self.learning_rate = saved["learning_rate"]


def _unique(params: Iterable[Any]) -> list[Any]:
    """Shared parameters once, in order."""
    return list({id(p): p for p in params}.values())


def length(gradients: Sequence[Array]) -> Array:
    """The Euclidean length of all of them as one vector, (); summed in float64, in a fixed order."""
    backend = backend_of(gradients[0])
    with backend.active():
        total = backend.xp.zeros((), np.float64)
        for g in gradients:
            total = total + _squares(g, backend)
        return backend.xp.sqrt(total)


def _squares(g: Array, home: Backend) -> Array:
    """The sum of the squares, (), on the device that adds them up."""
    backend = backend_of(g)
    with backend.active():
        total = backend.xp.square(g, dtype=np.float64).sum()
    return total if backend is home else move(total, home)


def cut(g: Array, limit: float) -> Array:
    """g with each element kept between -limit and limit, as a new array."""
    backend = backend_of(g)
    with backend.active():
        return backend.xp.asarray(backend.xp.clip(g, -limit, limit))


def shorten(g: Array, norm: Array, longest: float) -> Array:
    """g, or g longest / norm where norm > longest; the norm is not looked at, which would wait for a GPU."""
    backend = backend_of(g)
    with backend.active():
        norm = norm if isinstance(norm, (float, np.generic, np.ndarray)) else move(norm, backend)
        factor = longest / backend.xp.maximum(backend.xp.maximum(norm, longest), 1e-300)
        return backend.xp.asarray(g * factor.astype(g.dtype))


def _on_host(values: Array) -> np.ndarray:
    found: np.ndarray = backend_of(values).to_numpy(values)
    return found


def get(what: Any) -> Any:
    """An optimiser from its name ("adam"), class, description or itself."""
    return config.get(Optimizer, what)
