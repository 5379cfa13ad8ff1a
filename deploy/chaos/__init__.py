"""The real stack under fire: all is killed, cut and filled up at random, and every reading asked for after."""
