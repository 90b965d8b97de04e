"""Values that went wrong: infinities, NaN, vanishing and exploding gradients."""
