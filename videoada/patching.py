"""replaced(): a method or property of one object replaced for the length of a `with`.

The object changes its class, to the one subclass that its class ever gets here. That class holds a dispatcher for each
name that was ever replaced; what a dispatcher calls is kept in a table outside the objects. So undoing it is one
assignment, hooks that put `forward` into a module's attributes stay below, code that empties or copies an object's
attributes changes nothing, and torch.compile, which looks at classes, compiles once and not in each block.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch

_NOTHING = object()
# Both are attributes of classes: a table of classes would keep each alive, as a subclass does its base.
_PATCHED, _PLAIN = "_videoada_patched", "_videoada_plain"


class _Replacement:
    """A block's function, and the instance attribute that hid the method before."""

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self.found: Any = _NOTHING


@dataclass
class _Patches:
    """Of one object: its class before the first block, the class it has now, and for each name the blocks on it.

    The blocks own the replacements, which may know the object: the table must not keep it alive. `target` is the very
    weak reference that the blocks hold: the collector clears those that only its garbage holds, and a block collected
    with its pipeline could no longer find what to undo.
    """

    plain: type
    patched: type
    target: weakref.ref[Any]
    stacks: dict[str, tuple[weakref.ref[_Replacement], ...]] = field(default_factory=dict)


_TABLE: WeakKeyDictionary[Any, _Patches] = WeakKeyDictionary()
_LOCK = threading.RLock()  # reentrant: garbage collection may end an abandoned block at any point


