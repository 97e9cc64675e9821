"""Stages in which answers are collected, judged and made into preference pairs."""
