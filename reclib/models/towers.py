"""The network of the tuned language model: texts to vectors of products, and these to users'."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from reclib.models.base import Scores
from reclib.models.encoder import batches, pool
from reclib.models.tasks import Heads

READ = {"cpu": 8192}  # tokens that go through the model at once, padding included
READ_ELSEWHERE = 32768  # a GPU would wait longer for its next order than it computes on fewer
BLOCK = 1024  # texts whose vectors are made at once, after training


class Towers(nn.Module):
    """From texts to unit vectors of products, and from their means to those of users."""

    heads: Heads

    def __init__(self, text: nn.Module, n_dimensions: int, dropout: float) -> None:
        super().__init__()
        self.text = text
        self.dropout = nn.Dropout(dropout)
        self.item = nn.Linear(n_dimensions, n_dimensions, bias=False)
        self.user = nn.Linear(n_dimensions, n_dimensions, bias=False)
        nn.init.zeros_(self.item.weight)
        nn.init.zeros_(self.user.weight)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.item.weight.device

    def groups(self, encoder_rate: float) -> list[dict[str, Any]]:
        """Parameters to train: matrices decay, biases do not, and the encoder has its rate."""
        ours = [one for name, one in self.named_parameters() if not name.startswith("text.")]
        text = [one for one in self.text.parameters() if one.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [one for one in ours if one.dim() >= 2]},
            {"params": [one for one in ours if one.dim() < 2], "weight_decay": 0.0},
            {"params": text, "lr": encoder_rate, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def items(self, items: Tensor) -> Tensor:
        """Vectors of products, or other texts, shape (n, n_dimensions)."""
        vectors = self.text(items)
        return functional.normalize(vectors + self.item(self.dropout(vectors)), dim=1)

    def all(self, n: int) -> Tensor:
        """Vectors of the first n texts, block by block."""
        asked = torch.split(torch.arange(n, device=self.device), BLOCK)
        return torch.cat([self.items(part) for part in asked])

    def users(self, means: Tensor) -> Tensor:
        """Vectors of users, from the means of their products', shape (n, n_dimensions)."""
        return functional.normalize(means + self.user(self.dropout(means)), dim=1)

    def chances(self, task: str, vectors: Tensor) -> Scores:
        """Chances of the classes of a task, shape (n, n_classes)."""
        head = cast(nn.Linear, getattr(self.heads, task))
        found: Scores = head(vectors).softmax(1).cpu().numpy()
        return found


class Table(nn.Module):
    """Embeddings that are not trained: looked up."""

    vectors: Tensor

    def __init__(self, vectors: Scores) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.from_numpy(vectors), persistent=False)

    def forward(self, items: Tensor) -> Tensor:
        """Embeddings of products, shape (n, n_dimensions)."""
        return self.vectors[items]


class Reader(nn.Module):
    """Embeddings by a transformer that reads the texts each time, whitened as at the start."""

    tokens: Tensor
    centre: Tensor
    turn: Tensor

    def __init__(
        self,
        model: nn.Module,
        tokens: Sequence[Sequence[int]],
        pooling: str,
        centre: Scores,
        turn: Scores,
    ) -> None:
        super().__init__()
        self.model = model
        self.length = np.array([len(text) for text in tokens])
        # all texts at once, where the model is: nothing is copied there batch by batch
        texts = [torch.tensor(text, dtype=torch.int32) for text in tokens]
        self.pooling = pooling
        self.register_buffer("tokens", pad_sequence(texts, batch_first=True), persistent=False)
        self.register_buffer("centre", torch.from_numpy(centre), persistent=False)
        self.register_buffer("turn", torch.from_numpy(turn), persistent=False)

    def forward(self, items: Tensor) -> Tensor:
        """Embeddings of products, shape (n, n_dimensions)."""
        length = self.length[items.cpu().numpy()]
        at_once = READ.get(items.device.type, READ_ELSEWHERE)
        order = list(batches(length, at_once))
        parts = [
            self._pooled(items[torch.from_numpy(rows).to(items.device)], length[rows])
            for rows in order
        ]
        back = torch.from_numpy(np.concatenate(order).argsort())
        vectors = torch.cat(parts)[back.to(items.device)]
        with torch.autocast(items.device.type, enabled=False):  # small differences count
            return functional.normalize((vectors - self.centre) @ self.turn, dim=1)

    def _pooled(self, items: Tensor, lengths: NDArray[np.int64]) -> Tensor:
        tokens = self.tokens[items, : int(lengths.max())]
        length = torch.from_numpy(lengths).to(tokens.device)
        real = torch.arange(tokens.shape[1], device=tokens.device) < length[:, None]
        seen = self.model(input_ids=tokens, attention_mask=real.long())
        return pool(seen.last_hidden_state.float(), real, self.pooling)
