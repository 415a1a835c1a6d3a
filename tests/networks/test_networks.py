"""Every registered network, and MSA-Net against the paper's equations.

A new network is tested by its line in `NETWORKS`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d
from torchvision.models import resnet18

from msanet.errors import InputError
from msanet.networks import NETWORKS, Explains, Network, cost_of, count_cost, create_network, example_inputs
from msanet.networks.blocks import CBAM
from msanet.networks.msanet import MSANet, MultiScaleBlock
from msanet.networks.resnet import ResNet18
from tests.conftest import SMALL

pytestmark = pytest.mark.usefixtures("one_thread")

# Branches with attention.
ATTENTIONS = {"resnet18": 0, "msanet_ms": 0, "msanet_ms_as": 1, "msanet": 3}
FULL_PRECISION = ("histnet", "gravity")
"""Networks whose last step is no linear layer, but one that needs float32 under autocast."""
STEM = ("conv1", "bn1", "layer1", "layer2")


def make(name: str, num_classes: int = 7) -> Network:
    """A network, narrow where it is a large one."""
    return create_network(name, num_classes, **SMALL.get(name, {}))


EXPLAINING = [name for name in NETWORKS if isinstance(make(name), Explains)]


def answer(network: Network, pictures: Tensor) -> Tensor:
    """Its logits, with example inputs where it wants some."""
    inputs = example_inputs(network, len(pictures), pictures.shape[-1])[1]
    logits: Tensor = network(pictures, **inputs)
    return logits


@pytest.fixture(scope="module")
def networks(one_thread) -> dict[str, nn.Module]:
    """Each network, eight classes, in evaluation mode; read only."""
    torch.manual_seed(0)
    return {name: settle(make(name, 8)) for name in NETWORKS}


def settle(network: nn.Module) -> nn.Module:
    """Statistics and BatchNorm weights of their own everywhere, so that a mistake in them would be seen."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.3, 0.3)
            nn.init.uniform_(module.running_mean, -0.3, 0.3)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return network.eval()


def images(number: int = 2, height: int = 32, width: int | None = None, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(number, 3, height, width or height, generator=generator)


# -- the registry -----------------------------------------------------------------------------------------------------


def test_the_registry_holds_the_rows_of_the_papers_ablation():
    assert list(NETWORKS)[:4] == ["resnet18", "msanet_ms", "msanet_ms_as", "msanet"]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 32), (33, 33), (45, 45), (48, 80), (64, 64)])
