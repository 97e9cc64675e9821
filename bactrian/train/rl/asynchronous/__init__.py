"""Reinforcement learning whose samplers work in processes of their own while the policy is trained."""
