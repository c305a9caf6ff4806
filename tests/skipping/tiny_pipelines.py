"""Small builds of diffusers' own pipelines with random weights, without text encoders or autoencoders."""

from __future__ import annotations

import diffusers
import torch

WAN = {
    "patch_size": (1, 2, 2), "num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 16, "out_channels": 16,
    "text_dim": 32, "freq_dim": 256, "ffn_dim": 32, "num_layers": 2, "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads", "rope_max_seq_len": 32,
}  # fmt: skip
SIZE = {"height": 32, "width": 32, "num_frames": 9}


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    return pipe


def flow_unipc(shift=3.0):
    return diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)


def wan(kind="WanPipeline", network="WanTransformer3DModel", scheduler=None, second=False, **values):
    torch.manual_seed(0)
    made = getattr(diffusers, network)
    parts = {"transformer": made(**WAN), "scheduler": scheduler or flow_unipc()}
    if second:
        values |= {"transformer_2": made(**WAN), "boundary_ratio": 0.6}
    return quiet(getattr(diffusers, kind)(**parts, vae=None, text_encoder=None, tokenizer=None, **values))


def cogvideo_dpm():
    torch.manual_seed(0)
    network = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=4, attention_head_dim=8, in_channels=4, out_channels=4, time_embed_dim=2,
        text_embed_dim=32, num_layers=1, sample_width=4, sample_height=4, sample_frames=9, patch_size=2,
        temporal_compression_ratio=4, max_text_seq_length=6,
    )  # fmt: skip
    scheduler = diffusers.CogVideoXDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        rescale_betas_zero_snr=True, snr_shift_scale=3.0, timestep_spacing="trailing",
    )  # fmt: skip
    return quiet(
        diffusers.CogVideoXPipeline(
            tokenizer=None, text_encoder=None, vae=None, transformer=network, scheduler=scheduler
        )
    )


def ltx(kind="LTXPipeline"):
    torch.manual_seed(0)
    network = diffusers.LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, patch_size=1, patch_size_t=1, num_attention_heads=4, attention_head_dim=8,
        cross_attention_dim=32, num_layers=1, caption_channels=32,
    )  # fmt: skip
    autoencoder = diffusers.AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4, layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 5, decoder_inject_noise=(False,) * 5, upsample_residual=(False,) * 4,
        upsample_factor=(1,) * 4, timestep_conditioning=False,
    )  # fmt: skip
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=2.0)
    return quiet(
        getattr(diffusers, kind)(
            scheduler=scheduler, vae=autoencoder, text_encoder=None, tokenizer=None, transformer=network
        )
    )


def mochi(**values):
    torch.manual_seed(0)
    network = diffusers.MochiTransformer3DModel(
        patch_size=2, num_attention_heads=2, attention_head_dim=8, num_layers=2, pooled_projection_dim=16,
        in_channels=12, qk_norm="rms_norm", text_embed_dim=32, time_embed_dim=4, activation_fn="swiglu",
        max_sequence_length=6,
    )  # fmt: skip
    with torch.no_grad():  # made by torch.empty
        network.pos_frequencies.normal_()
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**values)
    return quiet(
        diffusers.MochiPipeline(scheduler=scheduler, vae=None, text_encoder=None, tokenizer=None, transformer=network)
    )


def z_image():
    torch.manual_seed(0)
    network = diffusers.ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=16, dim=32, n_layers=2, n_refiner_layers=1, n_heads=2,
        n_kv_heads=2, qk_norm=True, cap_feat_dim=16, rope_theta=256.0, t_scale=1000.0, axes_dims=[8, 4, 4],
        axes_lens=[256, 32, 32],
    )  # fmt: skip
    with torch.no_grad():  # made by torch.empty
        network.x_pad_token.zero_()
        network.cap_pad_token.zero_()
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    return quiet(
        diffusers.ZImagePipeline(scheduler=scheduler, vae=None, text_encoder=None, tokenizer=None, transformer=network)
    )


def sdxl(kind="StableDiffusionXLPipeline", scheduler=None):
    torch.manual_seed(0)
    network = diffusers.UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, sample_size=8, in_channels=4, out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4, norm_num_groups=4, use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=8, transformer_layers_per_block=1, projection_class_embeddings_input_dim=80,
        cross_attention_dim=32,
    )  # fmt: skip
    autoencoder = diffusers.AutoencoderKL(
        block_out_channels=[8, 8], down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2, latent_channels=4, norm_num_groups=4,
    )  # fmt: skip
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    scheduler = scheduler or diffusers.EulerDiscreteScheduler(**betas, timestep_spacing="leading", steps_offset=1)
    return quiet(
        getattr(diffusers, kind)(
            vae=autoencoder,
            text_encoder=None,
            text_encoder_2=None,
            tokenizer=None,
            tokenizer_2=None,
            unet=network,
            scheduler=scheduler,
        )
    )


def texts(prompts=1, tokens=6, width=32, first=0):
    """Embeddings of prompts, each from its own seed."""
    made = [
        torch.randn(1, tokens, width, generator=torch.Generator().manual_seed(100 + first + i)) for i in range(prompts)
    ]
    return torch.cat(made)


def seeds(prompts=1, first=0):
    made = [torch.Generator().manual_seed(1 + first + i) for i in range(prompts)]
    return made if prompts > 1 else made[0]


def call(pipe, prompts=1, first=0, steps=8, guidance=5.0, **values):
    """Latents of the prompts `first`, `first` + 1, …"""
    name = type(pipe).__name__
    given = {
        "prompt_embeds": texts(prompts, first=first),
        "negative_prompt_embeds": texts(1, first=99).repeat(prompts, 1, 1),
        "num_inference_steps": steps, "guidance_scale": guidance, "generator": seeds(prompts, first),
        "output_type": "latent",
    }  # fmt: skip
    if name.startswith(("LTX", "Mochi")):
        ones = torch.ones(prompts, 6, dtype=torch.bool if name.startswith("Mochi") else torch.long)
        given |= {"prompt_attention_mask": ones, "negative_prompt_attention_mask": ones}
    if name.startswith("StableDiffusionXL"):
        given |= {
            "pooled_prompt_embeds": texts(prompts, first=first)[:, 0],
            "negative_pooled_prompt_embeds": texts(1, first=99).repeat(prompts, 1, 1)[:, 0],
        }
    elif name.startswith("ZImage"):
        given |= {
            "prompt_embeds": [row[:, :16] for row in given["prompt_embeds"]],
            "negative_prompt_embeds": [row[:, :16] for row in given["negative_prompt_embeds"]],
            "height": 32, "width": 32,
        }  # fmt: skip
    elif name.startswith("LTX"):
        given |= {"height": 64, "width": 64, "num_frames": 9}
        if name.startswith("LTXImage"):
            noise = [
                torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(9 + first + i)) for i in range(prompts)
            ]
            given["latents"] = torch.cat(noise)
    elif name.startswith(("Wan", "CogVideoX", "SkyReels")) and not name.endswith("ToVideoPipeline"):
        given |= SIZE
        if name.startswith("SkyReels"):
            given["prompt"] = None
    elif name.startswith("Wan"):
        given |= {"height": 32, "width": 32}
    elif name.startswith("Mochi"):
        given |= {"height": 32, "width": 32, "num_frames": 7}
    return pipe(**given | values)[0]
