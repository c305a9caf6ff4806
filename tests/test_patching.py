"""replaced(): what it restores, whatever nests in whatever order, and what it leaves alone."""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import itertools
import pickle
import threading
import weakref
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from conftest import draw
from PIL import Image

import videoada
from videoada import skip_steps
from videoada.benchmarks.baselines.deepcache import cached_blocks
from videoada.benchmarks.baselines.dpm_adaptive import solved_adaptively
from videoada.benchmarks.oracle.analyse import kept_outputs, without_decoding
from videoada.errors import ConfigError
from videoada.learned.early_exit import early_exit
from videoada.learned.exit_heads import ExitHeads
from videoada.models.call import decoding_in_chunks
from videoada.models.conditioning import image_conditions
from videoada.patching import replaced, unpatched
from videoada.training.exit_losses import watched


class Thing:
    """Says its number; also when called."""

    def __init__(self, number=1):
        self.number = number

    def say(self, times: int = 1) -> int:
        return self.number * times

    def other(self):
        return "other"

    def __call__(self, x):
        return x + self.number

    @property
    def twice(self):
        return 2 * self.number

    @twice.setter
    def twice(self, value):
        self.number = value // 2


def adding(amount):
    return lambda inherited, item, *args, **kwargs: inherited(*args, **kwargs) + amount


def look(item):
    """What must be as before: the class and, by identity, the attributes."""
    return type(item), {name: id(value) for name, value in vars(item).items()}


# ---- what is replaced ----


def test_methods_calls_and_properties_are_replaced_and_restored():
    thing, untouched = Thing(), Thing()
    before = look(thing)
    with (
        replaced(thing, "say", adding(10)),
        replaced(thing, "__call__", adding(100)),
        replaced(thing, "twice", adding(1000)),
    ):
        assert (thing.say(times=3), thing(1), thing.twice, thing.other()) == (13, 102, 1002, "other")
        assert (untouched.say(), untouched(1), untouched.twice) == (1, 2, 2)
        thing.twice = 8
        assert (thing.number, thing.twice) == (4, 1008)
        thing.number = before[1]["number"] and 1
    assert look(thing) == before
    assert (thing.say(), thing(1), thing.twice) == (1, 2, 2)


def test_functions_get_what_was_there_and_the_object():
    thing, seen = Thing(5), []

    def watching(inherited, item, *args, **kwargs):
        seen.append((item, args, kwargs))
        return inherited(*args, **kwargs)

    with replaced(thing, "say", watching):
        assert thing.say(2) == 10
    assert seen == [(thing, (2,), {})]


def test_what_is_not_there_cannot_be_replaced():
    thing = Thing()
    with pytest.raises(AttributeError, match="Thing has no shout to replace"), replaced(thing, "shout", adding(1)):
        pass
    assert type(thing) is Thing


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
@pytest.mark.parametrize("attribute", [False, True])
def test_blocks_end_in_any_order(order, attribute):
    thing = Thing()
    if attribute:
        thing.say = lambda times=1: 500 * times
    own, before = thing.say(), look(thing)
    blocks = [replaced(thing, "say", adding(10**i)) for i in range(3)]
    for block in blocks:
        block.__enter__()
    assert thing.say() == own + 111
    left = {0, 1, 2}
    for i in order:
        blocks[i].__exit__(None, None, None)
        left.remove(i)
        assert thing.say() == own + sum(10**j for j in left)
        assert ("say" in vars(thing)) == (attribute and not left)
    assert look(thing) == before


def test_blocks_on_several_names_end_in_any_order():
    thing = Thing()
    first, second = replaced(thing, "say", adding(10)), replaced(thing, "__call__", adding(100))
    first.__enter__(), second.__enter__()
    first.__exit__(None, None, None)
    assert (thing.say(), thing(0)) == (1, 101)
    second.__exit__(None, None, None)
    assert type(thing) is Thing


def test_an_exception_restores_all():
    thing = Thing()
    before = look(thing)

    def fail(inherited, item):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), replaced(thing, "say", adding(1)), replaced(thing, "say", fail):
        thing.say()
    assert look(thing) == before
    assert thing.say() == 1


