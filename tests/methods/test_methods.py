"""Methods: what each of them owes, and what makes each of them itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.svm import LinearSVC
from torch import Tensor

from msanet import data, weights
from msanet.data.dataset import Batch
from msanet.data.sample import Sample
from msanet.errors import InputError
from msanet.export import export
from msanet.labels import EXPRESSIONS
from msanet.methods import METHODS, Context, Method, complete, create_method
from msanet.methods.alt import ALT
from msanet.methods.distill import Teachers
from msanet.methods.ldl import LDL, eye_frames, graph
from msanet.methods.mixup import Mixup, blend, draw
from msanet.methods.rlps import RLPS, walk
from msanet.methods.scn import SCN
from msanet.model import Metadata
from msanet.networks import create_network
from msanet.networks.dan import DAN
from msanet.networks.network import PooledNetwork
from msanet.preprocessing import MEAN_LANDMARKS, Preprocessing
from msanet.train.recipe import load_recipe
from msanet.train.run import Run
from tests.conftest import SMALL

pytestmark = pytest.mark.usefixtures("one_thread")

ARGUMENTS = {"channels": [16, 32], "strides": [1, 2]}
GRAY = Preprocessing(size=32, gray=True)
CPU = torch.device("cpu")


@pytest.fixture
def save_teacher(tmp_path):
    def save(name: str, preprocessing=GRAY, expressions=EXPRESSIONS, favorite=None, temperature=1.0) -> str:
        torch.manual_seed(len(name))
        network = create_network("msanet", len(expressions), **ARGUMENTS)
        if favorite is not None:
            assert isinstance(network, PooledNetwork)
            with torch.no_grad():
                network.fc.weight.zero_()
                network.fc.bias.copy_(torch.tensor([9.0 * (other == favorite) for other in expressions]))
        path = tmp_path / f"{name}.safetensors"
        metadata = Metadata(name, "msanet", ARGUMENTS, tuple(expressions), preprocessing, temperature)
        weights.save(path, network.state_dict(), metadata)
        return str(path)

    return save


def probabilities(path: str, images: torch.Tensor) -> torch.Tensor:
    network, metadata = weights.load(path)
    with torch.no_grad():
        return (network(images) / metadata.temperature).softmax(dim=1)


def test_the_opinion_is_the_mean_of_calibrated_probabilities(save_teacher):
    models = [save_teacher("one", temperature=2.0), save_teacher("three")]
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([probabilities(model, images) for model in models]).mean(dim=0)
    assert torch.allclose(Teachers(models, EXPRESSIONS, GRAY, CPU)(images), expected, atol=1e-5)


def test_a_larger_teacher_gets_the_picture_at_its_own_size(save_teacher):
    teacher = save_teacher("large", Preprocessing(size=64, gray=True))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    larger = torch.nn.functional.interpolate(images, size=(64, 64), mode="bilinear", antialias=True)
    opinion = Teachers([teacher], EXPRESSIONS, GRAY, CPU)(images)
    assert torch.allclose(opinion, probabilities(teacher, larger), atol=1e-5)


def test_an_onnx_file_teaches_as_its_weights_do(save_teacher, tmp_path):
    model, onnx = save_teacher("one", temperature=2.0), tmp_path / "one.onnx"
    export(model, onnx)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    one, other = (Teachers([teacher], EXPRESSIONS, GRAY, CPU)(images) for teacher in (model, str(onnx)))
    assert torch.allclose(one, other, atol=1e-5)


def test_a_teacher_of_eight_expressions_teaches_seven(save_teacher):
    opinion = Teachers([save_teacher("one")], EXPRESSIONS[:7], GRAY, CPU)(torch.randn(2, 3, 32, 32))
    assert opinion.shape == (2, 7)
    assert torch.allclose(opinion.sum(dim=1), torch.ones(2))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"expressions": EXPRESSIONS[:7]}, "does not know contempt"),
        ({"preprocessing": Preprocessing(size=32)}, "takes other colours"),
        ({"preprocessing": Preprocessing(size=32, gray=True, mean=(0.4, 0.4, 0.4))}, "takes other colours"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(save_teacher, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        Teachers([save_teacher("one", **arguments)], EXPRESSIONS, GRAY, CPU)


NARROW = "network={channels: [16, 32], strides: [1, 2]}"
FEW = [
    *("preprocessing.size=32", "preprocessing.resize=null", "small_epochs=0", "epochs=3", "batch_size=8"),
    *("workers=0", "ema=0", "precision=float32", "warmup_epochs=0", "method={name: plain}"),
]
"""Changes of the recipe `default` with which it learns from a few pictures in seconds."""


@pytest.mark.parametrize("sees", ["augmented", "original"])
def test_a_student_believes_its_teacher(save_teacher, faces_folder, tmp_path: Path, sees):
    # The labels are spread evenly, so only the teacher can make all predictions fear.
    teacher = save_teacher("fearful", favorite="fear")
    settings = [f"method={{name: distill, teachers: ['{teacher}'], share: 1, sees: {sees}}}", NARROW]
    run = Run(f"folder:{faces_folder}", "msanet_ms_as", load_recipe("default", [*FEW, *settings]), tmp_path / "run")
    report = run.train()
    assert report is not None
    predicted = report.confusion.sum(axis=0)
    assert predicted[EXPRESSIONS.index("fear")] == report.num_pictures
    assert np.isfinite(report.accuracy)


@pytest.mark.parametrize("sees", ["augmented", "original"])
def test_of_extra_pictures_the_teacher_is_not_asked(save_teacher, make_faces, tmp_path: Path, sees):
    """It calls all fear; anger, of which the extra set alone has pictures, is learnt all the same."""
    teacher = save_teacher("fearful", favorite="fear")
    folder, extra = make_faces({"train": 4, "validation": 2}), tmp_path / "extra"
    extra.mkdir()
    (folder / "train" / "anger").rename(extra / "anger")
    settings = [f"method={{name: distill, teachers: ['{teacher}'], share: 1, sees: {sees}}}", NARROW]
    recipe = load_recipe("default", [*FEW, *settings, "epochs=12", "extra_share=0.3", "learning_rate=0.1"])
    run = Run(f"folder:{folder}", "msanet_ms_as", recipe, tmp_path / "run", extra=f"folder:{extra}")
    report = run.train()
    assert report is not None
    confusion = report.confusion
    anger, fear = EXPRESSIONS.index("anger"), EXPRESSIONS.index("fear")
    assert confusion[anger, anger] == 2
    assert np.delete(confusion[:, fear], anger).sum() >= 12  # of the 14 others


def test_opinions_on_the_originals_are_those_of_picture_and_mirror_image(save_teacher, faces_folder):
    teacher = save_teacher("one")
    samples = data.read(f"folder:{faces_folder}", "train")
    method = make({"name": "distill", "teachers": [teacher], "sees": "original"})
    method.fit(samples, 0)
    images = torch.from_numpy(GRAY([sample.crop() for sample in samples]))
    expected = (probabilities(teacher, images) + probabilities(teacher, images.flip(3))) / 2
    assert torch.allclose(method.get_buffer("opinions"), expected, atol=1e-5)


def make(settings: dict[str, Any], network: str = "msanet_ms_as", **context: Any) -> Method:
    arguments = {"channels": [8, 16]} if network.startswith("msanet") else SMALL.get(network, {"stem_width": 4})
    torch.manual_seed(0)
    made = create_network(network, 8, **arguments)
    return create_method(settings, made, Context(labels=EXPRESSIONS, preprocessing=GRAY, **context))


def make_batch(number: int = 12, epoch: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(number, 3, 32, 32, generator=generator)
    targets = torch.eye(8)[torch.arange(number) % 8]
    points = torch.from_numpy(MEAN_LANDMARKS).expand(number, 5, 2)
    inputs = {"landmarks": points, "unlabelled": images.flip(0)}
    return Batch(images, targets, torch.arange(number), inputs, (epoch, 0))


SETTINGS: dict[str, dict[str, Any]] = {"distill": {"teachers": ["accurate"]}, "psr": {"enlarging_steps": 2}}
"""Options that a method cannot do without."""

NETWORK_OF = {name: name for name in ("dan", "manet", "ran", "oadn", "psr", "fmpn", "gravity")}
"""The network of a method that trains one alone."""


@pytest.mark.parametrize("name", METHODS)
def test_a_method_learns_and_its_gradient_reaches_every_parameter(name, faces_folder):
    method = make({"name": name, **SETTINGS.get(name, {})}, NETWORK_OF.get(name, "msanet_ms_as"))
    method.fit(data.read(f"folder:{faces_folder}", "train"), 0)
    terms = method.train()(make_batch())
    assert terms["loss"].shape == ()
    assert terms["logits"].shape == (12, 8)
    terms["loss"].backward()
    without = [name for name, value in method.named_parameters() if value.grad is None]
    assert without == []
    assert all(terms[name].shape[0] == 12 for name in method.per_picture)


@pytest.mark.parametrize("name", METHODS)
def test_the_settings_of_a_method_are_complete_and_wrong_ones_one_sentence(name):
    settings = {"name": name, **SETTINGS.get(name, {})}
    assert complete(complete(settings)) == complete(settings)
    with pytest.raises(InputError, match=f"method {name}, option nonsense"):
        complete({**settings, "nonsense": 1})


def test_an_unknown_method_is_refused():
    with pytest.raises(InputError, match="there is no method 'magic': choose one of plain"):
        complete({"name": "magic"})


@given(st.integers(2, 9), st.floats(0.05, 5), st.integers(0, 99))
def test_mixup_blends_pictures_and_targets_alike_and_conserves_their_sums(number, strength, seed):
    values = torch.randn(number, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    part, order = draw(number, strength, np.random.default_rng(seed))
    mixed = blend(values, order, part)
    torch.testing.assert_close(mixed.sum(dim=0), values.sum(dim=0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mixed, part * values + (1 - part) * values[order], rtol=1e-4, atol=1e-5)


def test_mixup_is_another_in_each_step_and_process_and_ends_before_the_plain_epochs():
    seen: list[Tensor] = []
    batch = make_batch()
    for process, moment in ((0, (0, 0)), (1, (0, 0)), (0, (0, 1)), (0, (1, 0)), (0, (0, 0))):
        method = make({"name": "mixup", "plain_epochs": 1}, epochs=3, process=process).train()
        assert isinstance(method, Mixup)
        seen.append(method.change(replace(batch, step=moment)).images)
    assert torch.equal(seen[0], seen[4])
    assert all(not torch.equal(seen[0], other) for other in seen[1:4])
    assert torch.equal(method.change(replace(batch, step=(2, 0))).images, batch.images)  # type: ignore[operator]


def test_class_weights_and_focal_loss_count_as_they_say():
    batch = make_batch(8)
    plain = make({"name": "plain"}).eval()
    logits = plain(batch)["logits"].detach()
    losses = -logits.log_softmax(dim=1)[torch.arange(8), torch.arange(8)]
    torch.testing.assert_close(plain(batch)["loss"], losses.mean())
    weighted = make({"name": "plain", "class_weights": {"fear": 3.0}}).eval()
    weights_ = torch.tensor([3.0 if name == "fear" else 1.0 for name in EXPRESSIONS])
    torch.testing.assert_close(weighted(batch)["loss"], (losses * weights_).mean())
    focal = make({"name": "plain", "focal": 2.0}).eval()
    torch.testing.assert_close(focal(batch)["loss"], (losses * (1 - (-losses).exp()) ** 2).mean())
    with pytest.raises(InputError, match="class_weights names 'joy'"):
        make({"name": "plain", "class_weights": {"joy": 3.0}})


def test_scn_relabels_a_wrong_confident_picture_of_the_low_group_alone(faces_folder):
    method = make({"name": "scn", "relabel_from": 1, "ratio": 0.5})
    assert isinstance(method, SCN)
    method.fit(data.read(f"folder:{faces_folder}", "train"), 0)
    logits = torch.zeros(4, 8)
    logits[:, 2] = 5.0  # all are clearly of class 2
    targets = torch.eye(8)[torch.tensor([0, 0, 2, 0])]
    relabel = method.relabelled(logits, targets, torch.tensor([1, 2]))
    assert relabel.tolist() == [-1, 2, -1, -1]
    method.after_epoch({"index": torch.tensor([0, 7, 2, 99_999]), "relabel": torch.tensor([-1, 2, -1, 3])})
    batch = replace(make_batch(2), index=torch.tensor([7, 99_999]))
    assert method.cured(batch).argmax(dim=1).tolist() == [2, 1]
    method.epoch, method.options = 0, method.options.model_copy(update={"relabel_from": 2})
    assert method.relabelled(logits, targets, torch.tensor([1, 2])).tolist() == [-1] * 4


def test_equal_heads_have_the_largest_partition_loss():
    method = make({"name": "dan"}, "dan").eval()
    assert isinstance(method.network, DAN)
    batch = make_batch(8)
    before = method(batch)["partition"]
    first, *others = method.network.heads
    for head in others:
        head.load_state_dict(first.state_dict())
    assert method(batch)["partition"] > before
    with pytest.raises(InputError, match="trains the heads of network dan"):
        make({"name": "dan"}, "resnet18")


def test_svm_minimises_what_scikit_learns_linear_svc_does(faces_folder):
    torch.manual_seed(0)
    network = create_network("hog", 8, kernel="linear", cells=4)
    method = create_method({"name": "svm", "C": 0.5}, network, Context(labels=EXPRESSIONS, preprocessing=GRAY))
    batch = make_batch(24)
    method.fit(data.read(f"folder:{faces_folder}", "train")[:24], 0)
    optimizer = torch.optim.LBFGS(network.parameters(), max_iter=400, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = method(batch)["loss"]
        value.backward()
        return value

    optimizer.step(loss)
    features = network.features(batch.images).numpy()
    machine = LinearSVC(C=0.5, intercept_scaling=1000, tol=1e-6, max_iter=100_000, dual=False)
    machine.fit(features, batch.targets.argmax(dim=1).numpy())
    theirs = machine.decision_function(features)
    np.testing.assert_allclose(method(batch)["logits"].detach().numpy(), theirs, atol=0.02)
    with pytest.raises(InputError, match="end in a linear layer"):
        create_method({"name": "svm"}, create_network("histnet", 8), Context(labels=EXPRESSIONS, preprocessing=GRAY))


def test_gravitys_loss_is_the_sum_of_its_branches():
    method = make({"name": "gravity"}, "gravity").eval()
    terms = method(make_batch())
    torch.testing.assert_close(terms["loss"].detach(), terms["geometric"] + terms["holistic"])
    with pytest.raises(InputError, match="trains the branches of network gravity"):
        make({"name": "gravity"}, "resnet18")


def test_the_policy_keeps_what_is_rewarded_rather_than_what_is_not():
    method = make({"name": "rlps", "rate": 0.002, "passes": 500})  # so many that chance does not decide
    assert isinstance(method, RLPS)
    good = np.arange(60) % 2 == 0
    features = np.where(good[:, None], [1.0, 0.0], [0.0, 1.0])
    weights_ = np.zeros(5)
    for seed in range(3):
        weights_ = method.improve(weights_, features, np.where(good, 0.6, -0.1), np.random.default_rng(seed))
    kept, _ = walk(weights_, features, np.random.default_rng(3), 200)
    assert kept[:, good].mean() > 0.55
    assert kept[:, ~good].mean() < 0.45


def test_the_first_policy_draws_half_and_decides_for_all():
    features = np.random.default_rng(0).standard_normal((500, 3))
    assert walk(np.zeros(7), features)[0].all()
    drawn, gradients = walk(np.zeros(7), features, np.random.default_rng(0), 2)
    assert 0.4 < drawn.mean() < 0.6
    np.testing.assert_allclose(gradients[:, -1], (drawn - 0.5).sum(axis=1))


@pytest.mark.parametrize("selector", ["policy", "agreement"])
def test_a_picture_that_is_left_out_counts_nothing(selector, faces_folder):
    settings = {"name": "rlps", "selector": selector, "beginning": 0, "rounds": 1, "least": 0}
    method = make(settings, epochs=1).eval()
    assert isinstance(method, RLPS)
    method.fit(data.read(f"folder:{faces_folder}", "train"), 0)
    assert method.kept.all()
    batch = make_batch()
    method.kept[3:] = False
    some, alone = (
        method(batch)["loss"],
        method(replace(batch, images=batch.images[:3], targets=batch.targets[:3], index=batch.index[:3])),
    )
    torch.testing.assert_close(some, alone["loss"])
    method.kept[:] = False
    assert method(batch)["loss"] == 0
    extra = replace(batch, index=batch.index + len(method.kept))
    assert method(extra)["loss"] > 0
    method.kept[:] = True
    terms = method(batch)
    agrees = torch.arange(12) != 5
    gathered = {name: terms[name].repeat(4, *[1] * (terms[name].ndim - 1)) for name in method.per_picture}
    gathered["embedding"] = agrees.float()[:, None].repeat(4, 16) * torch.ones(16) * 2 - 1
    gathered["agrees"] = agrees.repeat(4)
    gathered["index"] = torch.arange(48)
    before = method.selector.clone()
    method.after_epoch(gathered)
    assert not torch.equal(method.selector, before)
    if selector == "agreement":
        known = gathered["index"] < len(method.kept)
        assert torch.equal(method.kept, agrees.repeat(4)[known])


def test_rounds_of_selection_are_spread_over_the_epochs_after_the_beginning():
    method = make({"name": "rlps"}, epochs=40)
    assert isinstance(method, RLPS)
    assert [epoch for epoch in range(40) if method.selects(epoch)] == list(range(19, 39, 2))
    short = make({"name": "rlps", "beginning": 0}, epochs=3)
    assert isinstance(short, RLPS)
    assert [epoch for epoch in range(3) if short.selects(epoch)] == [0, 1, 2]


@pytest.mark.parametrize("self_target", ["argmax", "soft"])
def test_alts_labels_are_random_at_first_and_its_own_at_last(self_target):
    method = make({"name": "alt", "self_target": self_target}, epochs=5)
    assert isinstance(method, ALT)
    method.frequencies.copy_(torch.eye(8)[3])
    logits = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    shares, losses = [], []
    for method.epoch in range(5):
        loss, random = method.unlabelled_loss(logits, np.random.default_rng(0))
        shares.append(float(random.float().mean()))
        losses.append(loss)
    assert shares[0] == 1
    assert shares[-1] == 0
    assert shares == sorted(shares, reverse=True)
    torch.testing.assert_close(losses[0], torch.nn.functional.cross_entropy(logits, torch.full((200,), 3)))
    own = torch.distributions.Categorical(logits=logits)
    last = own.entropy().mean() if self_target == "soft" else -own.logits.max(dim=1).values.mean()
    torch.testing.assert_close(losses[-1], last)


def test_alts_noise_on_the_loss_fades_too():
    batch = make_batch()
    first, last = (make({"name": "alt", "randomise": "loss"}, epochs=2).eval() for _ in range(2))
    last.epoch = 1
    assert first(batch)["random"] == 0
    assert not torch.equal(first(batch)["loss"], last(batch)["loss"])
    plain = make({"name": "alt", "weight": 0}, epochs=2).eval()
    torch.testing.assert_close(plain(batch)["loss"], make({"name": "plain"}).eval()(batch)["loss"])
    network = create_network("resnet18", 8, stem_width=4)
    network.inputs = ("landmarks",)
    with pytest.raises(InputError, match="wants landmarks"):
        create_method({"name": "alt"}, network, Context(labels=EXPRESSIONS, preprocessing=GRAY))


def linked(**options: Any) -> LDL:
    """With one edge, from picture 0 to picture 1, of weight 0.5."""
    method = make({"name": "ldl", **options}).eval()
    assert isinstance(method, LDL)
    method.epoch = 1
    method.neighbours, method.edges = torch.ones(1, 12, 1, dtype=torch.int64), torch.zeros(1, 12, 1)
    method.edges[0, 0] = 0.5
    return method


def test_ldl_brings_neighbours_together_and_leaves_the_others_alone():
    method = linked()
    logits = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    before = method.divergence(logits, torch.arange(4))
    probabilities = logits.softmax(dim=1)
    expected = (probabilities[0] * (probabilities[0] / probabilities[1]).log()).sum() * 0.5
    torch.testing.assert_close(before, expected)
    (gradient,) = torch.autograd.grad(before, logits)
    assert (gradient[:2].abs().sum(dim=1) > 0).all()
    assert (gradient[2:] == 0).all()
    assert method.divergence(logits - 0.5 * gradient, torch.arange(4)) < before
    assert method.divergence(logits, torch.tensor([0, 20, 1 + 12, 5])) == 0  # neighbour not there; extra pictures


def test_without_edges_ldl_is_the_plain_loss():
    batch, plain = make_batch(), make({"name": "plain"}).eval()
    method = linked()
    assert method(batch)["loss"] > plain(batch)["loss"]
    method.edges.zero_()
    torch.testing.assert_close(method(batch)["loss"], plain(batch)["loss"])
    early = linked()
    early.epoch = 0
    torch.testing.assert_close(early(batch)["loss"], plain(batch)["loss"])


def test_neighbours_are_the_nearest_others_without_duplicates_and_unknown_ones():
    points = torch.tensor([[0.0], [0.0], [1.0], [3.0], [3.5], [0.5]])
    neighbours, edges = graph(points, torch.tensor([True, True, True, True, True, False]), 2)
    assert neighbours[0].tolist() == [2, 3]
    assert edges[0, 0] > edges[0, 1] > 0
    assert (edges[5] == 0).all()
    assert not (neighbours[:5] == 5).any()


def test_the_frame_of_the_eyes_does_not_know_place_size_or_turn():
    points = MEAN_LANDMARKS.astype(np.float64)
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    moved = 0.5 * points @ turn.T + [0.2, 0.1]
    samples = [Sample(Path("x"), "fear", landmarks=tuple(float(v) for v in rows.ravel())) for rows in (points, moved)]
    framed, known = eye_frames([*samples, Sample(Path("x"), "fear")])
    torch.testing.assert_close(framed[0], framed[1])
    assert framed[0, 3] > 0  # the nose is below the eyes
    assert known.tolist() == [True, True, False]


def test_ldl_shows_a_picture_and_then_its_neighbours(faces_folder):
    samples = data.read(f"folder:{faces_folder}", "train")
    method = make({"name": "ldl", "spaces": ["embedding"], "neighbours": 2})
    assert isinstance(method, LDL)
    method.fit(samples, 0)
    order = list(method.sampler(samples, 0))
    assert len(order) == len(samples)
    for anchor, neighbour in zip(order[::2], order[1::2], strict=True):
        assert neighbour in method.neighbours[0, anchor].tolist()
    assert order != list(method.sampler(samples, 1))
