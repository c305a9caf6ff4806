"""LTX-Video in its three pipelines, and LTX-2, whose network makes sound, too."""

from __future__ import annotations

import diffusers as d
import transformers

from . import parts
from .build import Build

DYNAMIC = {"use_dynamic_shifting": True, "shift_terminal": 0.1, "base_shift": 0.95, "max_shift": 2.05}


def network():
    return d.LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, patch_size=1, patch_size_t=1, num_attention_heads=4, attention_head_dim=8,
        cross_attention_dim=32, num_layers=1, caption_channels=32,
    )  # fmt: skip


def vae(**values):
    return d.AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4,
        layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 5, decoder_inject_noise=(False,) * 5,
        upsample_residual=(False,) * 4, upsample_factor=(1,) * 4, timestep_conditioning=False, patch_size_t=1, **values,
    )  # fmt: skip


def ltx(**values):
    transformer = network()
    scaled = (True, True, False, False)  # a fourth of each side
    autoencoder = vae(
        spatio_temporal_scaling=scaled, decoder_spatio_temporal_scaling=scaled, patch_size=1, encoder_causal=True,
        decoder_causal=False,
    )  # fmt: skip
    autoencoder.use_framewise_encoding = autoencoder.use_framewise_decoding = False
    scheduler = d.FlowMatchEulerDiscreteScheduler(**values or DYNAMIC)
    return {"transformer": transformer, "vae": autoencoder, "scheduler": scheduler, "text_encoder": parts.t5(),
            "tokenizer": parts.t5_tokenizer()}  # fmt: skip


def ltx_shifted():
    return ltx(shift=1.0)


def gemma3():
    text = {
        "vocab_size": 128, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8,
    }  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    config = transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    return transformers.Gemma3ForConditionalGeneration(config)


def ltx2():
    from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder

    transformer = d.LTX2VideoTransformer3DModel(
        in_channels=4, out_channels=4, patch_size=1, patch_size_t=1, num_attention_heads=2, attention_head_dim=8,
        cross_attention_dim=16, audio_in_channels=4, audio_out_channels=4, audio_num_attention_heads=2,
        audio_attention_head_dim=4, audio_cross_attention_dim=8, num_layers=2, qk_norm="rms_norm_across_heads",
        caption_channels=32, rope_double_precision=False, rope_type="split",
    )  # fmt: skip
    connectors = LTX2TextConnectors(
        caption_channels=32, text_proj_in_factor=3, video_connector_num_attention_heads=4,
        video_connector_attention_head_dim=8, video_connector_num_layers=1,
        video_connector_num_learnable_registers=None, audio_connector_num_attention_heads=4,
        audio_connector_attention_head_dim=8, audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=None, connector_rope_base_seq_len=32, rope_theta=10000.0,
        rope_double_precision=False, causal_temporal_positioning=False, rope_type="split",
    )  # fmt: skip
    vae = d.AutoencoderKLLTX2Video(
        latent_channels=4, block_out_channels=(8,), decoder_block_out_channels=(8,), layers_per_block=(1,),
        decoder_layers_per_block=(1, 1), spatio_temporal_scaling=(True,), decoder_spatio_temporal_scaling=(True,),
        decoder_inject_noise=(False, False), downsample_type=("spatial",), upsample_residual=(False,),
        upsample_factor=(1,), timestep_conditioning=False, patch_size=1, patch_size_t=1, encoder_causal=True,
        decoder_causal=False,
    )  # fmt: skip
    vae.use_framewise_encoding = vae.use_framewise_decoding = False
    audio_vae = d.AutoencoderKLLTX2Audio(
        base_channels=4, output_channels=2, ch_mult=(1,), num_res_blocks=1, attn_resolutions=None, in_channels=2,
        resolution=32, latent_channels=2, norm_type="pixel", causality_axis="height", dropout=0.0,
        mid_block_add_attention=False, sample_rate=16000, mel_hop_length=160, is_causal=True, mel_bins=8,
    )  # fmt: skip
    vocoder = LTX2Vocoder(
        in_channels=16, hidden_channels=32, out_channels=2, upsample_kernel_sizes=[4, 4], upsample_factors=[2, 2],
        resnet_kernel_sizes=[3], resnet_dilations=[[1, 3, 5]], leaky_relu_negative_slope=0.1,
        output_sampling_rate=16000,
    )  # fmt: skip
    return {"transformer": transformer, "connectors": connectors, "vae": vae, "audio_vae": audio_vae,
            "vocoder": vocoder, "text_encoder": gemma3(), "tokenizer": parts.gemma_tokenizer(),
            "scheduler": d.FlowMatchEulerDiscreteScheduler()}  # fmt: skip


SHORT = {"height": 32, "width": 32, "num_frames": 9, "max_sequence_length": 32}
ONE_GUIDANCE = {
    "stg_scale": 0.0, "modality_scale": 1.0, "guidance_rescale": 0.0, "audio_guidance_scale": 1.0,
    "audio_stg_scale": 0.0, "audio_modality_scale": 1.0, "audio_guidance_rescale": 0.0,
}  # fmt: skip


def images(numbers):
    made = [parts.image(32, i) for i in numbers]
    return {"image": made if len(made) > 1 else made[0]}


def conditions(numbers):
    from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition

    return {"conditions": [LTXVideoCondition(image=parts.image(32), frame_index=0)]}


BUILDS = (
    Build("ltx-t2v", "LTX-Video", "LTXPipeline", "text to video", ltx, SHORT),
    Build("ltx-i2v", "LTX-Video", "LTXImageToVideoPipeline", "image to video", ltx, SHORT, images),
    Build("ltx-condition", "LTX-Video", "LTXConditionPipeline", "image to video", ltx_shifted, SHORT,
          conditions),
    Build("ltx2", "LTX-2", "LTX2Pipeline", "text to video with sound", ltx2,
          {**SHORT, "num_frames": 5, "frame_rate": 25.0, **ONE_GUIDANCE}),
)  # fmt: skip
