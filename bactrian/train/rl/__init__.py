"""Reinforcement learning: rollouts, advantages, the policy's update, PPO, and the watch over it."""
