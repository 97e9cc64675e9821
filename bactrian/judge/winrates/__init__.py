"""Win rates: raw, length- and style-controlled, ratings of many models, and intervals that lean on few people."""
