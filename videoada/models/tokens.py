"""What a pipeline's tokenizers cut off a prompt: seen at their own calls, so that it holds for every family."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from videoada.patching import replaced

TRUNCATES = (True, "longest_first", "only_first")
WARNINGS = ("part of your input was truncated", "sequence length is longer than the specified maximum")
MOST_SHOWN = 1000  # characters of what was cut


@dataclass(frozen=True)
class Tokenized:
    """A text that a tokenizer was given at position `index` of a call; `spans` (begin, end) are the characters of each
    of its tokens, of which the first `kept` were used."""

    tokenizer: str
    limit: int
    index: int
    text: str
    spans: Sequence[tuple[int, int]]
    kept: int

    def cut_of(self, prompt: str) -> tuple[int, str]:
        """How many tokens of that prompt inside the text were cut, and their words."""
        begin = max(self.text.find(prompt.strip()), 0)
        end = begin + len(prompt.strip()) if self.text.find(prompt.strip()) >= 0 else len(self.text)
        beyond = [span for span in self.spans[self.kept :] if begin <= span[0] < end and span[0] < span[1]]
        if not beyond:
            return 0, ""
        words = self.text[beyond[0][0] : end].strip()
        return len(beyond), words if len(words) <= MOST_SHOWN else f"{words[:MOST_SHOWN]} …"


@contextmanager
def watch_tokens(pipe: Any) -> Iterator[list[Tokenized]]:
    """Inside the block, the list fills with the texts that the pipeline's tokenizers are given and have a limit for."""
    seen: list[Tokenized] = []

    def on_call(inherited: Callable[..., Any], tokenizer: Any, *args: Any, **kwargs: Any) -> Any:
        result = inherited(*args, **kwargs)
        limit = kwargs.get("max_length") or getattr(tokenizer, "model_max_length", None)
        given = args[0] if args else kwargs.get("text")
        texts = [given] if isinstance(given, str) else given if isinstance(given, (list, tuple)) else []
        if kwargs.get("truncation") in TRUNCATES and isinstance(limit, int):
            special = tokenizer.num_special_tokens_to_add() if kwargs.get("add_special_tokens", True) else 0
            for index, text in enumerate(texts):
                if isinstance(text, str):
                    spans = _spans(inherited, tokenizer, text)
                    seen.append(Tokenized(type(tokenizer).__name__, limit, index, text, spans, max(limit - special, 0)))
        return result

    with ExitStack() as stack:
        stack.enter_context(_said_once(pipe))
        for tokenizer in _tokenizers_of(pipe):
            stack.enter_context(replaced(tokenizer, "__call__", on_call))
        yield seen


@contextmanager
def _said_once(pipe: Any) -> Iterator[None]:
    """Inside the block diffusers and transformers don't warn of what was cut: `cut_lines` says it."""

    def unsaid(record: logging.LogRecord) -> bool:
        return not any(words in record.getMessage() for words in WARNINGS)

    kinds = [kind.__module__ for kind in type(pipe).__mro__ if kind.__module__.startswith("diffusers.")]
    tokenizers = [kind.__module__ for part in _tokenizers_of(pipe) for kind in type(part).__mro__]
    loggers = [logging.getLogger(name) for name in {*kinds, *tokenizers}]
    for logger in loggers:
        logger.addFilter(unsaid)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(unsaid)


def cut_lines(seen: Sequence[Tokenized], texts: Sequence[tuple[str, str | None]], index: int) -> list[str]:
    """What to say of the texts, (parameter, text) each, of video `index` of a call: the words that were cut, and where.

    A tokenizer's text is a parameter's where it is equal but for white space, case and HTML, else where it holds it, as
    a template does.
    """
    lines: dict[str, None] = {}
    for name, text in texts:
        if not text or not text.strip():
            continue
        wanted = _plain(text)
        equal = [each for each in seen if _plain(each.text) == wanted]
        known = {each.tokenizer for each in equal}
        held = [e for e in seen if e.tokenizer not in known and e.index == index and wanted in _plain(e.text)]
        for each in equal + held:
            count, words = each.cut_of(text)
            if count:
                lines[
                    f"`{name}`: {count} tokens are beyond the {each.limit} that its {each.tokenizer} takes, and were "
                    f'cut: "{words}"'
                ] = None
    return list(lines)


def _tokenizers_of(pipe: Any) -> list[Any]:
    """The tokenizers among a pipeline's parts, also inside processors; each once."""
    from transformers import PreTrainedTokenizerBase

    parts = [inner for part in pipe.components.values() for inner in (part, getattr(part, "tokenizer", None))]
    return list({id(part): part for part in parts if isinstance(part, PreTrainedTokenizerBase)}.values())


def _spans(tokenize: Callable[..., Any], tokenizer: Any, text: str) -> list[tuple[int, int]]:
    """The characters of each token of a text, without special ones; of a tokenizer in Python, found one by one."""
    options = {"add_special_tokens": False, "truncation": False, "verbose": False}
    if tokenizer.is_fast:
        return [(begin, end) for begin, end in tokenize(text, return_offsets_mapping=True, **options)["offset_mapping"]]
    found, at, lower = [], 0, text.lower()
    for token in tokenize(text, **options)["input_ids"]:
        piece = tokenizer.decode([token]).strip().lower()
        begin = lower.find(piece, at) if piece else -1
        at = begin + len(piece) if begin >= 0 else at
        found.append((begin if begin >= 0 else at, max(at, begin + 1)))
    return found


def _plain(text: str) -> str:
    return " ".join(html.unescape(html.unescape(text)).split()).casefold()
