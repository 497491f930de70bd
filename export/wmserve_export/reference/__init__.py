"""How the shipped reference world was made: data, training, evaluation."""
