"""The losses of Eq. 9 and the sums over tasks, against naive loops and closed forms."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from reclib.errors import ReclibError
from reclib.models.objectives import (
    KINDS,
    Uncertainty,
    diversity_loss,
    main_loss,
    sampled_softmax,
    weighted,
)

Slate = tuple[Tensor, Tensor, Tensor]


def slate(seed: int = 0, *, n: int = 5, c: int = 7, d: int = 3) -> Slate:
    """Scores, which are relevant and vectors, in float64; every row has a relevant one."""
    drawn = torch.Generator().manual_seed(seed)
    scores = torch.randn(n, c, generator=drawn, dtype=torch.float64)
    relevant = torch.rand(n, c, generator=drawn) < 0.3
    relevant[:, 0] = True
    return scores, relevant, torch.randn(n, c, d, generator=drawn, dtype=torch.float64)


def padded(whole: Slate) -> Slate:
    """The same slates with padding of the worst kind, and one slate of nothing else."""
    scores, relevant, vectors = whole
    return (
        functional.pad(scores, (0, 2, 0, 1), value=-torch.inf),
        functional.pad(relevant, (0, 2, 0, 1), value=True),
        functional.pad(vectors, (0, 0, 0, 2, 0, 1), value=torch.nan),
    )


def naive_diversity(scores: Tensor, vectors: Tensor, temperature: float) -> Tensor:
    total = torch.zeros((), dtype=scores.dtype)
    for row, ys in zip(scores, vectors, strict=True):
        p = torch.exp(row / temperature) / torch.exp(row / temperature).sum()
        for i in range(len(row)):
            for j in range(len(row)):
                if i != j:
                    cosine = ys[i] @ ys[j] / (ys[i].norm() * ys[j].norm())
                    total = total + p[i] * p[j] * cosine
    return total / len(scores)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
def test_diversity_equals_the_double_loop(temperature: float) -> None:
    scores, _, vectors = slate()
    torch.testing.assert_close(
        diversity_loss(scores, vectors, temperature=temperature),
        naive_diversity(scores, vectors, temperature),
    )


def test_the_gradient_of_diversity_is_that_of_finite_differences() -> None:
    scores, _, vectors = slate(n=2, c=4)
    inputs = scores.requires_grad_(), vectors.requires_grad_()
    assert torch.autograd.gradcheck(lambda s, y: diversity_loss(s, y, temperature=0.7), inputs)


def test_products_all_alike_are_the_least_diverse_and_orthogonal_ones_cost_nothing() -> None:
    scores, _, _ = slate(c=3)
    axes = torch.eye(3, dtype=torch.float64).expand(5, 3, 3)
    torch.testing.assert_close(diversity_loss(scores, 4 * axes).item(), 0.0)
    alike = diversity_loss(scores, torch.tensor([1.0, 2, 3]).double().expand(5, 3, 3))
    p = scores.softmax(1)
    torch.testing.assert_close(alike, (1 - p.square().sum(1)).mean())
    assert all(diversity_loss(scores, slate(seed, c=3)[2]) < alike for seed in range(20))


def test_a_vector_of_zeros_is_unlike_all_others() -> None:
    scores = torch.zeros(1, 3)
    vectors = torch.tensor([[[1.0, 0], [1, 0], [0, 0]]])
    torch.testing.assert_close(diversity_loss(scores, vectors).item(), 2 / 9)


def test_going_down_the_diversity_loss_makes_slates_more_diverse() -> None:
    """Of two copies and another product, the copies give way."""
    scores = torch.zeros(1, 3, requires_grad=True)
    vectors = torch.tensor([[[1.0, 0], [1, 0], [0, 1]]])
    (gradient,) = torch.autograd.grad(diversity_loss(scores, vectors), scores)
    assert gradient[0, 0] == gradient[0, 1] > 0 > gradient[0, 2]


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "diversity": lambda s, r, y: diversity_loss(s, y, temperature=0.5),
    "bce": lambda s, r, y: main_loss(s, r, kind="bce"),
    "mse": lambda s, r, y: main_loss(s, r, kind="mse"),
    "softmax": lambda s, r, y: main_loss(s, r, kind="softmax"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_padding_changes_neither_value_nor_gradient(name: str) -> None:
    results = []
    for scores, relevant, vectors in (slate(), padded(slate())):
        inputs = scores.requires_grad_(), vectors.requires_grad_()
        loss = LOSSES[name](inputs[0], relevant, inputs[1])
        gradients = torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)
        results.append((loss, *gradients))
    (loss, of_scores, of_vectors), (padded_loss, *padded_gradients) = results
    torch.testing.assert_close(padded_loss, loss)
    expected = (
        functional.pad(of_scores, (0, 2, 0, 1)),
        functional.pad(of_vectors, (0, 0, 0, 2, 0, 1)),
    )
    torch.testing.assert_close(tuple(padded_gradients), expected)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_slates_of_padding_alone_cost_nothing(name: str, dtype: torch.dtype) -> None:
    scores = torch.full((2, 3), -torch.inf, dtype=dtype, requires_grad=True)
    vectors = torch.ones(2, 3, 4, dtype=dtype)
    loss = LOSSES[name](scores, torch.ones(2, 3), vectors)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert loss == 0 and (gradient == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_poisoned_score_stays_visible(name: str) -> None:
    scores, relevant, vectors = padded(slate())
    scores[1, 2] = torch.nan
    assert LOSSES[name](scores, relevant, vectors).isnan()


def test_softmax_is_the_cross_entropy_where_one_product_is_relevant() -> None:
    scores, _, _ = slate()
    target = torch.tensor([0, 3, 6, 2, 2])
    relevant = functional.one_hot(target, 7).bool()
    expected = functional.cross_entropy(scores, target)
    torch.testing.assert_close(main_loss(scores, relevant), expected)


def test_relevant_products_share_the_target_evenly() -> None:
    scores, relevant, _ = slate()
    log_p = scores.log_softmax(1)
    of_row = [-log_p[row][relevant[row]].mean() for row in range(len(scores))]
    torch.testing.assert_close(main_loss(scores, relevant), torch.stack(of_row).mean())
    torch.testing.assert_close(main_loss(scores, relevant.double()), torch.stack(of_row).mean())


def test_softmax_leaves_out_slates_without_a_relevant_product() -> None:
    scores, relevant, _ = slate()
    relevant[[1, 3]] = False
    expected = main_loss(scores[[0, 2, 4]], relevant[[0, 2, 4]])
    scores.requires_grad_()
    loss = main_loss(scores, relevant)
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert (gradient[[1, 3]] == 0).all()


def test_bce_and_mse_equal_their_naive_forms() -> None:
    scores, relevant, _ = slate()
    y, p = relevant.double(), 1 / (1 + torch.exp(-scores))
    bce = -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()
    torch.testing.assert_close(main_loss(scores, relevant, kind="bce"), bce)
    torch.testing.assert_close(main_loss(scores, relevant, kind="mse"), ((scores - y) ** 2).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_every_main_loss_learns_the_relevant_product(kind: str) -> None:
    relevant = torch.tensor([[0.0, 0, 1, 0]])
    scores = torch.zeros(1, 4, requires_grad=True)
    for _ in range(50):
        (gradient,) = torch.autograd.grad(main_loss(scores, relevant, kind=kind), scores)
        scores = (scores - gradient).detach().requires_grad_()
    assert scores.argmax() == 2


@pytest.fixture
def towers() -> tuple[Tensor, Tensor, Tensor]:
    """States (6, 4), products (50, 4), and the product that each state should name."""
    drawn = torch.Generator().manual_seed(0)
    states = torch.randn(6, 4, generator=drawn, dtype=torch.float64)
    products = torch.randn(50, 4, generator=drawn, dtype=torch.float64)
    return states, products, torch.tensor([0, 7, 7, 49, 21, 3])


def test_the_whole_catalogue_as_negatives_is_the_full_softmax(
    towers: tuple[Tensor, Tensor, Tensor],
) -> None:
    states, products, target = towers
    loss = sampled_softmax(
        states,
        products[target],
        negatives=products,
        log_weight=torch.zeros(50),
        hits=torch.arange(50) == target[:, None],
    )
    torch.testing.assert_close(loss, functional.cross_entropy(states @ products.T, target))


def test_the_correction_undoes_a_skewed_draw(towers: tuple[Tensor, Tensor, Tensor]) -> None:
    states, products, target = towers
    chance = (torch.arange(50) + 1.0).double()
    chance /= chance.sum()
    urn = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(chance, 40_000, replacement=True, generator=urn)
    full = functional.cross_entropy(states @ products.T, target)

    def loss(assumed: Tensor) -> float:
        return sampled_softmax(
            states,
            products[target],
            negatives=products[drawn],
            log_weight=-torch.log(len(drawn) * assumed)[drawn],
            hits=drawn == target[:, None],
        ).item()

    # of 40 seeds none is off by more than 0.020 with the correction, or less than 0.070 without
    assert abs(loss(chance) - full) < 0.03
    assert abs(loss(torch.full_like(chance, 1 / 50)) - full) > 0.06


def test_in_batch_negatives_leave_out_the_rows_own_product(
    towers: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Rows 1 and 2 ask for the same product: neither is a negative of the other."""
    states, products, target = towers
    own = products[target]
    hits = target == target[:, None]
    weight = torch.full((6,), -np.log(6.0))
    loss = sampled_softmax(states, own, negatives=own, log_weight=weight, hits=hits)
    of_row = []
    for row in range(6):
        others = [own[j] @ states[row] - np.log(6) for j in range(6) if target[j] != target[row]]
        logits = torch.stack([own[row] @ states[row], *others])
        of_row.append(-logits.log_softmax(0)[0])
    torch.testing.assert_close(loss, torch.stack(of_row).mean())


