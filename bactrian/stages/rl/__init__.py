"""Stages that train a model on its own answers: RL with verifiable rewards, PPO."""