def test_an_attribute_put_there_inside_the_block_is_found_by_the_next_one_and_stays():
    """accelerate's hooks come and go during a call."""
    thing = Thing()
    with replaced(thing, "say", adding(10)):
        thing.say = hook = lambda: 500
        with replaced(thing, "say", adding(1)):
            assert thing.say() == 501
        assert vars(thing)["say"] is hook
    assert vars(thing)["say"] is hook
    assert type(thing) is Thing


def test_a_method_that_the_instance_alone_has():
    thing = Thing()
    thing.sing = lambda: 7
    before = look(thing)
    with replaced(thing, "sing", adding(1)):
        assert thing.sing() == 8
        with replaced(other := Thing(), "say", adding(1)), pytest.raises(AttributeError, match="no attribute 'sing'"):
            other.sing()
    assert look(thing) == before


def test_hooks_of_accelerate_come_back_as_they_were():
    from accelerate.hooks import ModelHook, add_hook_to_module

    module = torch.nn.Linear(2, 2)
    add_hook_to_module(module, ModelHook())
    before, plain = look(module), module(torch.ones(1, 2))
    assert "forward" in vars(module)
    with replaced(module, "forward", adding(1)):
        assert "forward" not in vars(module)
        torch.testing.assert_close(module(torch.ones(1, 2)), plain + 1)
    assert look(module) == before


def test_emptying_the_attributes_changes_nothing():
    """Steps taken again put a scheduler's attributes back so."""
    thing = Thing()
    with replaced(thing, "say", adding(10)):
        kept = dict(vars(thing))
        vars(thing).clear()
        vars(thing).update(kept)
        assert thing.say() == 11
    assert look(thing) == (Thing, {"number": id(thing.number)})


# ---- what a patched object looks like ----


def test_a_class_has_one_subclass_that_looks_like_it():
    first, second = Thing(), Thing()
    with replaced(first, "say", adding(1)):
        kind = type(first)
        assert (kind.__name__, kind.__qualname__, kind.__module__, kind.__doc__) == (
            "Thing", "Thing", __name__, Thing.__doc__
        )  # fmt: skip
        assert isinstance(first, Thing)
        assert unpatched(kind) is Thing
        assert inspect.signature(first.say) == inspect.signature(second.say)
        assert inspect.signature(type(first).say) == inspect.signature(Thing.say)
        with replaced(second, "__call__", adding(1)):
            assert type(second) is kind
            assert second.say() == 1
    assert unpatched(Thing) is Thing
    with replaced(first, "say", adding(2)):
        assert type(first) is kind


def test_a_patched_class_is_equal_to_its_plain_one_and_to_no_other():
    class Named(type):
        pass

    class Other(Thing, metaclass=Named):
        pass

    for kind, another in ((Thing, Other), (Other, Thing)):
        item = kind()
        with replaced(item, "say", adding(1)):
            assert type(item) is not kind
            assert not kind != type(item)  # noqa: E721, SIM202 (as diffusers asks)
            assert {kind: "found"}[type(item)] == "found"
            assert type(item) in (kind, int)
            assert type(item) not in (another, int, None)
            assert isinstance(type(item), type(kind))

            class Below(type(item)):
                pass

            assert Below == Below
            assert Below not in (kind, type(item))
    assert Other != Thing


def test_an_object_made_from_a_patched_class_is_a_plain_one_in_all_but_name():
    thing = Thing()
    with replaced(thing, "say", adding(1)):
        made = type(thing)(3)
        kind = type(made)
    assert (made.say(), made(1)) == (3, 4)
    with replaced(made, "say", adding(1)):
        assert made.say() == 4
    assert type(made) is kind


def copies(item):
    return [copy.copy(item), copy.deepcopy(item), pickle.loads(pickle.dumps(item)), pickle.loads(pickle.dumps(item, 0))]


def test_copies_are_plain_inside_the_block_and_after_it():
    thing = Thing(4)
    with replaced(thing, "say", adding(10)), replaced(thing, "twice", adding(10)):
        made = copies(thing)
        for each in made:
            assert type(each) is Thing
            assert (each.say(), each.twice, vars(each)) == (4, 8, {"number": 4})
            with replaced(each, "say", adding(1)):
                assert (each.say(), thing.say()) == (5, 14)
            assert type(each) is Thing
    assert [each.say() for each in made] == [4] * 4


def say_nothing():
    return 0


