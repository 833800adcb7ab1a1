"""Models from inputs to outputs: any graph of layers, several of each, layers shared.

    a, b = Input((8,)), Input((8,))
    twin = Dense(4, "tanh")                       # one layer, used twice: its gradients add up
    model = Model([a, b], Concatenate()([twin(a), twin(b)]))
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine import config
from engine.errors import ArgumentError
from layers import InputLayer, Layer
from layers.symbolic import Call, SymbolicTensor, map_structure, tensors_in
from models.model import Model


@dataclass(frozen=True)
class Slot:
    """Where the forward pass keeps a tensor: result `index` of call number `call`."""

    call: int
    index: int


@dataclass(frozen=True)
class Step:
    """One call of the forward pass, with slots in place of tensors."""

    layer: Layer
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    shapes: tuple[Any, ...]  # of its results


class Functional(Model):
    """Model(inputs, outputs): symbolic tensors, or lists or dicts of them.

    The layers were built when they were called on symbolic tensors. With `seed`, those that nobody trained or loaded
    since are built anew, so that their initial values follow from (seed, place in this model). Parameters are named by
    the order of the layers' first use: "0.kernel" ...
    """

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, seed: int | None = None) -> None:
        self._layers: list[Layer] = []
        super().__init__(name=name, seed=seed)
        starts, ends = list(tensors_in(inputs)), list(tensors_in(outputs))
        if not starts or not ends:
            raise ArgumentError("Model(inputs, outputs): takes symbolic tensors; begin with layers.Input(shape)")
        calls = calls_between(starts, ends)
        number = {id(call): i for i, call in enumerate(calls)}

        def slot(item: Any) -> Any:
            return Slot(number[id(item.call)], item.index) if isinstance(item, SymbolicTensor) else item

        def slots(tree: Any) -> Any:
            return map_structure(slot, tree)

        found = {(number[id(t.call)], t.index): t for c in calls for t in tensors_in((c.inputs, c.options))}
        found |= {(number[id(t.call)], t.index): t for t in starts + ends}
        results = [[found[key].shape for key in sorted(found) if key[0] == i] for i in range(len(calls))]
        self._steps = tuple(
            Step(c.layer, slots(c.inputs), slots(c.options), tuple(shapes))
            for c, shapes in zip(calls, results, strict=True)
        )
        self._inputs, self._outputs = [slots(t) for t in starts], slots(outputs)
        self.input_shapes = [t.shape for t in starts]
        self.input_names = distinct([t.layer.name for t in starts])
        self.output_names = tuple(outputs) if isinstance(outputs, dict) else distinct([t.layer.name for t in ends])
        self._output_shapes = map_structure(lambda t: t.shape, outputs)
        self._layers = list(dict.fromkeys(s.layer for s in self._steps if not isinstance(s.layer, InputLayer)))
        self.built = True
        if seed is not None:
            self._draw_anew(seed, calls)

    def _draw_anew(self, seed: int, calls: list[Call]) -> None:
        self.set_seed(seed)
        for call in calls:
            parameters = call.layer.weights
            if all(p.built and p.initializer is not None and p.storage.version == 0 for p in parameters):
                for p in parameters:
                    del p.data
                call.layer.build(*call.layer.shapes_of(call.inputs)) if call.inputs else None

    @property
    def layers(self) -> list[Layer]:
        return list(self._layers)

    def attributes(self) -> Iterator[tuple[str, Any]]:
        return ((str(i), layer) for i, layer in enumerate(self._layers))

    def call(self, inputs: Any) -> Any:
        given = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        if isinstance(inputs, dict):
            given = [inputs[name] for name in self.input_names]
        if len(given) != len(self._inputs):
            names = ", ".join(self.input_names)
            raise ArgumentError(f"{self.title}: takes {len(self._inputs)} inputs ({names}), got {len(given)}")
        tensors = dict(zip(self._inputs, given, strict=True))

        def fetch(item: Any) -> Any:
            return tensors[item] if isinstance(item, Slot) else item

        for i, step in enumerate(self._steps):
            if isinstance(step.layer, InputLayer):
                step.layer(tensors[Slot(i, 0)])  # a look at the shape
                continue
            y = step.layer(*map_structure(fetch, step.inputs), **map_structure(fetch, step.options))
            for k, result in enumerate(y if isinstance(y, (list, tuple)) else [y]):
                tensors[Slot(i, k)] = result
        return map_structure(fetch, self._outputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self._output_shapes

    # --- as JSON -----------------------------------------------------------------------------------------------------
    def get_config(self) -> dict[str, Any]:
        layers = list(dict.fromkeys(s.layer for s in self._steps))
        places = {id(layer): i for i, layer in enumerate(layers)}

        def write(item: Any) -> Any:
            return {"slot": [item.call, item.index]} if isinstance(item, Slot) else config.plain(item)

        return {
            "name": self._name,
            "seed": self.seed,
            "layers": [config.serialize(layer) for layer in layers],
            "calls": [
                [places[id(s.layer)], map_structure(write, list(s.inputs)), map_structure(write, s.options)]
                for s in self._steps
            ],
            "inputs": map_structure(write, self._inputs),
            "outputs": map_structure(write, self._outputs),
        }

    @classmethod
    def from_config(cls, saved: dict[str, Any]) -> Functional:
        layers = [config.deserialize(Layer, entry) for entry in saved["layers"]]
        results: list[Any] = []

        def read(item: Any) -> Any:
            if isinstance(item, dict) and item.keys() == {"slot"}:
                call, index = item["slot"]
                return results[call][index]
            if isinstance(item, list):
                return [read(part) for part in item]
            return {k: read(v) for k, v in item.items()} if isinstance(item, dict) else item

        for place, inputs, options in saved["calls"]:
            layer = layers[place]
            if isinstance(layer, InputLayer):
                y = SymbolicTensor((layer.batch_size, *layer.shape), layer.dtype, layer, ())
            else:
                y = layer(*read(inputs), **read(options))
            results.append(y if isinstance(y, (list, tuple)) else [y])
        return cls(read(saved["inputs"]), read(saved["outputs"]), saved["name"], saved["seed"])


def calls_between(starts: list[SymbolicTensor], ends: list[SymbolicTensor]) -> list[Call]:
    """The calls that lead from the inputs to the outputs, each after those it needs; without recursion."""
    first = [t.call for t in starts]
    order: dict[int, Call] = {id(c): c for c in first}
    stack = [t.call for t in reversed(ends)]
    while stack:
        call = stack[-1]
        if id(call) in order:
            stack.pop()
            continue
        needed = [t.call for t in tensors_in((call.inputs, call.options))]
        if not needed:
            raise ArgumentError(
                f"Model(inputs, outputs): an output needs the input '{call.layer.name}', which is not among the inputs"
            )
        missing = [c for c in reversed(needed) if id(c) not in order]
        if missing:
            stack.extend(missing)
        else:
            order[id(call)] = stack.pop()
    return list(order.values())


def distinct(names: list[str]) -> tuple[str, ...]:
    """a, b, a -> a, b, a_1"""
    out: list[str] = []
    for name in names:
        count = sum(n == name or n.startswith(f"{name}_") and n[len(name) + 1 :].isdigit() for n in out)
        out.append(f"{name}_{count}" if count else name)
    return tuple(out)