@torch.inference_mode()
def test_pictures_of_any_size_give_a_logit_for_each_class(networks, name, height, width):
    logits = answer(networks[name], images(2, height, width))
    assert logits.shape == (2, 8)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_a_picture_does_not_depend_on_the_others_of_its_batch(networks, name):
    batch = images(3)
    alone = torch.cat([answer(networks[name], image[None]) for image in batch])
    torch.testing.assert_close(answer(networks[name], batch), alone, rtol=1e-4, atol=1e-4)
    assert (alone[0] - alone[1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_a_gradient_reaches_every_parameter(name):
    torch.manual_seed(0)
    network = make(name).train()
    for value in network.parameters():
        if value.dim() > 1 and not value.any():  # a layer that starts from zero hides those under it
            nn.init.normal_(value, std=0.1)
    nn.functional.cross_entropy(answer(network, images(4, 64)), torch.tensor([0, 1, 2, 3])).backward()
    without = [key for key, value in network.named_parameters() if value.grad is None or not value.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_saved_weights_give_equal_logits(networks, name, tmp_path):
    torch.save(networks[name].state_dict(), tmp_path / "state.pt")
    other = make(name, 8).eval()
    assert not torch.equal(answer(other, images()), answer(networks[name], images()))
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    # Where weights lie in memory decides the order of some sums.
    torch.testing.assert_close(answer(other, images()), answer(networks[name], images()), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_seed_decides_the_initial_weights(name):
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(make(name).state_dict())
    first, same, other = states
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert sum(not torch.equal(first[key], other[key]) for key in first) >= 2


@pytest.mark.parametrize("name", NETWORKS)
def test_mixed_precision_trains_and_agrees_with_full_precision(networks, name):
    network = networks[name]
    with torch.autocast("cpu", torch.bfloat16):
        logits = answer(network, images().to(memory_format=torch.channels_last))
    assert logits.dtype == (torch.float32 if name in FULL_PRECISION else torch.bfloat16)
    with torch.inference_mode():
        full = answer(network, images())
    assert (logits.detach().float() - full).abs().max() < 0.1 * full.abs().max()
    gradients = torch.autograd.grad(logits.float().square().sum(), list(network.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", EXPLAINING)
@pytest.mark.parametrize("side", [32, 45])
@torch.inference_mode()
def test_the_mean_of_the_evidence_is_the_logits(networks, name, side):
    network, batch = networks[name], images(2, side)
    explanation = network.explain(batch)
    torch.testing.assert_close(explanation.logits, network(batch), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(explanation.evidence.mean(dim=(2, 3)), explanation.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(network.fc(explanation.embedding), explanation.logits, rtol=1e-5, atol=1e-5)
    assert explanation.evidence.shape[:2] == (2, 8)
    if side == 45:  # more than one position, so the mean is one of different numbers
        assert explanation.evidence.std(dim=(2, 3)).min() > 1e-4


@pytest.mark.parametrize("name", EXPLAINING)
@torch.inference_mode()
def test_there_is_an_attention_map_for_each_branch_in_0_to_1(networks, name):
    explanation = networks[name].explain(images(2, 64))
    number = ATTENTIONS.get(name, explanation.attention.shape[1])
    assert explanation.attention.shape == (2, number, *explanation.evidence.shape[2:])
    assert ((explanation.attention >= 0) & (explanation.attention <= 1)).all()
    if number:
        assert explanation.attention.std() > 1e-4


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("vgg", {}, "no network 'vgg': choose one of resnet18, msanet_ms"),
        ("msanet", {"depth": 3}, "network msanet has no argument depth"),
        ("msanet", {"kernel": 3}, "network msanet has no argument kernel;"),
        ("resnet18", {"kernels": [3]}, "network resnet18 has no argument kernels"),
        ("msanet_ms", {"kernels": [3]}, "network msanet_ms has no argument kernels; it has kernel, hierarchy"),
        ("msanet_ms", {"attention": True}, "network msanet_ms has no argument attention"),
        ("msanet_ms_as", {"kernels": [3]}, "network msanet_ms_as has no argument kernels"),
        ("msanet", {"hierarchy": "sum"}, "hierarchy is 'sum': choose one of equation, res2net"),
        ("msanet", {"kernels": [3, 4]}, r"kernels are \[3, 4\]: give one or more odd numbers"),
        ("msanet", {"kernels": []}, "kernels are"),
        ("msanet", {"kernels": [-1]}, "kernels are"),
        ("msanet", {"kernels": 3}, "network msanet cannot be made with {'kernels': 3}"),
        ("msanet_ms", {"kernel": 2}, "kernels are"),
        ("msanet", {"channels": [64]}, "channels and strides need one positive number for each block"),
        ("msanet", {"channels": [], "strides": []}, "channels and strides"),
        ("msanet", {"strides": [0, 2]}, "channels and strides"),
        ("msanet", {"strides": 2}, "network msanet cannot"),
        ("msanet", {"num_subsets": 0}, "num_subsets at least 1"),
        ("msanet", {"width_ratio": 0.001}, "width_ratio 0.001 leaves no channel for 4 subsets"),
        ("msanet", {"width_ratio": -1.0}, "width_ratio -1.0"),
        ("msanet", {"reduction": 0}, "reduction is 0"),
        ("msanet", {"stem_width": 0}, "stem_width is 0"),
        ("resnet18", {"stem_width": 0}, "stem_width is 0"),
        ("res2net", {"plan": [2, 2]}, r"plan is \[2, 2\]: give four positive numbers"),
        ("res2net", {"num_subsets": 1}, "num_subsets 1"),
        ("cbam_resnet18", {"reduction": 0}, "reduction is 0"),
        ("se_resnet18", {"reduction": 0}, "reduction is 0"),
        ("manet", {"local_share": 2}, "local_share is 2"),
        ("ran", {"sides": [0.5]}, r"sides are \[0.5\]: give five numbers"),
        ("ran", {"normalise": "max"}, "normalise is 'max': choose one of sum, softmax"),
        ("dlp_cnn", {"size": 4}, "size 4"),
        ("oadn", {"sigma": 0}, "sigma is 0"),
        ("oadn", {"predict": "all"}, "predict is 'all': choose one of both, regions"),
        ("pacnn", {"window": 1}, "window 1"),
        ("gacnn", {"size": 8}, "size is 8: give at least 16"),
        ("psr", {"size": 48}, "size 48"),
        ("fmpn", {"width": 0}, "width is 0"),
        ("msanet", {"num_classes": 1}, "num_classes is 1"),
    ],
)
def test_what_no_network_can_be_made_of_is_refused(name, arguments, words):
    with pytest.raises(InputError, match=words) as caught:
        create_network(name, **arguments)
    assert "\n" not in str(caught.value)


# -- costs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "parameters", "multiply_adds"),
    [
        ("msanet", {}, 3_736_531, 1_279_107_654),
        ("msanet", {"width_ratio": 1.0}, 9_577_939, 1_794_515_526),
        ("resnet18", {}, 11_180_103, 1_813_564_928),
    ],
)
def test_the_costs_at_224_are_pinned(name, arguments, parameters, multiply_adds):
    network = create_network(name, 7, **arguments).train()
    assert count_cost(network, 224) == (parameters, multiply_adds)
    assert network.training


# Classes, arguments, side, parameters, multiply-adds in G; parameters are the published ones or those that were counted
# from the authors' code (see the docstrings).
SYSTEMS: dict[str, list[tuple[int, dict[str, Any], int, int, float]]] = {
    "res2net": [
        (1000, {"plan": (3, 4, 6, 3), "width": 26}, 224, 25_699_120, 4.26),
        (8, {}, 64, 11_242_938, 0.16),
    ],
    "cbam_resnet18": [(7, {}, 224, 11_269_983, 1.81)],
    "se_resnet18": [(7, {}, 224, 11_267_143, 1.81)],
    "manet": [(7, {}, 224, 50_547_214, 3.64)],
    "ran": [(7, {}, 224, 11_185_225, 10.88)],
    "dlp_cnn": [(7, {}, 100, 74_944_743, 0.52), (8, {"size": 64}, 64, 33_986_744, 0.22)],
    "oadn": [(8, {}, 224, 11_843_432, 3.05)],
    "pacnn": [(7, {}, 224, 150_214_525, 16.26), (8, {"first_pool": False, "window": 4}, 64, 134_486_910, 5.33)],
    "gacnn": [
        (7, {}, 224, 209_272_895, 19.09),
        (8, {"size": 64, "first_pool": False, "window": 4}, 64, 158_942_272, 6.26),
    ],
    "psr": [(7, {}, 100, 20_244_586, 10.10), (8, {"size": 64}, 64, 20_150_059, 4.23)],
    "fmpn": [(7, {"width": 64}, 224, 11_180_103 + 6_040_968 + 377, 23.52)],
}


@pytest.mark.parametrize(("name", "row"), [(name, row) for name, rows in SYSTEMS.items() for row in rows])
def test_the_costs_of_other_systems_are_those_published_or_counted(name, row):
    classes, arguments, side, parameters, operations = row
    counted, multiply_adds = cost_of(name, side, classes, **arguments)
    assert counted == parameters
    assert multiply_adds / 1e9 == pytest.approx(operations, abs=0.006)


def test_cost_of_what_can_be_counted_by_hand():
    class Small(nn.Module):
        inputs = ()

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3, padding=1, bias=False)
            self.fc = nn.Linear(5, 2)

        def forward(self, maps: Tensor) -> Tensor:
            return self.fc(self.conv(maps).mean(dim=(2, 3)))

    parameters = 5 * 3 * 9 + 5 * 2 + 2
    assert count_cost(Small(), 16) == (parameters, 16 * 16 * 5 * 3 * 9 + 5 * 2)  # type: ignore[arg-type]


# -- the stem ---------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_the_stem_makes_the_papers_map_of_a_picture_of_224():
    network = create_network("msanet").eval()
    assert isinstance(network, MSANet)
    maps = network.stem(images(1, 224))
    assert maps.shape == (1, 128, 28, 28)
    assert [tuple(branch(maps).shape[1:]) for branch in network.branches] == [(512, 7, 7)] * 3


def test_the_resnet18_of_the_registry_is_torchvisions():
    donor = settle(resnet18(num_classes=7))
    network = create_network("resnet18", 7).eval()
    network.load_state_dict(donor.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(network(images(2, 64)), donor(images(2, 64)), rtol=1e-5, atol=1e-5)


# -- the multi-scale block against Eq. (1) ----------------------------------------------------------------------------


def make_block(
    hierarchy: str, num_subsets: int = 4, kernel: int = 3, stride: int = 1, seed: int = 0
) -> MultiScaleBlock:
    torch.manual_seed(seed)
    block = MultiScaleBlock(8, 6 * num_subsets, kernel, stride, num_subsets, 0.5, hierarchy)
    settle(block)
    return block


def pair(module: nn.Module) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """The convolution and the BatchNorm that a module begins with."""
    convolution, norm, *_ = module.children()
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return convolution, norm


def layers(block: MultiScaleBlock) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    return pair(block.subsets[0])


def equation(block: MultiScaleBlock, maps: Tensor, training: bool) -> tuple[Tensor, list[Tensor]]:
    """Eq. (1) as a loop, P_i = convolution, BatchNorm, ReLU on slices of the block's weights; and running means."""
    convolution, norm = layers(block)
    n, width = block.num_subsets, convolution.out_channels // block.num_subsets
    outputs: list[Tensor] = []
    means = []
    for i in range(n):
        own = slice(i * width, (i + 1) * width)
        response = conv2d(maps[:, own], convolution.weight[own], None, convolution.stride, convolution.padding)
        mean, variance = norm.running_mean[own].clone(), norm.running_var[own].clone()  # type: ignore[index]
        response = batch_norm(response, mean, variance, norm.weight[own], norm.bias[own], training, 0.1, norm.eps)
        response = response.relu()
        outputs.append(response + outputs[-1] if outputs else response)  # Y_i = P_i(X_i) + Y_(i-1)
        means.append(mean)
    return torch.cat(outputs, dim=1), means


@given(
    st.sampled_from([1, 2, 4, 5]),
    st.sampled_from([1, 3, 5, 7]),
    st.sampled_from([1, 2]),
    st.integers(3, 9),
    st.booleans(),
    st.integers(0, 99),
)
@settings(max_examples=40)
@torch.no_grad()
def test_one_grouped_convolution_and_a_cumulative_sum_are_the_loop_of_equation_1(
    num_subsets, kernel, stride, side, training, seed
):
    block = make_block("equation", num_subsets, kernel, stride, seed).train(training)
    convolution, norm = layers(block)
    maps = torch.randn(3, convolution.in_channels, side, side + 1)
    expected, means = equation(block, maps, training)
    torch.testing.assert_close(block.hierarchical(maps), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_mean, torch.cat(means), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_gradients_of_the_grouped_form_are_those_of_the_loop(training):
    block = make_block("equation").train(training)
    convolution, norm = layers(block)
    maps = torch.randn(3, convolution.in_channels, 6, 6, requires_grad=True)
    direction = torch.randn(3, convolution.out_channels, 6, 6)
    inputs = [maps, convolution.weight, norm.weight, norm.bias]
    expected = torch.autograd.grad((equation(block, maps, training)[0] * direction).sum(), inputs)
    result = torch.autograd.grad((block.hierarchical(maps) * direction).sum(), inputs)
    for mine, loop in zip(result, expected, strict=True):
        torch.testing.assert_close(mine, loop, rtol=1e-3, atol=1e-4)


@given(st.sampled_from([1, 2, 4, 5]), st.sampled_from([3, 7]), st.sampled_from([1, 2]), st.integers(0, 99))
@settings(max_examples=20)
@torch.no_grad()
def test_equation_1_is_a_reparametrisation_of_a_plain_grouped_convolution(num_subsets, kernel, stride, seed):
    """The 1x1 convolution behind the sums is linear, so it can do the sums itself.

    sum_i W_i Y_i = sum_i W_i sum_(j<=i) P_j(X_j) = sum_j (sum_(i>=j) W_i) P_j(X_j): with weights summed from the last
    subset backwards, the hierarchy as printed can be left out, and the function is the same.
    """
    block = make_block("equation", num_subsets, kernel, stride, seed)
    maps = torch.randn(2, 8, 7, 7)
    expand: nn.Conv2d = block.expand[0]  # type: ignore[assignment]
    reduced = block.reduce(maps)
    with_hierarchy = expand(block.hierarchical(reduced))
    plain = block.subsets[0](reduced)
    parts = expand.weight.unflatten(1, (num_subsets, -1))  # [outputs, n, width / n, 1, 1]
    backwards = parts.flip(1).cumsum(dim=1).flip(1).flatten(1, 2)
    torch.testing.assert_close(conv2d(plain, backwards), with_hierarchy, rtol=1e-4, atol=1e-4)
    if num_subsets > 1:
        assert (conv2d(plain, expand.weight) - with_hierarchy).abs().max() > 1e-2


@given(st.sampled_from([1, 2, 4]), st.sampled_from([1, 3, 5]), st.booleans(), st.integers(0, 99))
@settings(max_examples=20)
@torch.no_grad()
def test_res2net_adds_before_the_convolution(num_subsets, kernel, training, seed):
    block = make_block("res2net", num_subsets, kernel, seed=seed).train(training)
    maps = torch.randn(3, 3 * num_subsets, 6, 5)
    expected: list[Tensor] = []
    for i, subset in enumerate(block.subsets):
        convolution, norm = pair(subset)
        inputs = maps[:, 3 * i : 3 * i + 3]
        if i:
            inputs = inputs + expected[i - 1]  # Y_i = P_i(X_i + Y_(i-1))
        mean, variance = norm.running_mean.clone(), norm.running_var.clone()  # type: ignore[union-attr]
        response = conv2d(inputs, convolution.weight, padding=kernel // 2)
        expected.append(batch_norm(response, mean, variance, norm.weight, norm.bias, training, 0.1, norm.eps).relu())
    torch.testing.assert_close(block.hierarchical(maps), torch.cat(expected, dim=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hierarchy", ["equation", "res2net"])
@pytest.mark.parametrize("num_subsets", [1, 4])
def test_both_orders_have_the_same_number_of_parameters(hierarchy, num_subsets):
    own = sum(value.numel() for value in make_block(hierarchy, num_subsets).parameters())
    other = sum(value.numel() for value in make_block("equation", num_subsets).parameters())
    assert own == other


def receptive_fields(block: MultiScaleBlock, kernel: int) -> list[int]:
    """Side of the square of inputs that the centre of Y_i depends on, by its gradient, for each i."""
    side = 8 * kernel + 1
    for name, value in block.named_parameters():
        # All positive: no ReLU cuts a gradient, no two paths cancel.
        value.data.fill_(0.0 if name.endswith("1.bias") else 0.1)
    for name, buffer in block.named_buffers():
        if buffer.is_floating_point():
            buffer.fill_(1.0 if name.endswith("var") else 0.0)
    channels = pair(block.reduce)[0].out_channels
    fields = []
    for i in range(block.num_subsets):
        maps = torch.ones(1, channels, side, side, requires_grad=True)
        response = block.hierarchical(maps)[0, i * channels // block.num_subsets, side // 2, side // 2]
        (gradient,) = torch.autograd.grad(response, maps)
        seen = gradient[0].sum(dim=0) > 0
        rows, columns = (int(seen.any(dim=dim).sum()) for dim in (1, 0))
        assert rows == columns
        assert int(seen.sum()) == rows * columns
        fields.append(rows)
    return fields


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_the_receptive_field_grows_with_the_subset_in_res2net_only(kernel):
    """The paper says that later subsets see more; in its Eq. (1) as printed they do not."""
    grows = [kernel + i * (kernel - 1) for i in range(4)]
    assert receptive_fields(make_block("res2net", kernel=kernel), kernel) == grows
    assert receptive_fields(make_block("equation", kernel=kernel), kernel) == [kernel] * 4


@pytest.mark.parametrize("hierarchy", ["equation", "res2net"])
@pytest.mark.parametrize(("stride", "side", "expected"), [(1, 7, 7), (2, 8, 4), (2, 7, 4), (2, 1, 1)])
@torch.inference_mode()
def test_a_block_halves_odd_maps_as_its_shortcut_does(hierarchy, stride, side, expected):
    block = make_block(hierarchy, stride=stride)
    assert block(torch.randn(1, 8, side, side)).shape == (1, 24, expected, expected)


@torch.inference_mode()
def test_a_block_is_its_branch_plus_its_shortcut():
    block = make_block("equation")
    maps = torch.randn(2, 8, 5, 5)
    branch = block.expand(block.hierarchical(block.reduce(maps)))
    torch.testing.assert_close(block(maps), (branch + block.shortcut(maps)).relu())
    same = MultiScaleBlock(24, 24, 3, 1, 4, 0.5, "equation")
    assert isinstance(same.shortcut, nn.Identity)


def test_the_width_is_rounded_down_to_a_multiple_of_the_subsets():
    block = MultiScaleBlock(8, 30, 3, 1, 4, 0.5, "equation")  # 15 channels, 12 of them used
    assert layers(block)[0].out_channels == 12


@pytest.mark.parametrize("hierarchy", ["equation", "res2net"])
def test_the_network_passes_its_arguments_to_every_block(hierarchy):
    network = create_network(
        "msanet", kernels=(5, 1), hierarchy=hierarchy, num_subsets=2, channels=(32, 48, 64), strides=(1, 2, 1)
    )
    assert isinstance(network, MSANet)
    for branch, kernel in zip(network.branches, (5, 1), strict=True):
        assert isinstance(branch, nn.Sequential)
        assert len(branch) == 3
        for block, outputs in zip(branch, (32, 48, 64), strict=True):
            assert isinstance(block, MultiScaleBlock)
            convolutions = [module for module in block.subsets.modules() if isinstance(module, nn.Conv2d)]
            assert {module.kernel_size for module in convolutions} == {(kernel, kernel)}
            assert sum(module.out_channels for module in convolutions) == outputs // 2
            assert block.num_subsets == 2
            assert pair(block.expand)[0].out_channels == outputs
            assert len(convolutions) == (1 if hierarchy == "equation" else 2)
    assert network.fc.in_features == 2 * 64
    assert network.eval()(images(1, 64)).shape == (1, 7)
    assert network.explain(images(1, 64)).evidence.shape == (1, 7, 4, 4)  # 64 / 8 / 2


def test_hierarchies_are_different_functions():
    outputs = []
    for hierarchy in ("equation", "res2net"):
        torch.manual_seed(0)
        network = create_network("msanet_ms", hierarchy=hierarchy).eval()
        outputs.append(network(images(1, 64)).detach())
    assert not torch.allclose(*outputs)


@pytest.mark.parametrize("name", ["msanet_ms", "msanet_ms_as"])
def test_the_kernel_of_one_branch_is_an_argument(name):
    for arguments, kernel in (({}, 3), ({"kernel": 5}, 5)):
        network = create_network(name, **arguments)
        assert isinstance(network, MSANet)
        (branch,) = network.branches
        assert isinstance(branch, nn.Sequential)
        blocks = [block for block in branch if isinstance(block, MultiScaleBlock)]
        assert [layers(block)[0].kernel_size for block in blocks] == [(kernel, kernel)] * 2


# -- CBAM against its formulas ----------------------------------------------------------------------------------------


@torch.inference_mode()
def test_cbam_is_channel_then_spatial_attention():
    torch.manual_seed(0)
    cbam = CBAM(8, reduction=4)
    settle(cbam)
    maps = torch.randn(2, 8, 5, 6)
    refined, spatial = cbam(maps)

    def sigmoid(values: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-values))

    first, _, second = cbam.mlp
    w1, b1, w2, b2 = (value.double().numpy() for value in (*first.parameters(), *second.parameters()))
    convolution, norm = pair(cbam.spatial)
    weight = convolution.weight.double().numpy()[0]  # [2, 7, 7]
    gamma, beta, mean, variance = (
        float(norm.state_dict()[name]) for name in ("weight", "bias", "running_mean", "running_var")
    )
    features = maps.double().numpy()
    for index in range(2):
        vectors = [features[index].mean(axis=(1, 2)), features[index].max(axis=(1, 2))]
        channel = sigmoid(sum(w2 @ np.maximum(w1 @ vector + b1, 0) + b2 for vector in vectors))  # M_c(F)
        f1 = channel[:, None, None] * features[index]
        pooled = np.pad(np.stack([f1.max(axis=0), f1.mean(axis=0)]), ((0, 0), (3, 3), (3, 3)))
        attention = np.empty((5, 6))
        for row in range(5):
            for column in range(6):
                response = (pooled[:, row : row + 7, column : column + 7] * weight).sum()
                attention[row, column] = sigmoid((response - mean) / np.sqrt(variance + norm.eps) * gamma + beta)
        np.testing.assert_allclose(spatial[index, 0].numpy(), attention, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(refined[index].numpy(), attention * f1, rtol=1e-4, atol=1e-5)


def test_cbam_keeps_at_least_one_hidden_unit():
    cbam = CBAM(8, reduction=16)
    assert cbam.mlp[0].out_features == 1
    assert cbam(torch.zeros(2, 8, 3, 3))[0].shape == (2, 8, 3, 3)


def test_a_narrower_stem_makes_a_smaller_network_of_the_same_head():
    full, narrow = create_network("msanet", 8), create_network("msanet", 8, stem_width=16)
    assert narrow.state_dict()["conv1.weight"].shape[0] == 16
    assert narrow.state_dict()["fc.weight"].shape == full.state_dict()["fc.weight"].shape
    assert count_cost(narrow, 64)[1] < count_cost(full, 64)[1] / 2
    assert narrow(torch.zeros(2, 3, 64, 64)).shape == (2, 8)


def test_resnets_strides_give_it_the_maps_of_an_msanet():
    plain, fine = (ResNet18(strides=strides).eval() for strides in ((2, 2), (1, 2)))
    sizes = [network.feature_maps(images(1, 64))[0].shape[2:] for network in (plain, fine)]
    assert sizes == [(2, 2), (4, 4)]
    for strides in ([2], [1, 2, 2], [0, 2]):
        with pytest.raises(InputError, match="two positive numbers"):
            create_network("resnet18", strides=strides)