def test_copies_have_the_attribute_that_was_taken_out():
    thing = Thing()
    thing.say = say_nothing
    with replaced(thing, "say", adding(10)), replaced(thing, "say", adding(10)):
        assert "say" not in vars(thing)
        made = copies(thing)
    for each in made:
        assert each.say() == 0
        assert set(vars(each)) == {"number", "say"}


class Copied(Thing):
    """Copies itself, and is reduced, in ways of its own."""

    def __deepcopy__(self, memo):
        return type(self)(self.number)

    def __reduce__(self):
        return type(self), (self.number,)


def test_copies_made_by_methods_of_the_class_are_plain_too():
    thing = Copied(2)
    thing.say = say_nothing
    with replaced(thing, "say", adding(10)), replaced(thing, "__call__", adding(10)):
        made = copies(thing)
    assert [type(each) for each in made] == [Copied] * 4
    assert made[1].say() == 0


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "FlowMatchEulerDiscreteScheduler"])
def test_a_scheduler_copied_inside_the_block_is_not_skipped(scheduler):
    """TextToVideoZero and SkyReels copy theirs within a call."""
    import diffusers

    class Copying:
        def __init__(self):
            self.unet, self.scheduler = torch.nn.Identity(), getattr(diffusers, scheduler)()

        def __call__(self):
            self.scheduler.set_timesteps(4)
            own, x = copy.deepcopy(self.scheduler), torch.ones(1, 4)
            for t in own.timesteps:
                x = own.step(self.unet(x), t, x).prev_sample
            return x, own

    pipe = Copying()
    plain, _ = pipe()
    with skip_steps(pipe, "none") as trace:
        frames, own = pipe()
        assert type(own) is getattr(diffusers, scheduler)
    assert torch.equal(frames, plain)
    assert trace.decisions == []


# ---- what stays alive, and who gets in the way ----


def test_nothing_is_kept_alive():
    def kind_and_object():
        class Local(Thing):
            pass

        thing = Local()
        block = replaced(thing, "say", functools.partial(lambda own, inherited, item: own.number, thing))
        block.__enter__()
        assert thing.say() == 1
        return weakref.ref(thing), weakref.ref(Local)  # the block is never left

    references = kind_and_object()
    gc.collect()
    assert [ref() for ref in references] == [None, None]


def test_threads_do_not_see_each_others_objects():
    errors = []

    def work(number):
        thing = Thing(number)
        for i in range(300):
            with replaced(thing, "say", adding(i)), replaced(thing, "__call__", adding(number)):
                if (thing.say(), thing(0)) != (number + i, 2 * number):
                    errors.append(number)
        if type(thing) is not Thing:
            errors.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_compiled_module_is_compiled_once_for_all_blocks():
    """torch.compile in place holds a graph to the class that it was made for."""
    from diffusers import DDIMScheduler
    from diffusers.configuration_utils import ConfigMixin, register_to_config
    from diffusers.models.modeling_utils import ModelMixin

    class Network(ModelMixin, ConfigMixin):
        @register_to_config
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(5, 5)

        def forward(self, x):
            return self.layer(x.to(self.dtype))

    class Loop:
        def __init__(self):
            self.unet, self.scheduler = Network().requires_grad_(False), DDIMScheduler()

        def __call__(self):
            self.scheduler.set_timesteps(4)
            x = torch.ones(1, 5)
            for t in self.scheduler.timesteps:
                x = self.scheduler.step(self.unet(x), t, x).prev_sample
            return x

    graphs = []
    pipe = Loop()
    plain = pipe()
    pipe.unet.compile(backend=lambda graph, inputs: graphs.append(graph) or graph.forward)
    counts = []
    for _ in range(4):
        with skip_steps(pipe, "every-n", every=2) as trace:
            pipe()
        assert trace.num_predictions == [2]
        with skip_steps(pipe, "none"):
            torch.testing.assert_close(pipe(), plain)
        counts.append(len(graphs))
    assert counts[0] >= 1
    assert counts == [counts[0]] * 4


# ---- every pair of those that replace methods ----

