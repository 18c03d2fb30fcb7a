"""How the backbone that ships with Regraft is made: data, augmentation, training, held-out episodes."""
