"""How like one another texts are: within a set, and of one set beside another.

Every figure is a function of the different texts and of how often each occurs: the order of rows changes nothing.
"""
