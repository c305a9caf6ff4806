"""Stages of train_wan.py."""
