"""Early exit: what leaves where, what is not run, what heads learn; on the embedded models' own networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import videoada
from videoada.errors import ConfigError, ModelError
from videoada.learned.early_exit import exits_by_step
from videoada.learned.exit_heads import FORMAT, ExitHeads
from videoada.learned.exit_network import ExitTrace, early_exit
from videoada.learned.parts import read_part, write_part
from videoada.skipping.rows import called_for
from videoada.training.exit_losses import Features, exit_losses, guided, watched

FRAMES, ROWS = 3, 4


@pytest.fixture(scope="module", params=["tiny-t2v", "tiny-i2v"])
def network(request):
    """A UNet, untrained heads for it, and a call of it: two prompts with both guidance halves."""
    unet = videoada.load_pipeline(request.param, device="cpu").unet
    torch.manual_seed(0)
    heads = ExitHeads.for_unet(unet).eval().requires_grad_(False)
    half = torch.randn(ROWS // 2, 4, FRAMES, 8, 8)
    inputs = {"encoder_hidden_states": torch.randn(ROWS, 12, 96), "return_dict": False}
    if request.param == "tiny-i2v":
        inputs |= {
            "fps": torch.full((ROWS,), 16), "image_latents": torch.randn(ROWS, 4, FRAMES, 8, 8),
            "image_embeddings": torch.randn(ROWS, unet.config.cross_attention_dim),
        }  # fmt: skip

    def call(rows=slice(None), t=500):
        own = {k: v[rows] if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
        with torch.no_grad():
            return unet((torch.cat([half, half]) * (1 + t / 1000))[rows], torch.tensor(t), **own)[0]

    return unet, heads, call


def test_nothing_leaves_at_the_strict_end(network):
    unet, heads, call = network
    plain = call()
    for threshold in (0.0, 1e-9):
        with early_exit(unet, heads, threshold) as trace:
            assert torch.equal(call(), plain)
    assert trace.calls == [[3, 3]]
    assert trace.costs == sorted(trace.costs)
    assert 0.3 < trace.costs[0] < 0.45
    assert 1 < trace.costs[-1] < 1.01
    assert "forward" not in vars(unet)


def test_each_prompt_leaves_where_it_may(network):
    unet, heads, call = network
    plain = call()
    for place in range(3):
        with early_exit(
            unet, heads, 0.5, choose=lambda n, exit, here, at=place: [i == 0 and exit == at for i in here]
        ) as t:
            mixed = call()
        assert t.calls == [[place, 3]]
        torch.testing.assert_close(mixed[[1, 3]], plain[[1, 3]], rtol=1e-3, atol=1e-4)
        assert torch.equal(mixed[[0, 2]], torch.zeros_like(mixed[[0, 2]]))  # what untrained heads say


def test_heads_see_what_they_would_see_alone(network):
    unet, heads, call = network
    with watched(unet) as calls:
        call()
    features, trained = calls[0], ExitHeads(**heads.config)
    for parameter in trained.parameters():
        nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    expected = trained.heads[1](features.deep[1], features.fine, features.time, FRAMES)
    with (
        torch.no_grad(),
        early_exit(unet, trained, 0.5, choose=lambda n, exit, here: [exit == 1 and i == 1 for i in here]),
    ):
        torch.testing.assert_close(call()[[1, 3]], expected[[1, 3]], rtol=1e-3, atol=1e-4)


def test_layers_behind_the_exit_are_not_run(network):
    unet, heads, call = network
    ran = []
    hooks = [
        m.register_forward_hook(lambda m, a, o: ran.append(len(o)))
        for m in (unet.conv_out, unet.up_blocks[-1].resnets[0])
    ]
    with early_exit(unet, heads, 1.0) as trace:
        call()
        assert (ran, trace.calls) == ([], [[0, 0]])
    with early_exit(unet, heads, 0.5, choose=lambda n, exit, here: [i == 0 for i in here]):
        call()
    assert set(ran) == {ROWS // 2 * FRAMES}
    for hook in hooks:
        hook.remove()


def test_the_network_is_as_before_after_an_exception(network):
    unet, heads, call = network
    plain = call()

    def fail(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), early_exit(unet, heads, 0.5, choose=fail):
        call()
    assert torch.equal(call(), plain)
    assert not any("forward" in vars(module) for module in unet.modules())


def test_multiply_adds_are_counted_when_asked_for(network):
    """Not during the first call, whose time they would double."""
    unet, heads, call = network
    with early_exit(unet, heads, 0.9) as trace:
        call()
        assert trace.counted == []
    assert trace.costs == trace.counted
    assert len(trace.costs) == 4


def test_an_inner_block_leaves_the_outer_one_as_it_was(network):
    unet, heads, call = network
    with early_exit(unet, heads, 0.9) as outer:
        with early_exit(unet, heads, 0.9):
            call()
        before = len(outer.calls)
        call()
    assert len(outer.calls) == before + 1
    assert outer.calls[-1] == [0, 0]
    assert "forward" not in vars(unet)


def test_uncertainties_decide_by_the_mean_over_a_prompt(network):
    unet, heads, call = network
    with early_exit(unet, heads, 1e-9, keep_maps=True) as trace:
        call()
    means = trace.maps[0][0].mean((1, 2, 3))
    first = [float(means[[i, i + 2]].mean()) for i in range(2)]
    assert trace.uncertainties[0][0][0] == pytest.approx(first[0], abs=1e-6)
    with early_exit(unet, heads, sum(first) / 2) as trace:
        call()
    assert [left == 0 for left in trace.calls[0]] == [u < sum(first) / 2 for u in first]


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_thresholds_out_of_range(network, threshold):
    with pytest.raises(ConfigError, match="between 0 and 1"), early_exit(*network[:2], threshold):
        pass


# ---- carrying on ----


@pytest.fixture
def carrying(network):
    """Heads with a horizon of 100 timesteps that say something, and a call of the network at a timestep, for some rows
    of the batch, out of other latents at each timestep."""
    unet, plain, call = network
    heads = ExitHeads(**plain.config | {"horizon": 100})
    for parameter in heads.parameters():
        nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    heads.requires_grad_(False).eval()
    return unet, heads, call


def kept(unet, call, *timesteps):
    with watched(unet) as calls:
        for t in timesteps:
            call(t=t)
    return calls


def always(place, prompts=(0, 1)):
    return lambda n, exit, here: [i in prompts and exit == place for i in here]


def test_predictions_are_carried_on_from_the_last_full_call(carrying):
    unet, heads, call = carrying
    since, now = kept(unet, call, 500, 440)
    with torch.no_grad():
        expected = since.output + heads.heads[1](now.deep[1], now.fine, now.time, FRAMES)
        expected -= heads.heads[1](since.deep[1], since.fine, since.time, FRAMES)
    with early_exit(unet, heads, 0.5, choose=always(1)) as trace:
        first, second = call(t=500), call(t=440)
        call(t=390)  # 110 after the last full call: beyond the horizon
        call(t=380)
        again = call(t=500)  # another generation
    torch.testing.assert_close(first, since.output)
    torch.testing.assert_close(second, expected, rtol=1e-3, atol=1e-4)
    assert trace.calls == [[3, 3], [1, 1], [3, 3], [1, 1], [3, 3]]
    assert trace.uncertainties[0] == [[1.0] * 3] * 2
    assert 0 < trace.uncertainties[1][0][0] < 1
    torch.testing.assert_close(again, first)
    costs = trace.costs
    with early_exit(unet, heads, 1.0) as trace:
        call(t=500)
        call(t=440)
    assert trace.calls == [[3, 3], [0, 0]]
    assert costs[-1] > 1.01  # every head is asked on the way


def test_exits_that_are_not_asked_cost_nothing(carrying):
    unet, heads, call = carrying
    heads.asked = [1]
    with early_exit(unet, heads, 1.0) as trace:
        call(t=500)
        call(t=480)
    assert trace.calls == [[3, 3], [1, 1]]
    assert trace.uncertainties == [[[1.0]] * 2, trace.uncertainties[1]]
    fewer = trace.costs[-1]
    heads.asked = [0, 1, 2]
    with early_exit(unet, heads, 1e-9) as trace:
        call(t=500)
    assert 1 < fewer < trace.costs[-1]


def test_rows_that_were_cut_keep_their_past(carrying):
    """Skipping leaves prompts out of a call, guidance skipping one half; what is carried on is the row's own."""
    unet, heads, call = carrying
    with early_exit(unet, heads, 0.5, choose=always(2)):
        call(t=500)
        together = call(t=480)
    for rows, left in (([1, 3], [[2]]), ([0, 2, 3], [[2, 2]]), ([3], [[2]])):
        with early_exit(unet, heads, 0.5, choose=always(2), guided=True) as trace:
            call(t=500)
            with called_for(rows, ROWS):
                part = call(rows, t=480)
        assert trace.calls[1:] == left
        torch.testing.assert_close(part, together[rows], rtol=1e-3, atol=1e-4)


