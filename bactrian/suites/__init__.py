"""Evaluation suites: tasks as data, one runner over all of them, scores that say how they came about.

task.py says what a task is, catalogue/ lists those that there are, sources.py finds their data, prompts.py writes them
down as tokens; runner.py has a model answer them (answers.py keeps what was answered), measure.py makes scores of it,
flags.py says what looks wrong; ledger.py counts the looks at unseen suites; comparison.py holds two models against each
other; tables.py and harness.py write it all down for people and for lm-evaluation-harness.
"""