@contextmanager
def replaced(item: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Inside the block `item.name(…)` calls `function(inherited, item, …)`, a property calls it with these two.

    `inherited` is what was there before, bound to the item: the method of another block, an attribute of the instance,
    or the class's method; of a property it returns the value. Blocks nest and end in any order. Copies of the item are
    plain. While torch.compile traces, properties have the class's values: others would be compiled in. Raises
    AttributeError for an item that has no such method.
    """
    if not hasattr(type(item), name) and name not in vars(item):
        raise AttributeError(f"{type(item).__name__} has no {name} to replace")
    replacement, target = _Replacement(function), weakref.ref(item)
    own = weakref.ref(replacement)
    _enter(item, name, own, replacement)
    del item  # a block that is never left does not keep it alive
    try:
        yield
    finally:
        item = target()
        if item is not None:
            _leave(item, name, own, replacement)


def unpatched(kind: type) -> type:
    """The class that a patched class was made from; any other class itself."""
    plain: type = vars(kind).get(_PLAIN, kind)
    return plain


def _enter(item: Any, name: str, own: weakref.ref[_Replacement], replacement: _Replacement) -> None:
    with _LOCK:
        patches = _TABLE.get(item)
        if patches is None:
            patches = _Patches(type(item), _patched_class(type(item)), weakref.ref(item))
            object.__setattr__(item, "__class__", patches.patched)  # compiled modules hand plain assignments on
            _TABLE[item] = patches
        if name not in vars(patches.patched):
            setattr(patches.patched, name, _dispatcher(patches.patched, name))
        if _reads_instance(type(item), name) and name in vars(item):
            replacement.found = vars(item).pop(name)
        patches.stacks[name] = (*patches.stacks.get(name, ()), own)


def _leave(item: Any, name: str, own: weakref.ref[_Replacement], replacement: _Replacement) -> None:
    with _LOCK:
        patches = _TABLE[item]
        stack = patches.stacks[name]
        index = stack.index(own)
        patches.stacks[name] = stack = stack[:index] + stack[index + 1 :]
        if replacement.found is not _NOTHING:
            above = stack[index]() if index < len(stack) else None
            if above is not None and above.found is _NOTHING:  # it is what that one finds now
                above.found = replacement.found
            elif above is None:
                vars(item).setdefault(name, replacement.found)  # hooks may have put another one there
        if not any(patches.stacks.values()):
            del _TABLE[item]
            if type(item) is patches.patched:
                object.__setattr__(item, "__class__", patches.plain)


def _reads_instance(kind: type, name: str) -> bool:
    """Whether an attribute of the instance comes before the class's."""
    special = name.startswith("__") and name.endswith("__")
    return not special and not isinstance(getattr(kind, name, None), property)


def _replacements(item: Any, name: str) -> list[_Replacement]:
    patches = _TABLE.get(item)
    stack = patches.stacks.get(name, ()) if patches is not None else ()
    return [replacement for ref in stack if (replacement := ref()) is not None]


def _bound(item: Any, name: str, own: Callable[..., Any]) -> Callable[..., Any]:
    """The method as the innermost block has it; `own` is the class's."""
    for replacement in _replacements(item, name):
        inherited = own if replacement.found is _NOTHING else replacement.found
        own = functools.partial(replacement.function, inherited, item)
    return own


def _dispatcher(patched: type, name: str) -> Any:
    """The function under `name` in a patched class; objects for which that name is not replaced call it, too."""
    original = getattr(patched, name, None)
    if isinstance(original, property):
        return _property(original, name)

    def dispatch(self: Any, *args: Any, **kwargs: Any) -> Any:
        # asked for at each call: the class's own may be exchanged meanwhile
        own = getattr(super(patched, self), name, None) or functools.partial(_missing, self, name)
        return _bound(self, name, own)(*args, **kwargs)

    # pipelines read the signature of scheduler.step
    return functools.wraps(original)(dispatch) if original is not None else dispatch


def _property(original: property, name: str) -> property:
    def read(self: Any) -> Any:
        assert original.fget is not None
        if torch.compiler.is_compiling():
            return original.fget(self)
        return _bound(self, name, functools.partial(original.fget, self))()

    return property(read, original.fset, original.fdel, original.__doc__)


def _missing(item: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    raise AttributeError(f"'{type(item).__name__}' object has no attribute '{name}'")


@functools.cache
def _metaclass(kind: type[type]) -> type[type]:
    """Of patched classes, which are equal to their plain ones: diffusers compares the types of a pipeline's parts."""

    def equal(patched: type, other: Any) -> Any:
        return unpatched(patched) is unpatched(other) if isinstance(other, type) else NotImplemented

    def number(patched: type) -> int:
        return type.__hash__(unpatched(patched))

    return type(kind.__name__, (kind,), {"__eq__": equal, "__hash__": number, "__module__": kind.__module__})


def _patched_class(kind: type) -> type:
    """The subclass of `kind` in which methods are replaced: the same one every time."""
    if _PLAIN in vars(kind):
        return kind
    known: type | None = vars(kind).get(_PATCHED)
    if known is not None:
        return known
    body: dict[str, Any] = {
        _PLAIN: kind, "__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__,
    }  # fmt: skip
    patched = _metaclass(type(kind))(kind.__name__, (kind,), body)
    _make_copies_plain(patched, kind)
    setattr(kind, _PATCHED, patched)
    return patched


def _make_copies_plain(patched: Any, plain: type) -> None:
    """Copies and pickles of a patched object are of the plain class, with the attributes that were taken out."""

    def reduce(self: Any, protocol: Any) -> Any:
        made = super(patched, self).__reduce_ex__(protocol)
        if isinstance(made, str):
            return made
        maker, args, *rest = made
        taken, state = _taken_out(self), rest[0] if rest else None
        if taken and (state is None or isinstance(state, dict)):
            rest = [{**(state or {}), **taken}, *rest[1:]]
        made_plain = tuple(plain if value is patched else value for value in args)
        kind = getattr(maker, "__name__", "")
        if kind == "__newobj__":  # of which pickle demands the object's own class
            maker = plain.__new__
        elif kind == "__newobj_ex__":
            maker, made_plain = functools.partial(plain.__new__, plain, *args[1], **args[2]), ()
        return (plain if maker is patched else maker, made_plain, *rest)

    def copying(name: str) -> Callable[..., Any]:
        @functools.wraps(getattr(plain, name))
        def copied(self: Any, *args: Any) -> Any:
            copy = getattr(super(patched, self), name)(*args)
            if type(copy) is patched and copy is not self:
                object.__setattr__(copy, "__class__", plain)
                vars(copy).update({k: v for k, v in _taken_out(self).items() if k not in vars(copy)})
            return copy

        return copied

    patched.__reduce_ex__ = reduce
    for name in ("__copy__", "__deepcopy__"):
        if hasattr(plain, name):
            setattr(patched, name, copying(name))


def _taken_out(item: Any) -> dict[str, Any]:
    """Attributes of the instance that blocks took out of their way: of each name the outermost block's."""
    patches = _TABLE.get(item)
    found: dict[str, Any] = {}
    for name in patches.stacks if patches is not None else ():
        for replacement in _replacements(item, name):
            if replacement.found is not _NOTHING:
                found.setdefault(name, replacement.found)
    return {name: value for name, value in found.items() if name not in vars(item)}