def test_rows_are_carried_on_each_from_its_own_last_full_call(carrying):
    """One prompt's was at 500, the other's, alone in its call, at 470."""
    unet, heads, call = carrying
    alone = {}
    for since in (500, 470):
        with early_exit(unet, heads, 0.5, choose=always(1)):
            call(t=since)
            alone[since] = call(t=420)
    leaving = [(), (0,), (), (0, 1)]
    with early_exit(
        unet, heads, 0.5, choose=lambda n, exit, here: [exit == 1 and i in leaving[n] for i in here], guided=True
    ) as trace:
        call(t=500)
        call(t=480)
        with called_for([1, 3], ROWS):
            call([1, 3], t=470)
        mixed = call(t=420)
    assert trace.calls == [[3, 3], [1, 3], [3], [1, 1]]
    for since, rows in ((500, [0, 2]), (470, [1, 3])):
        torch.testing.assert_close(mixed[rows], alone[since][rows], rtol=1e-3, atol=1e-4)


def test_heads_are_what_their_layers_say():
    """Products in place of 1×1 and depthwise convolutions, which are slower at these sizes."""
    torch.manual_seed(0)
    heads = ExitHeads([6], 5, 7, 4, horizon=10).requires_grad_(False)
    head, uncertainty = heads.heads[0], heads.uncertainties[0]
    for parameter in heads.parameters():
        nn.init.normal_(parameter, std=0.2)
    features, fine, time = (
        torch.randn(2 * FRAMES, 6, 2, 2),
        torch.randn(2 * FRAMES, 5, 4, 4),
        torch.randn(2 * FRAMES, 7),
    )
    silu = nn.functional.silu
    x = nn.functional.interpolate(head.deep(features), (4, 4), mode="bilinear") + head.fine(fine)
    scale, shift = head.time(silu(time))[..., None, None].chunk(2, dim=1)
    x = x * (1 + scale) + shift
    x = x + head.inner(silu(x))
    x = x + head.frames(silu(x).unflatten(0, (2, FRAMES)).transpose(1, 2)).transpose(1, 2).flatten(0, 1)
    expected = head.out(silu(x)).unflatten(0, (2, FRAMES)).transpose(1, 2)
    torch.testing.assert_close(head(features, fine, time, FRAMES), expected)
    moved = torch.randn(2, 2, FRAMES, 4, 4)
    logits = uncertainty.features(features) + uncertainty.time(silu(time))[..., None, None]
    logits = logits + uncertainty.moved(nn.functional.avg_pool2d(moved.transpose(1, 2).flatten(0, 1), 2))
    expected = torch.sigmoid(logits).unflatten(0, (2, FRAMES))[:, :, 0]
    torch.testing.assert_close(uncertainty(features, time, FRAMES, moved), expected)