def test_a_draw_that_repeats_may_stand_once_and_count_as_often(
    towers: tuple[Tensor, Tensor, Tensor],
) -> None:
    states, products, target = towers
    drawn = torch.randint(50, (200,), generator=torch.Generator().manual_seed(0))
    once, times = drawn.unique(return_counts=True)

    def loss(negatives: Tensor, log_weight: Tensor) -> Tensor:
        hits = negatives == target[:, None]
        kept = products[negatives]
        return sampled_softmax(
            states, products[target], negatives=kept, log_weight=log_weight, hits=hits
        )

    assert len(once) < len(drawn)
    torch.testing.assert_close(loss(once, times.log()), loss(drawn, torch.zeros(200)))


def test_a_row_that_hits_every_negative_costs_nothing() -> None:
    states = torch.ones(1, 2, requires_grad=True)
    loss = sampled_softmax(
        states,
        torch.ones(1, 2),
        negatives=torch.ones(3, 2),
        log_weight=torch.zeros(3),
        hits=torch.ones(1, 3, dtype=torch.bool),
    )
    (gradient,) = torch.autograd.grad(loss, states)
    assert loss == 0 and (gradient == 0).all()


def test_the_minimum_of_uncertainty_lies_where_the_closed_form_says() -> None:
    losses = {"recommendation": torch.tensor(4.0), "intent": torch.tensor(0.1)}
    weighing = Uncertainty(losses)
    torch.testing.assert_close(weighing(losses).item(), 4.1)  # every weight is 1 at first
    with torch.no_grad():
        for task, loss in losses.items():
            weighing.log_variance[task].copy_(torch.log(2 * loss))
    weighing(losses).backward()
    for parameter in weighing.parameters():  # the sum is convex in each
        torch.testing.assert_close(parameter.grad, torch.zeros(()), atol=1e-6, rtol=0)


