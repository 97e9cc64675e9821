"""Stages that make, take over, clean, choose and mix rows."""
