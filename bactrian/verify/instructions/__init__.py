"""Verifiers of instructions that can be checked: IFEval's and those of training data."""
