"""How far to trust a judge: thresholds with a guarantee, cascades of judges, and checks that the guarantee still holds.

All of it works on arrays (how sure a judge was, whether it was wrong, which prompt an item is of): no model is needed.
bounds.py has the exact bounds, search.py the tests of many thresholds at once, thresholds.py calibrates one judge and
cascades.py several. confidence_quality.py measures confidences, drift.py says when a calibration no longer holds,
splits.py repeats an experiment over random splits, disjoint.py keeps demonstrations apart from what is judged.
"""