def test_a_task_missing_in_a_batch_counts_nothing() -> None:
    weighing = Uncertainty(["recommendation", "sentiment"])
    loss = torch.tensor(2.0)
    weighing({"recommendation": loss}).backward()
    assert weighing.log_variance["recommendation"].grad == -1.5  # −L + 1/2
    assert weighing.log_variance["sentiment"].grad is None
    assert weighted({"recommendation": loss}, {"recommendation": 0.5, "sentiment": 9}) == 1


def test_uncertainties_are_kept_by_the_names_of_tasks() -> None:
    first, second = Uncertainty(["a", "b"]), Uncertainty(["b", "a"])
    with torch.no_grad():
        first.log_variance["a"].fill_(3)
    second.load_state_dict(first.state_dict())
    assert second.log_variance["a"] == 3 and second.log_variance["b"] == 0


ONE = torch.ones(())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: main_loss(ONE[None, None], ONE[None, None], kind="sofmax"), "'sofmax'.*'softmax'"),
        (lambda: main_loss(torch.ones(2, 3), torch.ones(2, 1)), r"\(2, 3\).*\(2, 1\)"),
        (lambda: diversity_loss(torch.ones(2, 3), torch.ones(3, 4)), r"\(2, 3\).*\(3, 4\)"),
        (
            lambda: diversity_loss(torch.ones(2, 3), torch.ones(2, 3, 4), temperature=0),
            "temperature is 0; allowed is above 0",
        ),
        (lambda: weighted({"intnet": ONE}, {"intent": 1.0}), "task 'intnet'.*'intent'"),
        (lambda: weighted({"intent": ONE}, {"intent": -1.0}), "'intent' is -1.0; allowed is 0"),
        (lambda: weighted({}, {"intent": 1.0}), "no loss to add; give one of: intent"),
        (lambda: Uncertainty(["intent"])({"intnet": ONE}), "task 'intnet'.*'intent'"),
        (lambda: Uncertainty(["a", "a"]), r"\['a', 'a'\]"),
        (lambda: Uncertainty([]), r"tasks are \[\]"),
    ],
)
def test_errors_name_the_value(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ReclibError, match=message):
        call()
