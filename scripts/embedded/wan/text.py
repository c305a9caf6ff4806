"""tiny-wan's tokenizer and UMT5 encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Regex, normalizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5Tokenizer, UMT5Config, UMT5EncoderModel

from videoada.shapes import WORDS

TEXT_WIDTH = 96
MAX_TOKENS = 32  # two objects are 17 words, and the end
SPECIAL = ("<pad>", "</s>", "<unk>", "▁")


def build_tokenizer(words: Sequence[str] = WORDS) -> PreTrainedTokenizerFast:
    """T5's tokenizer with each of the words as one token, whatever its case; signs are left out, other words unknown.

    Of the general class, for T5Tokenizer makes itself again from its vocabulary when loaded, without this normalizer.
    """
    pieces = [(piece, 0.0) for piece in SPECIAL[:3]] + [("▁", -10.0)] + [("▁" + word, -1.0) for word in words]
    backend = T5Tokenizer(vocab=pieces, extra_ids=0).backend_tokenizer
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(Regex(r"[^\w\s]+"), " ")])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=MAX_TOKENS,
    )
    for word in words:
        assert tokenizer.tokenize(word) == ["▁" + word], (word, tokenizer.tokenize(word))
    return tokenizer


def build_text_encoder(vocabulary_size: int) -> UMT5EncoderModel:
    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=vocabulary_size,
            d_model=TEXT_WIDTH,
            d_kv=24,
            d_ff=2 * TEXT_WIDTH,
            num_layers=2,
            num_heads=4,
            relative_attention_num_buckets=32,
            relative_attention_max_distance=64,
            dropout_rate=0.0,
            use_cache=False,
            is_encoder_decoder=False,
            tie_word_embeddings=True,
        )
    )


def tokenize(tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token ids and mask, (N, L), as WanPipeline asks for them, cut to the longest prompt."""
    tokens = tokenizer(list(prompts), padding=True, max_length=MAX_TOKENS, truncation=True, return_tensors="pt")
    return tokens.input_ids, tokens.attention_mask


def forget_unknown(encoder: UMT5EncoderModel) -> None:
    """Let an unknown word say nothing: it was never seen in training."""
    with torch.no_grad():
        encoder.get_input_embeddings().weight[len(SPECIAL) - 2 : len(SPECIAL)] = 0
