"""How emoji-t2v is made: clips from npm packages, a VAE, a UNet on frames and on clips, a folder, its measures."""
