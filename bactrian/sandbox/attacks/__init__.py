"""The attacks that the sandbox is tried with, by `bactrian sandbox check` and by the tests."""
