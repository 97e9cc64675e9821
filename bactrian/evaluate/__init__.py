"""Evaluation: public tasks as data, one runner over all of them, scores that say how they came about.

task.py says what a task is, catalogue/ lists those that there are, task_rows.py finds their data, and prompting.py
writes them down as tokens. gold_check.py puts gold answers to a task's own verifier before any model is asked.
answering.py has a model answer (answers.py keeps what was answered), grading.py and measure.py make scores of it, and
flags.py says what looks wrong. ledger.py counts the looks at unseen suites. comparison.py compares two models on the
same questions. score_tables.py and harness.py write it all down for people and for lm-evaluation-harness.
statistics.py, estimates.py and power.py hold the error bars, paired tests and sample sizes that everything here uses.
"""
