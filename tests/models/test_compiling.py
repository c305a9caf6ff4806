"""How many graphs a compiled network makes, by a backend that counts them and needs no compiler."""

from __future__ import annotations

import functools
import math

import diffusers
import pytest
import torch

from videoada import Decision, skip_steps
from videoada.benchmarks.timing import twin
from videoada.config.loading import LoadConfig
from videoada.config.run import SkipConfig
from videoada.models.denoisers import is_compiled
from videoada.models.placement import place
from videoada.skipping.rows import Rows

STEPS, PROMPTS = 12, 4


class Network(torch.nn.Module):
    """Looks at its rows one by one, as all denoisers do."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Conv3d(4, 4, 3, padding=1)

    @property
    def dtype(self):
        return next(self.parameters()).dtype

    def forward(self, sample, timestep, return_dict=False):
        return (torch.tanh(self.layer(sample.to(self.dtype))) + 0.1 * sample,)


class Pipe:
    """A text-to-video pipeline's loop: both guidance halves in one call."""

    _execution_device = torch.device("cpu")

    def __init__(self):
        self.unet, self.scheduler = Network(), diffusers.DDIMScheduler(clip_sample=False)

    def to(self, device):
        self.unet.to(device)

    @torch.no_grad()
    def __call__(self, batch=PROMPTS):
        self.scheduler.set_timesteps(STEPS)
        x = torch.randn(batch, 4, 2, 8, 8, generator=torch.Generator().manual_seed(1))
        x = x * torch.logspace(-1, 1, batch).view(-1, 1, 1, 1, 1)
        for t in self.scheduler.timesteps:
            uncond, cond = self.unet(torch.cat([x, x]), t)[0].chunk(2)
            x = self.scheduler.step(uncond + 3 * (cond - uncond), t, x, return_dict=False)[0]
        return x


class EachItsOwn:
    """So many of the prompts compute at each step: a batch cut down to every number of rows."""

    num_latents = 0

    def __init__(self, batch=PROMPTS):
        self.batch = batch

    def decide(self, state):
        needed = self.batch - state.step % (state.num_prompts + 1)
        nothing = (None,) * state.num_prompts
        return Decision(tuple(i < needed for i in range(state.num_prompts)), nothing, nothing)


@pytest.fixture
def compiled(monkeypatch):
    """A pipeline as `compile` leaves it, and the rows of each graph that was made."""
    graphs = []

    def count(graph, inputs):
        graphs.append([tuple(x.shape) for x in inputs if isinstance(x, torch.Tensor) and x.ndim == 5])
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=count))
    pipe = Pipe()
    place(pipe, LoadConfig(compile=True), torch.device("cpu"))
    yield pipe, graphs
    torch._dynamo.reset()


@pytest.mark.parametrize("of", [8, 6, 9, 1])
def test_rows_are_padded_to_few_sizes(of):
    sizes = set()
    for count in range(1, of + 1):
        rows = list(range(count))
        found = Rows(rows).padded(of).numbers
        sizes.add(len(found))
        assert found[:count] == rows
        assert set(found) == set(rows)
        assert count <= len(found) <= min(2 * count, of)
    assert len(sizes) <= math.ceil(math.log2(of)) + 1


def test_a_batch_whose_prompts_skip_apart_compiles_few_graphs_and_none_again(compiled):
    pipe, graphs = compiled
    with skip_steps(pipe, EachItsOwn()) as trace:
        found = pipe()
    assert {sum(steps) for steps in zip(*trace.computed, strict=True)} == {0, 1, 2, 3, 4}
    made = list(graphs)
    assert len({shapes[0][0] for shapes in made if shapes}) == 3  # 8, 4 and 2 rows
    assert len(made) == 3 * len([shapes for shapes in made if shapes and shapes[0][0] == 8])
    with skip_steps(pipe, EachItsOwn()):
        assert torch.equal(pipe(), found)
    with skip_steps(pipe, "none"):
        pipe()
    with skip_steps(pipe, tolerance=0.1):
        pipe()
        pipe(2)  # as many rows as two of four prompts had
    assert graphs == made


def test_batches_of_many_sizes_share_graphs_and_none_is_left_uncompiled(compiled):
    """torch by itself compiles eight graphs of a function, and goes on without from there."""
    pipe, graphs = compiled
    batches = range(1, 13)
    for batch in batches:
        with skip_steps(pipe, "every-n", every=2):
            pipe(batch)
        with skip_steps(pipe, EachItsOwn(batch)):
            pipe(batch)
    made = {shapes[0][0] for shapes in graphs if shapes}
    assert made == {2 * batch for batch in batches}  # powers of two are among them: the cut batches add none
    assert len(graphs) == len(made) * len([1 for shapes in graphs if shapes and shapes[0][0] == 2])


def test_padding_changes_nothing_and_is_counted(compiled):
    pipe, _ = compiled
    plain = Pipe()
    with skip_steps(plain, EachItsOwn()) as of_plain:
        expected = plain()
    with skip_steps(pipe, EachItsOwn()) as trace:
        found = pipe()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)  # other row counts, other kernels
    assert of_plain.padded_rows == 0
    assert trace.computed == of_plain.computed
    assert trace.padded_rows > 0
    assert trace.unet_rows == of_plain.unet_rows + trace.padded_rows


def test_a_timings_second_pipeline_is_compiled_and_compiles_nothing_again(compiled):
    pipe, graphs = compiled
    with skip_steps(pipe, "none"):
        pipe()
    made = len(graphs)
    for _ in range(3):
        other = twin(pipe)
        assert is_compiled(other.unet)
        assert not is_compiled(twin(Pipe()).unet)
        with skip_steps(other, tolerance=1e-9):
            other()
    assert len(graphs) == made


def test_a_network_compiled_by_its_user_is_padded_too(compiled):
    pipe, graphs = compiled
    pipe.unet = torch.compile(Network(), dynamic=False)
    assert is_compiled(pipe.unet)
    with skip_steps(pipe, EachItsOwn()) as trace:
        pipe()
    assert trace.padded_rows > 0
    assert len({shapes[0][0] for shapes in graphs if shapes}) == 3


class IntoOneBuffer(Network):
    """As a network that replays CUDA graphs: for each shape the next call overwrites what the last one returned."""

    def forward(self, sample, timestep, return_dict=False):
        buffers = vars(self).setdefault("buffers_of", {})
        [found] = super().forward(sample, timestep)
        return (buffers.setdefault(found.shape, torch.empty_like(found)).copy_(found),)


@pytest.mark.parametrize("policy", [EachItsOwn(), SkipConfig(tolerance=0.5), "third-order"])
def test_nothing_refers_to_what_the_next_call_overwrites(policy):
    plain, pipe = Pipe(), Pipe()
    pipe.unet = IntoOneBuffer()
    with skip_steps(plain, policy):
        expected = plain()
    with skip_steps(pipe, policy) as trace:
        found = pipe()
    assert 0 < sum(trace.num_predictions) < PROMPTS * STEPS
    assert torch.equal(found, expected)