# ---- learning ----


def test_losses_by_hand():
    """One exit, a head that says 0 and an uncertainty of ½: L_u = (½ − tanh 2)², L_UAL = ½·4."""
    heads = ExitHeads([6], 5, 7, 4)
    nn.init.zeros_(heads.uncertainties[0].features.weight)
    nn.init.zeros_(heads.uncertainties[0].features.bias)
    nn.init.zeros_(heads.uncertainties[0].time.weight)
    features = Features(
        [torch.randn(4, 6, 2, 2)], torch.randn(4, 5, 4, 4), torch.randn(4, 7), torch.zeros(2, 4, 2, 4, 4)
    )
    of_u, of_layers, errors = exit_losses(heads, features, torch.full((2, 4, 2, 4, 4), 2.0))
    assert of_u.item() == pytest.approx((0.5 - torch.tensor(2.0).tanh().item()) ** 2, rel=1e-5)
    assert of_layers.item() == pytest.approx(2.0, rel=1e-5)
    assert errors == pytest.approx([4.0])


def test_fifty_steps_from_nothing_lower_every_loss(network):
    unet, _, call = network
    with watched(unet) as calls:
        output = call()
    heads = ExitHeads.for_unet(unet)
    optimizer = torch.optim.AdamW(heads.parameters(), lr=3e-3)
    history = []
    for _ in range(50):
        of_u, of_layers, errors = exit_losses(heads, calls[0], output)
        optimizer.zero_grad()
        (of_u + of_layers).backward()
        optimizer.step()
        history.append((of_u.item(), of_layers.item(), *errors))
    assert all(last < 0.7 * first for first, last in zip(history[0], history[-1], strict=True))
    assert all(parameter.grad is not None for parameter in heads.parameters())
    assert all(parameter.grad is None for parameter in unet.parameters())


