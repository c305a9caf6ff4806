"""Parts that the small builds share: tokenizers and text encoders made on the spot, and pictures.

All tokenizers spell their text letter by letter, so that prompts of the same number of letters take the same number of
tokens: a prompt alone is padded as it is inside a batch.
"""

from __future__ import annotations

import string

import torch
import transformers
from PIL import Image

from videoada.models.catalogue import ASSETS

PROMPTS = ("a red circle moves right", "a tan square moves north")
NEGATIVE = "some blurry noisy frames"
LETTERS = string.ascii_letters + string.digits + string.punctuation
HIDDEN = 32  # what all text encoders return, if not said otherwise


def clip_tokenizer() -> transformers.CLIPTokenizer:
    return transformers.CLIPTokenizer.from_pretrained(ASSETS / "tiny-t2v" / "tokenizer", model_max_length=77)


def t5_tokenizer() -> transformers.T5Tokenizer:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), *((letter, -2.0) for letter in LETTERS)]
    return transformers.T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=64)


def llama_tokenizer(*special: str) -> transformers.LlamaTokenizer:
    names = ["<unk>", "<s>", "</s>", "<pad>", *special, "▁", *LETTERS, *(f"<0x{byte:02X}>" for byte in range(256))]
    made = transformers.LlamaTokenizer(vocab={n: i for i, n in enumerate(names)}, merges=[], pad_token="<pad>")
    if special:
        made.add_special_tokens({"additional_special_tokens": list(special)})
    return made


def gemma_tokenizer() -> transformers.GemmaTokenizer:
    names = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *LETTERS]
    return transformers.GemmaTokenizer(vocab={n: i for i, n in enumerate(names)}, merges=[])


def qwen_tokenizer() -> transformers.Qwen2Tokenizer:
    """With a template of chats, as pipelines put their prompts into one."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    names = [*special, *LETTERS, "Ġ", "Ċ"]
    made = transformers.Qwen2Tokenizer(vocab={n: i for i, n in enumerate(names)}, merges=[])
    made.add_special_tokens({"additional_special_tokens": special[1:]})
    made.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for c in m.content %}{{ c.text }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return made


def t5(hidden: int = HIDDEN) -> transformers.T5EncoderModel:
    return transformers.T5EncoderModel(_t5_config(transformers.T5Config, hidden))


def umt5(hidden: int = HIDDEN) -> transformers.UMT5EncoderModel:
    return transformers.UMT5EncoderModel(_t5_config(transformers.UMT5Config, hidden))


def _t5_config(kind: type, hidden: int):
    return kind(
        vocab_size=128, d_model=hidden, d_kv=8, d_ff=37, num_layers=2, num_heads=4, relative_attention_num_buckets=8,
        is_encoder_decoder=False, use_cache=False,
    )  # fmt: skip


def clip(hidden: int = HIDDEN, projected: bool = False) -> transformers.CLIPTextModel:
    config = transformers.CLIPTextConfig(
        vocab_size=200, hidden_size=hidden, intermediate_size=37, num_attention_heads=4, num_hidden_layers=3,
        projection_dim=32, bos_token_id=0, eos_token_id=2, pad_token_id=1,
    )  # fmt: skip
    return (transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel)(config)


def llama_config(hidden: int = 16, **values):
    return transformers.LlamaConfig(
        vocab_size=512, hidden_size=hidden, intermediate_size=37, num_attention_heads=4, num_hidden_layers=4,
        bos_token_id=1, eos_token_id=2, pad_token_id=3, **values,
    )  # fmt: skip


def llama(hidden: int = 16) -> transformers.LlamaModel:
    return transformers.LlamaModel(llama_config(hidden))


def gemma2(hidden: int = 8) -> transformers.Gemma2Model:
    config = transformers.Gemma2Config(
        vocab_size=128, head_dim=16, hidden_size=hidden, intermediate_size=64, num_attention_heads=2,
        num_hidden_layers=1, num_key_value_heads=2, attn_implementation="eager",
    )  # fmt: skip
    return transformers.Gemma2Model(config)


def _qwen_text(hidden: int) -> dict:
    return {
        "vocab_size": 256, "hidden_size": hidden, "intermediate_size": hidden, "num_hidden_layers": 4,
        "num_attention_heads": 2, "num_key_value_heads": 2, "rope_theta": 1e6,
        "rope_scaling": {"mrope_section": [hidden // 16, hidden // 16, hidden // 8], "rope_type": "default",
                         "type": "default"},
    }  # fmt: skip


def qwen_vl_text(hidden: int = 16) -> transformers.Qwen2_5_VLTextModel:
    return transformers.Qwen2_5_VLTextModel(transformers.Qwen2_5_VLTextConfig(**_qwen_text(hidden)))


def qwen_vl(hidden: int = 16) -> transformers.Qwen2_5_VLForConditionalGeneration:
    vision = {"depth": 1, "hidden_size": hidden, "intermediate_size": hidden, "num_heads": 2, "out_hidden_size": hidden}
    config = transformers.Qwen2_5_VLConfig(text_config=_qwen_text(hidden), vision_config=vision)
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def qwen3(hidden: int = 16) -> transformers.Qwen3Model:
    config = transformers.Qwen3Config(
        vocab_size=256,
        hidden_size=hidden,
            intermediate_size=hidden,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=512,
    )  # fmt: skip
    return transformers.Qwen3Model(config)


def clip_vision(side: int = 32, hidden: int = 32, patch: int = 8) -> transformers.CLIPVisionModelWithProjection:
    config = transformers.CLIPVisionConfig(
        hidden_size=hidden, projection_dim=hidden, num_hidden_layers=2, num_attention_heads=2, image_size=side,
        intermediate_size=16, patch_size=patch,
    )  # fmt: skip
    return transformers.CLIPVisionModelWithProjection(config)


def clip_images(side: int = 32):
    size = {"height": side, "width": side}
    return transformers.CLIPImageProcessor(crop_size=size, size={"shortest_edge": side})


def image(side: int = 16, index: int = 0) -> Image.Image:
    """A gradient; each index has its own."""
    across = torch.arange(side, dtype=torch.float32).expand(side, side) / side
    planes = torch.stack([across, across.T, (across + across.T) / 2]).roll(index, 0)
    return Image.fromarray((planes.permute(1, 2, 0) * 255).byte().numpy())


def video(num_frames: int, side: int = 16, index: int = 0) -> list[Image.Image]:
    return [image(side, index + frame % 2) for frame in range(num_frames)]


def seeds(num_prompts: int, first: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(1 + first + i) for i in range(num_prompts)]