IMAGE = Image.fromarray(np.full((64, 64, 3), 90, np.uint8))
USERS = {
    "skip_steps": lambda pipe: skip_steps(pipe, "every-n", every=2),
    "early_exit": lambda pipe: early_exit(pipe, 0.5, heads=ExitHeads.for_unet(pipe.unet).requires_grad_(False).eval()),
    "cached_blocks": lambda pipe: cached_blocks(pipe.unet, 2),
    "solved_adaptively": lambda pipe: solved_adaptively(pipe, 5.0),
    "watched": lambda pipe: watched(pipe.unet),
    "image_conditions": lambda pipe: image_conditions(pipe, [IMAGE], [torch.Generator()], 64, 64),
    "decoding_in_chunks": lambda pipe: decoding_in_chunks(pipe, 1),
    "kept_outputs": lambda pipe: kept_outputs(pipe, {}, None, lambda: None),
    "without_decoding": without_decoding,
}
REFUSED = ("skip_steps", "solved_adaptively")  # each decides which steps there are: only one may
NO_CALLS = ("image_conditions",)  # methods that only I2VGenXLPipeline has


@pytest.fixture(scope="module")
def pair_pipes():
    t2v, i2v = (videoada.load_pipeline(name, device="cpu") for name in ("tiny-t2v", "tiny-i2v"))
    return {"tiny-t2v": t2v, "tiny-i2v": i2v}, {"tiny-t2v": small(t2v), "tiny-i2v": small(i2v)}


def small(pipe, steps=3):
    """One run, of so few steps that one is still skipped; an image-to-video pipeline through `call_pipeline`."""
    from videoada.config.run import GenerationConfig
    from videoada.models.arguments import takes_image
    from videoada.models.call import call_pipeline

    image = IMAGE if takes_image(pipe) else None
    request = GenerationConfig(prompt="a red circle", image=image, num_inference_steps=steps, num_frames=2, seed=1)
    return call_pipeline(pipe, [request])[0][0].frames


def touched(pipe):
    return [pipe, pipe.scheduler, *pipe.unet.modules()]


@pytest.mark.parametrize(("outer", "inner"), itertools.product(USERS, USERS))
def test_after_every_pair_all_is_as_before(pair_pipes, outer, inner):
    pipes, frames = pair_pipes
    name = "tiny-i2v" if {outer, inner} & set(NO_CALLS) else "tiny-t2v"
    pipe = pipes[name]
    before = [look(item) for item in touched(pipe)]
    with ExitStack() as stack:
        if outer in REFUSED and inner in REFUSED:
            stack.enter_context(pytest.raises(ConfigError, match="on already for this pipeline; leave the outer"))
        with USERS[outer](pipe), USERS[inner](pipe):
            assert small(pipe, steps=1 if "solved_adaptively" in (outer, inner) else 3).ndim == 4
    kinds = [(type(item), set(vars(item))) for item in touched(pipe)]
    assert kinds == [(kind, set(attributes)) for kind, attributes in before]
    for item, (_, attributes) in zip(touched(pipe), before, strict=True):
        assert {n: id(v) for n, v in vars(item).items() if callable(v)} == {
            n: attributes[n] for n, v in vars(item).items() if callable(v)
        }
    assert (small(pipe) == frames[name]).all()


@pytest.mark.parametrize("shared", ["scheduler", "unet"])
def test_skip_steps_is_refused_for_another_pipeline_that_shares_a_part(pipe, shared):
    other = copy.copy(pipe)
    if shared == "scheduler":
        other.unet = copy.copy(pipe.unet)
    else:
        other.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
    with skip_steps(pipe), pytest.raises(ConfigError) as refused, skip_steps(other):
        pass
    assert str(refused.value) == "skip_steps is on already for this pipeline; leave the outer block first"
    with skip_steps(other, "none") as trace:
        draw(other, steps=3, num_frames=2)
    assert trace.num_predictions == [3]


def test_a_block_that_is_collected_in_a_cycle_with_what_holds_it_is_undone():
    """The collector clears weak references that are garbage themselves: the block still has to find its item."""

    class Item:
        def method(self):
            return 1

    class Holder:
        pass

    item, holder = Item(), Holder()
    holder.cycle, holder.block = holder, replaced(item, "method", lambda inherited, item: inherited() + 1)
    holder.block.__enter__()
    assert item.method() == 2
    del holder
    gc.collect()
    assert item.method() == 1
    assert type(item) is Item