def test_each_loss_teaches_its_own_part(network):
    unet, _, call = network
    since, now = kept(unet, call, 500, 480)
    heads = ExitHeads.for_unet(unet, horizon=100)
    for loss, own, other in ((0, "uncertainties", "heads"), (1, "heads", "uncertainties")):
        heads.zero_grad()
        exit_losses(heads, now, now.output, since, torch.full((ROWS,), 20.0), guidance_scale=9.0)[loss].backward()
        got = {n.split(".")[0] for n, p in heads.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        assert own in got
        assert other not in got


def test_guided_errors_by_hand():
    x = torch.tensor([[1.0], [2.0], [3.0], [2.0]])  # without text: 1 and 2; conditional: 3 and 2
    assert guided(x, 9.0).flatten().tolist() == [19.0, 2.0, 19.0, 2.0]
    assert guided(x, None) is x


def test_the_network_gets_a_gradient_only_where_it_is_trained_too(network):
    unet, _, _ = network
    heads = ExitHeads.for_unet(unet)
    nn.init.normal_(heads.heads[0].out.weight)
    deep = [torch.randn(2 * FRAMES, c, 2 ** (i + 1), 2 ** (i + 1), requires_grad=True) for i, c in
            enumerate(heads.config["channels"])]  # fmt: skip
    time = heads.config["time_channels"]
    features = Features(
        deep, torch.randn(2 * FRAMES, 64, 8, 8), torch.randn(2 * FRAMES, time), torch.randn(2, 4, FRAMES, 8, 8)
    )
    sum(exit_losses(heads, features, features.output)[:2]).backward()
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in deep[:1])


# ---- files ----


@pytest.mark.parametrize("name", ["horizon", "reach"])
def test_the_horizon_is_read_under_its_old_name_too(network, tmp_path, name):
    unet, plain, _ = network
    heads = ExitHeads(**plain.config | {"horizon": 100})
    heads.save(tmp_path / "h.safetensors")
    tensors, about = read_part(tmp_path / "h.safetensors", FORMAT, "exit heads")
    assert about["config"]["horizon"] == 100
    about["config"][name] = about["config"].pop("horizon")
    write_part(tmp_path / "old.safetensors", tensors, about | {"format": FORMAT})
    assert ExitHeads.load(tmp_path / "old.safetensors", unet).horizon == 100


def test_heads_travel_as_safetensors(network, tmp_path):
    unet, heads, _ = network
    heads.model, heads.threshold = {"name": "x", "weights_sha256": "abc"}, 0.25
    heads.save(tmp_path / "h.safetensors")
    assert (tmp_path / "h.safetensors").stat().st_size < 2e6
    again = ExitHeads.load(tmp_path / "h.safetensors", unet, "abc")
    assert (again.threshold, again.asked) == (0.25, [0, 1, 2])
    for name, value in heads.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=1e-3, atol=1e-3)
    with pytest.raises(ModelError, match="are of another model"):
        ExitHeads.load(tmp_path / "h.safetensors", unet, "abd")
    other = ExitHeads([96, 96], 64, 256, 4)
    other.save(tmp_path / "o.safetensors")
    with pytest.raises(ModelError, match="are of another network"):
        ExitHeads.load(tmp_path / "o.safetensors", unet)
    (tmp_path / "n.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ModelError, match="can't read exit heads"):
        ExitHeads.load(tmp_path / "n.safetensors", unet)
    with pytest.raises(ModelError, match="two levels or more"):
        ExitHeads.for_unet(nn.Linear(2, 2))
    for name, value in (("threshold", "x"), ("threshold", 2.0), ("asked", [7]), ("asked", [])):
        damaged = ExitHeads(**heads.config)
        setattr(damaged, name, value)
        damaged.save(tmp_path / "d.safetensors")
        with pytest.raises(ModelError, match="can't read exit heads"):
            ExitHeads.load(tmp_path / "d.safetensors", unet)


# ---- through the pipeline ----


def test_where_steps_left_is_told_step_by_step():
    trace = ExitTrace(3, 0.5, [0.4, 0.5, 0.8, 1.0], calls=[[3, 0], [1], [2, 2]])
    computed = [[True, False, True, True], [True, False, False, True]]
    assert exits_by_step(trace, computed, 0) == [3, None, 1, 2]
    assert exits_by_step(trace, computed, 1) == [0, None, None, 2]
    assert trace.share([3, 1, 2]) == pytest.approx((1 + 0.5 + 0.8) / 3)
