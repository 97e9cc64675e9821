"""Models as judges: rubrics and aspects, language models that rate answers, reward models that score them."""
