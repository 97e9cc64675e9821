"""People as judges of pairs: what they said and when, how far they agree, and whether a judge may stand in for one."""
